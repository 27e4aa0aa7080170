"""Research settings: strict files, defaults, and one clear message for what cannot be used."""

from pathlib import Path

import pytest

from torghut_assets.research.settings import ResearchSettings, load_settings
from torghut_runtime.errors import InputError

ROOT = Path(__file__).parents[3]


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    assert load_settings(ROOT / "config/research.yaml") == load_settings(None) == ResearchSettings()


def test_an_empty_file_is_the_defaults_and_json_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "some.json").write_text('{"capital": 5000.5, "folds": {"test": {"bars": 3}}}')
    assert load_settings(tmp_path / "empty.yaml") == ResearchSettings()
    read = load_settings(tmp_path / "some.json")
    assert (read.capital, read.folds.test and read.folds.test.bars) == (5000.5, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("captal: 1000", "field captal: unknown key; did you mean capital?"),
        ("folds: {min_fold: 3}", "field folds.min_fold: unknown key; did you mean min_folds?"),
        ("capital: 1.0\ncapital: 2.0", "row 2: field capital: key stands twice"),
        ('allow_shorts: "no"', "field allow_shorts: input should be a valid boolean, was 'no'"),
        ("allow_shorts: no", "field allow_shorts: input should be a valid boolean, was 'no'"),
        ("capital: 0", "field capital: input should be greater than 0, was 0"),
        ("max_participation_rate: 1.01", "field max_participation_rate"),
        ("folds: {test: {sessions: 2, bars: 3}}", "field folds.test: give either sessions or bars"),
        ("- a\n- b", "must hold a mapping with text keys"),
        ("capital: [", "is not YAML"),
    ],
)
def test_what_cannot_be_used_names_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "research.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_settings(tmp_path / "nowhere.yaml")
