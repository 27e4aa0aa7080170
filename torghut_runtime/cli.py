"""The ``torghut-runtime`` command: what operates the trading side. It knows nothing of Dagster."""

import sys

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, print_json, run
from torghut_runtime.commands.doctor import doctor
from torghut_runtime.commands.forward import forward
from torghut_runtime.commands.order_feed import order_feed
from torghut_runtime.commands.positions import positions
from torghut_runtime.commands.replay import replay
from torghut_runtime.commands.serve import serve
from torghut_runtime.commands.simulate import simulate


@click.group(epilog=examples("torghut-runtime migrate --check"))
@click.version_option(package_name="torghut")
def cli() -> None:
    """Operate the trading runtime and its database.

    Exit codes: 0 done, 1 failure, 2 bad usage or input, 3 the answer is no.
    """


@cli.command(epilog=examples("torghut-runtime migrate", "torghut-runtime migrate --check"))
@click.option("--check", is_flag=True, help="Change nothing; exit with 3 when the database is behind.")
@json_option
def migrate(check: bool, as_json: bool) -> None:
    """Bring the database of DB_DSN to the newest schema; nothing happens when it is there already."""
    from torghut_runtime.settings import load_settings
    from torghut_runtime.storage.database import create_engine
    from torghut_runtime.storage.migrations import is_at_head
    from torghut_runtime.storage.migrations import migrate as migrate_database

    engine = create_engine(load_settings().db_dsn)
    current = is_at_head(engine)
    if not check and not current:
        migrate_database(engine)
    if as_json:
        print_json({"was_current": current, "migrated": not check and not current})
    else:
        click.echo("current" if current else "behind" if check else "migrated")
    if check and not current:
        end(ExitCode.DENIED)


cli.add_command(doctor)
cli.add_command(forward)
cli.add_command(order_feed)
cli.add_command(positions)
cli.add_command(replay)
cli.add_command(serve)
cli.add_command(simulate)


def main() -> None:
    """Run ``torghut-runtime`` with the process's arguments and exit."""
    sys.exit(run(cli, "torghut-runtime"))
