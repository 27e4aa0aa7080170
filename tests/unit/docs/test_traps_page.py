"""The page of traps names tests that exist, at least one per trap, and every test of the running engine's traps."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "traps.md"
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def names_in(path: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_named_test_exists() -> None:
    named = NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) > 100
    known = {path: names_in(TESTS / path) for path in {path for path, _ in named} if (TESTS / path).is_file()}
    assert [f"{path}::{name}" for path, name in named if name not in known.get(path, set())] == []


def test_every_trap_that_counts_as_proven_names_a_test() -> None:
    proven = PAGE.read_text(encoding="utf-8").split("## Not proven yet")[0]
    rows = [line for line in proven.splitlines() if line.startswith("| ") and line != "| trap | tests |"]
    assert len(rows) > 50
    assert [row for row in rows if not NAMED.search(row)] == []


def test_no_test_of_a_trap_is_left_out() -> None:
    path = "integration/engine/test_engine_traps.py"
    named = {name for found, name in NAMED.findall(PAGE.read_text(encoding="utf-8")) if found == path}
    assert names_in(TESTS / path) == named
