"""`torghut checks run`: exit codes that CI can trust, and nothing changed by it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import dagster as dg
import pytest
from lane_project import LENIENT, DagsterProject, files, write_project

from torghut_assets.cli import cli
from torghut_runtime.command_line import run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one candidate that passes, one that is denied, and one that nobody has materialised."""
    folder = write_project(
        tmp_path_factory.mktemp("checks") / "project",
        {"good-one": {"policy": LENIENT}, "bad-one": {}, "new-one": {}},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        project = DagsterProject(folder, instance)
        for name in ("good-one", "bad-one"):
            project.run(name)
    return folder


@pytest.fixture
def call(judged: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    def run_it(*words: str, project: Path = judged) -> tuple[int, str, str]:
        code = run(cli, "torghut", ["checks", "run", "--project", str(project), *words])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run_it


def test_all_passed_is_0_and_warnings_do_not_change_that(call: Call) -> None:
    code, out, err = call("--partition", "good-one", "--json")
    outcomes = {(each["asset"], each["check"]): each["outcome"] for each in json.loads(out)}
    assert (code, err, len(outcomes)) == (0, "", 17)
    assert outcomes["gates/gate_evaluation", "gate5_live_ramp_readiness"] == "warned"
    assert set(outcomes.values()) == {"passed", "warned"}


def test_a_failed_check_of_severity_error_is_3_and_explains_itself(call: Call) -> None:
    code, out, _ = call("--partition", "bad-one")
    (row,) = [line for line in out.splitlines() if "gate2_risk_capacity" in line]
    assert code == 3
    assert "failed" in row
    assert "turnover_ratio_exceeds_maximum" in row


def test_a_check_without_result_is_2_also_beside_failed_ones(call: Call) -> None:
    code, out, _ = call("--partition", "new-one", "--json")
    assert code == 2
    outcomes = {each["check"]: each["outcome"] for each in json.loads(out)}
    assert outcomes.pop("guard_transition") == "failed"
    assert set(outcomes.values()) == {"no result"}
    assert call()[0] == 2


def test_a_selection_narrows_the_checks(call: Call) -> None:
    code, out, _ = call("--partition", "good-one", "--select", "gates/rollback_readiness", "--json")
    assert code == 0
    assert {each["check"] for each in json.loads(out)} == {"rollback_readiness", "guard_transition"}
    assert call("--partition", "bad-one", "--select", "group:market", "--json")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--partition", "nobody"), "candidate 'nobody' is not registered, known are bad-one, good-one, new-one"),
        (("--select", "no/such"), "'no/such'"),
    ],
)
def test_what_does_not_exist_is_2_with_one_line(call: Call, words: tuple[str, ...], message: str) -> None:
    code, out, err = call(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_the_junit_report_counts_failures_and_errors(call: Call, tmp_path: Path) -> None:
    call("--partition", "bad-one", "--junit", str(tmp_path / "failed.xml"))
    call("--partition", "new-one", "--junit", str(tmp_path / "missing.xml"))
    failed, missing = (ET.parse(tmp_path / f"{name}.xml").getroot() for name in ("failed", "missing"))
    assert (failed.get("tests"), failed.get("failures"), failed.get("errors")) == ("17", "7", "0")
    assert (missing.get("failures"), missing.get("errors")) == ("5", "12")
    assert {case.get("classname") for case in failed} >= {"bad-one.gates/gate_evaluation"}


def test_checks_change_nothing(call: Call, judged: Path, tmp_path: Path) -> None:
    before = files(judged)
    call("--partition", "bad-one")
    assert files(judged) == before


def test_a_broken_registration_is_bad_input(call: Call, judged: Path, tmp_path: Path) -> None:
    shutil.copytree(judged / "config", tmp_path / "config")
    (tmp_path / "config/candidates/new-one.yaml").write_text("name: new-one\nbar: typo\n")
    code, _, err = call("--partition", "new-one", project=tmp_path)
    assert code == 2
    assert "new-one.yaml" in err
