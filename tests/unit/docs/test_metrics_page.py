"""The page about metrics shows every family that is exported."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_table_of_metrics_is_what_make_docs_writes() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "metrics_page.py"))["page"]()
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == page
