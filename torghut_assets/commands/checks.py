"""``torghut checks``: Dagster's asset checks, evaluated in CI."""

from pathlib import Path

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, path_option, print_json, print_table
from torghut_runtime.errors import InputError


@click.group()
def checks() -> None:
    """Evaluate asset checks; nothing is changed by it."""


@checks.command(
    epilog=examples(
        "torghut checks run --partition daily-momentum",
        "torghut checks run --select gates/gate_evaluation --partition daily-momentum --junit checks.xml",
    )
)
@click.option("--select", help="Assets whose checks are evaluated, as in Dagster's selections; all when left out.")
@click.option("--partition", help="The candidate's name; all registered ones when left out.")
@path_option("--junit", help="Write a JUnit report there.")
@path_option("--project", default=Path(), show_default="the current folder", help="The folder with config/.")
@json_option
def run(select: str | None, partition: str | None, junit: Path | None, project: Path, as_json: bool) -> None:
    """Evaluate checks in this process: 0 all passed, 3 a failed check of severity ERROR, 2 a check without result."""
    from torghut_assets.checks_runner import junit as junit_report
    from torghut_assets.checks_runner import run_checks
    from torghut_runtime.durable_file import write_atomically

    outcomes = run_checks(project.resolve(), select=select, partition=partition)
    if junit is not None:
        try:
            write_atomically(junit, junit_report(outcomes))
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", file=junit) from None
    if as_json:
        print_json([vars(each) for each in outcomes])
    else:
        columns = ("candidate", "asset", "check", "outcome", "description")
        print_table(columns, [(e.candidate, e.asset, e.check, e.outcome, e.description) for e in outcomes])
    if any(each.outcome == "no result" for each in outcomes):
        end(ExitCode.USAGE)
    if any(each.outcome == "failed" for each in outcomes):
        end(ExitCode.DENIED)
