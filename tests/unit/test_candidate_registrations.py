"""Registrations: what they may say, and what is said about those that cannot be used."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from torghut_assets.registration import DEFAULT_CONFIGMAP, FOLDER, check_name, load_registration, registered
from torghut_runtime.errors import InputError

ROOT = Path(__file__).parents[2]
PLAIN = {"name": "momentum", "bars": "bars.parquet", "strategy_config": "s.yaml", "gate_policy": "p.json"}


def write(folder: Path, stem: str = "momentum", **changes: Any) -> Path:
    content = {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
    path = folder / FOLDER / f"{stem}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def test_what_is_left_out_has_the_defaults_of_the_command_line(tmp_path: Path):
    found = load_registration(write(tmp_path))
    assert (found.promotion_target, found.strategy_configmap, found.research) == ("paper", DEFAULT_CONFIGMAP, None)


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"name": "other"}, "name", "must be the file's name 'momentum', was 'other'"),
        ({"signals": "s.json"}, None, "give either bars or signals"),
        ({"bars": None}, None, "give either bars or signals"),
        ({"promotion_target": "production"}, "promotion_target", "paper"),
        ({"gate_policy": None}, "gate_policy", ""),
        ({"gate_policy": ""}, "gate_policy", ""),
        ({"gate_polcy": "p.json"}, "gate_polcy", "gate_policy"),
        ({"timeframe": 5}, "timeframe", ""),
    ],
)
def test_a_registration_that_cannot_be_used_names_its_field(
    tmp_path: Path, changes: dict[str, Any], field: str | None, said: str
):
    with pytest.raises(InputError) as error:
        load_registration(write(tmp_path, **changes))
    assert error.value.field == field
    assert said in error.value.message
    assert str(error.value.file).endswith("momentum.yaml")


@pytest.mark.parametrize("text", ["", "- a\n", "name: [", "just words"])
def test_a_file_that_is_no_mapping_is_told(tmp_path: Path, text: str):
    path = write(tmp_path)
    path.write_text(text)
    with pytest.raises(InputError, match=r"momentum\.yaml: "):
        load_registration(path)


@pytest.mark.parametrize("name", ["abc", "0ab", "a-b-c", "a" * 63])
def test_names_that_can_be_partitions(name: str):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 64, "-abc", "Abc", "a_b", "a b", "a.b", "cand-abc", "a,b", "a|b", "abc\n", "äbc", "a/b"]
)
def test_names_that_cannot(name: str):
    with pytest.raises(ValueError, match="is no candidate name: 3 to 63 of a-z, 0-9 and -"):
        check_name(name)


def test_good_registrations_are_found_beside_bad_ones_by_name(tmp_path: Path):
    write(tmp_path, "second", name="second")
    write(tmp_path, "broken", name="another")
    write(tmp_path)
    (tmp_path / FOLDER / "notes.txt").write_text("no registration")
    good, bad = registered(tmp_path)
    assert [each.name for each in good] == ["momentum", "second"]
    assert [Path(str(each.file)).name for each in bad] == ["broken.yaml"]
    assert registered(tmp_path / "elsewhere") == ([], [])


def test_the_shipped_registrations_can_be_used_and_their_files_are_there():
    good, bad = registered(ROOT)
    assert bad == []
    assert len(good) >= 2
    for each in good:
        for path in (each.strategy_config, each.gate_policy, each.strategy_configmap, each.research):
            assert path is None or (ROOT / path).is_file(), path
