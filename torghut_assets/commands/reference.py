"""``docs/command-line.md``, generated from the commands themselves.

``python -m torghut_assets.commands.reference`` writes the page; a test keeps it current.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from torghut_assets.cli import cli
from torghut_runtime.cli import cli as runtime_cli

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
_WIDTH = 100
_INTRODUCTION = """\
# Command line

Generated from the commands by `make docs`.

Every command ends with 0 when it is done, whatever the verdict; 2 for bad usage or bad input, with one line on stderr
that names file, row and field; 3 when the answer is no and the caller asked to be told so (denied with
`--require-promotion`, a failed check, a broken ledger, a refused patch, a database that is behind); 1 for everything
unexpected. `TORGHUT_DEBUG=1` writes the traceback of an unexpected failure to a file. Where `--json` exists, stdout
holds one JSON document and nothing else. Progress is drawn on stderr, on a terminal only.
"""


def commands(group: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands below and including ``group``, each with the words that call it, in the order of the help."""
    yield path, group
    if isinstance(group, click.Group):
        for name in sorted(group.commands):
            yield from commands(group.commands[name], (*path, name))


def page() -> str:
    """The text of ``docs/command-line.md``."""
    blocks = [_INTRODUCTION]
    for name, group in (("torghut", cli), ("torghut-runtime", runtime_cli)):
        for path, command in commands(group, (name,)):
            context = click.Context(command, info_name=" ".join(path), terminal_width=_WIDTH, max_content_width=_WIDTH)
            heading = "#" * (2 if len(path) == 1 else 3)
            blocks.append(f"{heading} {' '.join(path)}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(blocks)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
