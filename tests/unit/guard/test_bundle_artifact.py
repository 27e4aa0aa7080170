"""A file of an exported bundle as the previous stage's artifact: each fault has its own reason."""

import json
from pathlib import Path

import pytest

from torghut_assets.artifacts import export_bundle
from torghut_assets.guard.bundle_artifact import artifact_fault

RUN = "0426c28f7b829261e3424599"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    files = {
        "gates/gate-evaluation.json": json.dumps({"run_id": RUN}).encode(),
        "gates/of-another-run.json": json.dumps({"run_id": "another-run"}).encode(),
        "backtest/evaluation-report.json": b"{}",
        "backtest/fills.parquet": b"PAR1",
    }
    return export_bundle(files, tmp_path / "bundle", ids={"run_id": RUN}).folder


@pytest.mark.parametrize(
    "path", ["gates/gate-evaluation.json", "backtest/evaluation-report.json", "backtest/fills.parquet"]
)
def test_a_listed_unchanged_file_of_the_run_is_good(bundle: Path, path: str) -> None:
    assert artifact_fault(bundle / path, RUN) is None


def test_a_relative_path_and_a_link_inside_the_bundle_are_good(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle / "gates")
    assert artifact_fault(Path("gate-evaluation.json"), RUN) is None
    assert artifact_fault(Path("../backtest/fills.parquet"), RUN) is None
    (bundle / "gates" / "link.json").symlink_to("gate-evaluation.json")
    assert artifact_fault(bundle / "gates" / "link.json", RUN) is None


def test_nothing_a_folder_and_an_absent_file_are_missing(bundle: Path) -> None:
    for path in (None, Path(), bundle, bundle / "gates", bundle / "gates" / "absent.json", Path("\0")):
        assert artifact_fault(path, RUN) == "missing_previous_artifact"


def test_a_file_that_no_manifest_lists_is_unlisted(bundle: Path, tmp_path: Path) -> None:
    (bundle / "gates" / "extra.json").write_text("{}")
    (tmp_path / "alone.json").write_text("{}")
    assert artifact_fault(bundle / "gates" / "extra.json", RUN) == "previous_artifact_unlisted"
    assert artifact_fault(tmp_path / "alone.json", RUN) == "previous_artifact_unlisted"
    assert artifact_fault(bundle / "MANIFEST.json", RUN) == "previous_artifact_unlisted"


def test_a_link_out_of_the_bundle_is_unlisted_whatever_it_points_at(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "gates"
    outside.mkdir(parents=True)
    (outside / "gate-evaluation.json").write_bytes((bundle / "gates" / "gate-evaluation.json").read_bytes())
    (bundle / "gates" / "gate-evaluation.json").unlink()
    (bundle / "gates" / "gate-evaluation.json").symlink_to(outside / "gate-evaluation.json")
    assert artifact_fault(bundle / "gates" / "gate-evaluation.json", RUN) == "previous_artifact_unlisted"
    (bundle / "linked").symlink_to(outside)
    assert artifact_fault(bundle / "linked" / "gate-evaluation.json", RUN) == "previous_artifact_unlisted"


def test_one_changed_byte_is_a_mismatch(bundle: Path) -> None:
    (bundle / "backtest" / "fills.parquet").write_bytes(b"PAR2")
    assert artifact_fault(bundle / "backtest" / "fills.parquet", RUN) == "previous_artifact_hash_mismatch"


def test_another_run_by_manifest_or_by_the_artifact_itself_is_told(bundle: Path) -> None:
    assert artifact_fault(bundle / "backtest" / "fills.parquet", "run-000002") == "previous_artifact_run_mismatch"
    assert artifact_fault(bundle / "gates" / "of-another-run.json", RUN) == "previous_artifact_run_mismatch"


@pytest.mark.parametrize("text", ["not json", "[]", '{"files": []}', '{"files": {"a.json": 1}}'])
def test_a_manifest_that_cannot_be_read_lists_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "MANIFEST.json").write_text(text)
    (tmp_path / "a.json").write_text("{}")
    assert artifact_fault(tmp_path / "a.json", RUN) == "previous_artifact_unlisted"
