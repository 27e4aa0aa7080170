"""Digests of code: what counts, and what does not."""

import sys
from pathlib import Path

import pytest

from torghut_runtime.code_digest import code_digest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package with a module and a template; the digest of each test is computed anew."""
    folder = tmp_path / "digested"
    (folder / "templates").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "rule.py").write_text("LIMIT = 1\n")
    (folder / "templates" / "page.html.j2").write_text("<p>{{ limit }}</p>")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "digested"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def digest_now() -> str:
    code_digest.cache_clear()
    return code_digest("digested")


@pytest.mark.parametrize("changed", ["rule.py", "templates/page.html.j2"])
def test_source_and_templates_of_a_package_count(package: Path, changed: str) -> None:
    before = digest_now()
    (package / changed).write_text("LIMIT = 2\n")
    assert digest_now() != before


def test_line_ends_and_foreign_files_do_not_count(package: Path) -> None:
    before = digest_now()
    (package / "rule.py").write_bytes(b"LIMIT = 1\r\n")
    (package / "notes.txt").write_text("nothing")
    assert digest_now() == before


def test_a_process_says_the_code_that_it_read_once(package: Path) -> None:
    before = digest_now()
    (package / "rule.py").write_text("LIMIT = 3\n")
    assert code_digest("digested") == before


def test_a_module_that_is_not_there_is_told() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        code_digest("nowhere_to_be_found")
