"""The page about the runtime names what is there: every setting with its default, and modules that exist."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "runtime.md"


def test_the_table_of_settings_is_what_make_docs_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == runpy.run_path(str(ROOT / "scripts" / "runtime_settings.py"))["page"]()


def test_every_module_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 10
    missing = [name for name in named if not ((ROOT / "torghut_runtime" / name).exists() or (ROOT / name).exists())]
    assert missing == []
