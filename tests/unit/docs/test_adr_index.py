"""The list of decision records is complete and current."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_list_of_decision_records_is_what_make_docs_writes() -> None:
    index = runpy.run_path(str(ROOT / "scripts" / "adr_index.py"))["index"]()
    assert (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8") == index


def test_every_record_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "adr").glob("[0-9]*.md")]
    assert numbers
    assert len(set(numbers)) == len(numbers)


def test_every_record_begins_with_its_number() -> None:
    for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"):
        assert path.read_text(encoding="utf-8").startswith(f"# {path.name[:4]}"), path.name
