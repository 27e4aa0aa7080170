"""``torghut dev``: PostgreSQL and Dagster on this machine, started and stopped together."""

from pathlib import Path

import click

from torghut_runtime.command_line import ExitCode, end, examples, path_option


@click.command(epilog=examples("torghut dev", "torghut dev --port 3100"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where Dagster's UI listens.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Its port.")
@path_option("--project", default=Path(), show_default="the current folder", help="The folder with config/.")
def dev(host: str, port: int, project: Path) -> None:
    """Start PostgreSQL, the order feed's broker and Dagster's UI; Ctrl-C stops all cleanly.

    A database given by DB_DSN is used, and never started or stopped.
    """
    from torghut_assets.dev import run_dev
    from torghut_runtime.settings import load_settings

    if run_dev(load_settings(), project=project.resolve(), host=host, port=port, say=click.echo):
        end(ExitCode.FAILURE)
