"""Links resolve, commands exist, generated pages are current, and the README's example is the real one."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from torghut_assets.cli import cli
from torghut_assets.commands.reference import PAGE, commands, page
from torghut_runtime.cli import cli as runtime_cli

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "torghut_assets/project_template/README.md.template"]
)
PROGRAMS: dict[str, click.Command] = {"torghut": cli, "torghut-runtime": runtime_cli}
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shell_commands(text: str) -> Iterator[str]:
    """Every line of the shell blocks, continuations joined, without comments."""
    for language, block in _BLOCK.findall(text):
        if language in {"sh", "bash"}:
            for line in block.replace("\\\n", " ").splitlines():
                command = line.partition(" #")[0].strip()
                if command and not command.startswith("#"):
                    yield command


def parse(words: list[str]) -> None:
    """Let click parse a command as it would, without running it."""
    command, path = PROGRAMS[words[0]], words[0]
    arguments = words[1:]
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.commands.get(arguments[0])
        assert found is not None, f"{path} has no command {arguments[0]}"
        command, path, arguments = found, f"{path} {arguments[0]}", arguments[1:]
    if "--help" not in arguments and "--version" not in arguments:
        command.make_context(path, arguments)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    targets = [link for link in _LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    missing = [
        link for link in targets if not link.startswith("#") and not (path.parent / link.partition("#")[0]).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_real(path: Path) -> None:
    for command in shell_commands(path.read_text(encoding="utf-8")):
        for part in re.split(r"\s(?:&&|\|)\s", command):
            words = [
                word for word in shlex.split(part) if "=" not in word or word.startswith("-") or not word.isupper()
            ]
            program = Path(words[0]).name
            if program == "make":
                assert {word for word in words[1:] if "=" not in word} <= make_targets(), command
            elif program in PROGRAMS:
                parse([program, *words[1:]])


def _all_commands() -> list[tuple[str, click.Command]]:
    return [(" ".join(path), command) for name, group in PROGRAMS.items() for path, command in commands(group, (name,))]


@pytest.mark.parametrize(
    ("path", "command"), _all_commands(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_explains_itself(path: str, command: click.Command) -> None:
    assert command.help
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert undocumented == []
    if isinstance(command, click.Group) and command.epilog is None:
        return
    assert command.epilog is not None, f"{path} has no examples"
    lines = [line.strip() for line in command.epilog.splitlines()[2:]]
    assert lines
    for line in lines:
        parse(shlex.split(line.partition(" > ")[0]))


def test_the_page_of_the_command_line_is_what_make_docs_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_the_readme_shows_the_strategy_that_init_creates_and_tests_execute() -> None:
    example = (ROOT / "torghut_assets/project_template/package/strategies.py").read_text(encoding="utf-8")
    assert example in [
        block for language, block in _BLOCK.findall((ROOT / "README.md").read_text()) if language == "python"
    ]
