"""The table of client methods is what ``make docs`` writes, no method is left out unexplained, and the example runs."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import alpaca_methods  # noqa: E402


def test_the_table_is_current() -> None:
    assert alpaca_methods.PAGE.read_text(encoding="utf-8") == alpaca_methods.page()


def test_every_method_has_a_test_or_a_reason() -> None:
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", alpaca_methods.table(), re.MULTILINE)
    assert len(rows) > 50
    assert [name for name, cell in rows if cell.strip() in {"not served:", ""}] == []


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [example] = re.findall(r"```python\n(.*?)```", alpaca_methods.PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, str(alpaca_methods.PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert re.findall(r'"event":"(\w+)"', printed) == ["pending_new", "new", "fill"]
    assert names["broker"].desk.account.position("AAPL") == 10
