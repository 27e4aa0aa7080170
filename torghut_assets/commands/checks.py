"""``torghut checks``: Dagster's asset checks, evaluated in CI."""

from pathlib import Path

import click

from torghut_runtime.command_line import examples, json_option, path_option


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
