"""How torghut's command lines behave: exit codes, errors, JSON, tables and progress, the same for every command.

Commands themselves live in ``torghut_assets.commands`` and ``torghut_runtime.cli``; what they compute lives elsewhere.
Nothing heavy is imported here, so that ``--help`` answers at once; a command imports what it needs when it runs.

Exit codes: 0 done, whatever the verdict; 1 an unexpected failure or a service that does not answer; 2 bad usage or bad
input, one line on stderr that names file, row and field; 3 the answer is no (denied, behind, broken) where the caller
asked to be told so; 4 a person has to look first (the guard's answers only).
"""

import json
import os
import pwd
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, TextIO, cast

import click

from torghut_runtime.errors import InputError, InputFaults, TorghutError

DEBUG_VARIABLE = "TORGHUT_DEBUG"

Listener = Callable[[str, int, int], None]
"""Hears about progress: what is being done, how much of it is done, out of how much (0: unknown)."""


class ExitCode(IntEnum):
    """What a process says to its caller."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    DENIED = 3
    REVIEW = 4
    INTERRUPTED = 130


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")


def path_option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    """An option that takes a path; whether it can be read is told by whoever reads it, with row and field."""
    return click.option(*names, type=click.Path(path_type=Path), **attributes)


def examples(*lines: str) -> str:
    """The epilog of a command: its examples, each a command that works as it stands."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def end(code: ExitCode) -> None:
    """Leave the running command with an exit code."""
    click.get_current_context().exit(int(code))


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; errors become one line on stderr.

    Args:
        command: the group of all commands.
        name: the program's name.
        arguments: what follows the name; the process's own when left out.
    """
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        outcome: object = command.main(given, name, standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else int(ExitCode.OK)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return int(ExitCode.USAGE)
    except click.UsageError as error:
        path = name if error.ctx is None else error.ctx.command_path
        return _fail(path, f"{_one_line(error.format_message())} (see {path} --help)", ExitCode.USAGE)
    except click.ClickException as error:
        return _fail(name, error.format_message(), ExitCode.FAILURE)
    except (click.Abort, KeyboardInterrupt):
        return _fail(name, "interrupted", ExitCode.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILURE)
    except InputError as error:
        return _fail(name, str(error), ExitCode.USAGE)
    except InputFaults as error:
        for fault in error.faults:
            _fail(name, str(fault), ExitCode.USAGE)
        return int(ExitCode.USAGE)
    except TorghutError as error:
        return _fail(name, str(error), ExitCode.FAILURE)
    except Exception as error:  # noqa: BLE001 - the outermost boundary: a defect is told in one line, too
        return _fail(name, f"unexpected failure: {type(error).__name__}: {error} ({_trace(error)})", ExitCode.FAILURE)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _fail(who: str, message: str, code: ExitCode) -> int:
    click.echo(f"{who}: {_one_line(message)}", err=True)
    return int(code)


def _trace(error: Exception) -> str:
    if not os.environ.get(DEBUG_VARIABLE):
        return f"{DEBUG_VARIABLE}=1 writes the traceback to a file"
    descriptor, path = tempfile.mkstemp(prefix="torghut-traceback-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.writelines(traceback.format_exception(error))
    return f"traceback: {path}"


def operating_system_user() -> str:
    """Who runs this process, for records; the name of the account, or its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def print_json(value: object) -> None:
    """Print plain values, models and paths as JSON on stdout; keys keep their order."""
    from torghut_runtime.canonical import canonical_value

    click.echo(json.dumps(canonical_value(_with_plain_paths(value)), indent=2, ensure_ascii=False))


def _with_plain_paths(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _with_plain_paths(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_with_plain_paths(item) for item in cast("Sequence[object]", value)]
    return value


def cell(value: object) -> str:
    """One value as people read it in a table: a dash where there is none, at most six significant digits."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in cast("Sequence[object]", value))
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table on stdout: drawn on a terminal, aligned plain text elsewhere. Green and red tell pass and fail."""
    texts = [[cell(value) for value in row] for row in rows]
    if _is_terminal(sys.stdout):
        _draw(columns, texts, title)
        return
    if title is not None:
        click.echo(title)
    widths = [max(len(text) for text in column) for column in zip(columns, *texts, strict=True)]
    for line in ([*columns], *texts):
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


_STYLES = {
    "pass": "green",
    "fail": "red",
    "missing": "red",
    "waived": "yellow",
    "promote": "green",
    "deny": "red",
    "ok": "green",
    "blocked": "red",
}


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD, title_style="bold")
    for row in rows:
        table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in row))
    Console(file=sys.stdout, highlight=False).print(table)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def progress() -> Generator[Listener]:
    """A listener that draws a bar on stderr while the block runs; silent where stderr is no terminal."""
    if not _is_terminal(sys.stderr):
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def listen(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        yield listen


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total
