"""How every command line behaves: exit codes, one line per error, JSON, tables, progress."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

from torghut_runtime.command_line import ExitCode, end, print_json, print_table, progress, run
from torghut_runtime.errors import InputError, StoreUnavailableError


def _command(error: BaseException | None = None) -> click.Group:
    @click.group()
    def group() -> None:
        """A program."""

    @group.command()
    @click.option("--count", type=int, required=True)
    def work(count: int) -> None:
        """Work, or fail."""
        if error is not None:
            raise error
        if count == 0:
            end(ExitCode.DENIED)
        click.echo(f"counted {count}")

    return group


def _run(
    capsys: pytest.CaptureFixture[str], arguments: list[str], error: BaseException | None = None
) -> tuple[int, str, str]:
    code = run(_command(error), "prog", arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_success_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, ["work", "--count", "2"]) == (0, "counted 2\n", "")


def test_a_negative_answer_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, ["work", "--count", "0"]) == (3, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["work"], "prog work: Missing option '--count'. (see prog work --help)\n"),
        (["wrok"], "prog: No such command 'wrok'. Did you mean 'work'? (see prog --help)\n"),
    ],
)
def test_bad_usage_is_2_and_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert _run(capsys, arguments) == (2, "", message)


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys, [])
    assert (code, err) == (2, "")
    assert "Commands:\n  work" in out


def test_bad_input_is_2_and_names_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError("must be a number", file="bars.csv", row=3, field="close")
    expected = "prog: bars.csv: row 3: field close: must be a number\n"
    assert _run(capsys, ["work", "--count", "1"], error) == (2, "", expected)


def test_a_store_that_does_not_answer_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    error = StoreUnavailableError("PostgreSQL does not answer")
    assert _run(capsys, ["work", "--count", "1"], error) == (1, "", "prog: PostgreSQL does not answer\n")


def test_a_defect_is_1_without_a_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORGHUT_DEBUG", raising=False)
    code, out, err = _run(capsys, ["work", "--count", "1"], KeyError("lost"))
    assert (code, out) == (1, "")
    assert err == "prog: unexpected failure: KeyError: 'lost' (TORGHUT_DEBUG=1 writes the traceback to a file)\n"


def test_a_defects_traceback_is_written_on_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORGHUT_DEBUG", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, _, err = _run(capsys, ["work", "--count", "1"], KeyError("lost"))
    (written,) = tmp_path.iterdir()
    assert str(written) in err
    assert "raise error" in written.read_text()


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, ["work", "--count", "1"], KeyboardInterrupt()) == (130, "", "\nprog: interrupted\n")


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    program = (
        "import sys, click; from torghut_runtime.command_line import run\n"
        "sys.exit(run(click.Command('x', callback=lambda: [click.echo('x' * 1000) for _ in range(1000)]), 'x', []))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_json_holds_paths_models_and_undefined_values(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"path": Path("a/b"), "nothing": None, "ratio": 0.1 + 0.2, "list": (Path("c"), True)})
    assert json.loads(capsys.readouterr().out) == {"path": "a/b", "nothing": None, "ratio": 0.3, "list": ["c", True]}


def test_a_table_off_the_terminal_is_aligned_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("rule", "observed"), [("1.net_pnl", -12.5), ("1.folds", None), ("x", 123456.789)], title="gates")
    assert (
        capsys.readouterr().out == "gates\nrule       observed\n1.net_pnl  -12.5\n1.folds    –\nx          123,456.79\n"
    )


def test_progress_is_silent_off_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as listen:
        listen("folds", 1, 5)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_and_a_drawn_table() -> None:
    program = (
        "from torghut_runtime.command_line import print_table, progress\n"
        "with progress() as listen:\n    listen('walking forward', 2, 5)\n"
        "print_table(('gate', 'verdict'), [('gate0', 'pass')])\n"
    )
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", program], stdout=child, stderr=child, check=True, env=environment, timeout=60)
    os.close(child)
    shown = os.read(parent, 100_000).decode()
    os.close(parent)
    assert "walking forward" in shown
    assert "\x1b[32mpass" in shown
