"""``torghut ledger``: verify the governance ledger, and read what it says about a subject. Nothing here writes."""

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, print_json, print_table


@click.group()
def ledger() -> None:
    """Verify and read the governance ledger."""


@ledger.command(epilog=examples("torghut ledger verify"))
@json_option
def verify(as_json: bool) -> None:
    """Recompute the hash chain; name the first broken row and exit with 3 when there is one."""
    from torghut_assets.commands.database import connection
    from torghut_runtime.storage.ledger import verify as verify_ledger

    with connection() as open_connection:
        found = verify_ledger(open_connection)
    if as_json:
        print_json({"rows": found.rows, "first_broken_seq": found.first_broken_seq, "reason": found.reason})
    elif found.first_broken_seq is None and found.reason is None:
        click.echo(f"intact: {found.rows} rows")
    else:
        click.echo(f"broken at row {found.first_broken_seq}: {found.reason}")
    if found.reason is not None:
        end(ExitCode.DENIED)


@ledger.command(epilog=examples("torghut ledger history --subject daily-momentum"))
@click.option("--subject", required=True, help="Name of the candidate, strategy or control.")
@json_option
def history(subject: str, as_json: bool) -> None:
    """List the rows about a subject, oldest first."""
    from torghut_assets.commands.database import connection
    from torghut_runtime.canonical import utc_text
    from torghut_runtime.storage.ledger import history as ledger_history

    with connection() as open_connection:
        rows = ledger_history(open_connection, subject)
    if as_json:
        print_json(
            [{"seq": r.seq, "kind": r.kind, "at": r.at, "actor": r.actor, "body": r.body, "hash": r.hash} for r in rows]
        )
        return
    columns = ("seq", "at", "kind", "actor", "action", "hash")
    print_table(columns, [(r.seq, utc_text(r.at), r.kind, r.actor, r.body.get("action"), r.hash[:12]) for r in rows])
