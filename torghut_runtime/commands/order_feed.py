"""``torghut-runtime order-feed``: drive, inspect and repair the way of broker events into PostgreSQL."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, print_json, print_table

if TYPE_CHECKING:
    from uuid import UUID

    import sqlalchemy as sa

    from torghut_runtime.settings import Settings


class Moment(click.ParamType[datetime]):
    """An RFC 3339 time; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the time, or fail with what was found."""
        from datetime import UTC

        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-03-02T14:30:00Z", param, ctx)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@click.group(name="order-feed")
def order_feed() -> None:
    """Drive, inspect and repair the order feed."""


def _engine(settings: "Settings") -> "sa.Engine":
    from torghut_runtime.order_feed.session import ingest_engine

    return ingest_engine(settings.db_dsn)


@order_feed.command(epilog=examples("torghut-runtime order-feed ingest --once"))
@click.option("--once", is_flag=True, help="End at the log's end instead of waiting for more.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve the driver's own metrics on 127.0.0.1.")
@json_option
def ingest(once: bool, metrics_port: int | None, as_json: bool) -> None:
    """Consume the topic continuously; SIGTERM ends after the batch at hand.

    Outages of PostgreSQL and Kafka are waited out. With --once: exit 3 when the feed is disabled or paused.
    """
    from dataclasses import asdict

    from torghut_runtime.order_feed.run import run_driver
    from torghut_runtime.order_feed.status import configuration
    from torghut_runtime.settings import load_settings

    settings = load_settings()
    trouble = configuration(settings)
    if trouble is not None and once:
        _tell({"state": trouble[0], "reason": trouble[1]}, as_json)
        end(ExitCode.DENIED if trouble[0] == "disabled" else ExitCode.USAGE)
        return
    if settings.order_feed_driver == "sensor":
        click.echo("TRADING_ORDER_FEED_DRIVER=sensor: Dagster's sensor consumes, too", err=True)
    report = run_driver(settings, once=once, metrics_port=metrics_port)
    _tell(asdict(report), as_json)
    if once and report.stopped_by == "paused":
        end(ExitCode.DENIED)


def _tell(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(values)
    else:
        for name, value in values.items():
            click.echo(f"{name}: {value}")


@order_feed.command(epilog=examples("torghut-runtime order-feed status", "torghut-runtime order-feed status --verify"))
@click.option("--verify", "verifying", is_flag=True, help="Check stored orders and fills against all their events.")
@json_option
def status(verifying: bool, as_json: bool) -> None:
    """Show offsets, counters, dead letters, gaps and discrepancies; exit 3 on stalled, misconfigured or a violation."""
    from dataclasses import asdict

    from torghut_runtime.order_feed.status import read_status, verify
    from torghut_runtime.settings import load_settings
    from torghut_runtime.storage.database import create_engine

    settings = load_settings()
    engine = create_engine(settings.db_dsn)
    with engine.connect() as connection:
        found = read_status(connection, settings)
    violations = None
    if verifying:
        with engine.connect() as connection:
            violations = verify(connection)
    values = asdict(found)
    if violations is not None:
        values["violations"] = [asdict(violation) for violation in violations]
    if as_json:
        print_json(values)
    else:
        _show_status(values)
    if found.state in {"stalled", "misconfigured"} or violations:
        end(ExitCode.DENIED)


def _show_status(values: dict[str, Any]) -> None:
    reason = f" ({values['reason']})" if values["reason"] else ""
    click.echo(f"{values['state']}{reason}, driver {values['driver']}, last event_seq {values['last_event_seq']}")
    columns = ("topic", "partition", "next_offset", "log_end_offset", "lag", "last_poll_age_seconds", "driver")
    print_table(columns, [[row[name] for name in columns] for row in values["offsets"]], title="offsets")
    print_table(("counter", "value"), values["counters"].items(), title="counters")
    for title in ("dead_letters", "gaps", "discrepancies"):
        rows = values[title]
        if rows:
            print_table(tuple(rows[0]), [list(row.values()) for row in rows], title=title)
    click.echo(f"orders without an intent: {values['unlinked_orders']}")
    for violation in values.get("violations", ()):
        click.echo(f"violation: {violation['kind']}: {violation['detail']}")


@order_feed.command(
    name="replay-dead-letters",
    epilog=examples(
        "torghut-runtime order-feed replay-dead-letters --dry-run",
        'torghut-runtime order-feed replay-dead-letters --reason invalid_json --discard --note "test traffic"',
    ),
)
@click.option("--reason", "reasons", multiple=True, help="Only letters with this reason; may be given several times.")
@click.option("--id", "ids", type=click.UUID, multiple=True, help="Only this letter; may be given several times.")
@click.option("--since", type=Moment(), help="Only letters stored since then.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, oldest first.")
@click.option("--dry-run", is_flag=True, help="List what would be tried.")
@click.option(
    "--discard", "discarding", is_flag=True, help="Put them aside instead; needs --note and --reason or --id."
)
@click.option("--note", help="Why they are put aside.")
@json_option
def replay_dead_letters(
    reasons: tuple[str, ...],
    ids: tuple[Any, ...],
    since: datetime | None,
    limit: int | None,
    dry_run: bool,
    discarding: bool,
    note: str | None,
    as_json: bool,
) -> None:
    """Try dead letters again, one transaction each, oldest first; exit 3 when some failed again."""
    import getpass
    from dataclasses import asdict

    from torghut_runtime.order_feed.dead_letters import Outcome, Selection, discard, replay, select
    from torghut_runtime.settings import load_settings
    from torghut_runtime.storage.database import create_engine

    if discarding and (not note or not (reasons or ids)):
        raise click.UsageError("--discard needs --note, and --reason or --id")
    settings = load_settings()
    # a discard is ledger work, so it has the ledger's patience; a replay has the ingest's limits
    engine = create_engine(settings.db_dsn) if discarding else _engine(settings)
    with engine.connect() as connection:
        selected = select(connection, Selection(reasons, ids, since, limit))
        if dry_run:
            outcome = Outcome(
                selected=len(selected),
                letters=[{"id": str(row.id), "state": row.state, "reason": row.reason} for row in selected],
            )
        elif discarding:
            outcome = discard(connection, selected, str(note)[:500], getpass.getuser())
        else:
            outcome = replay(connection, selected, settings.account_label)
    if as_json:
        print_json(asdict(outcome))
    else:
        click.echo(
            f"selected {outcome.selected}, replayed {outcome.replayed}, duplicate {outcome.duplicate}, "
            f"failed again {outcome.failed}, discarded {outcome.discarded}"
        )
        for letter in outcome.letters:
            click.echo(f"{letter['id']}  {letter['state']}  {letter['reason']}")
    if outcome.failed:
        end(ExitCode.DENIED)


@order_feed.command(
    epilog=examples("torghut-runtime order-feed backfill --from 2026-03-02T14:00:00Z --to 2026-03-02T21:00:00Z")
)
@click.option("--from", "since", type=Moment(), help="Begin of the span.")
@click.option("--to", "until", type=Moment(), help="End of the span; now when left out.")
@click.option("--gap", type=click.UUID, help="The span of this gap, which is resolved afterwards.")
@click.option("--account", help="Account label of what is read; TRADING_ACCOUNT_LABEL when left out.")
@click.option("--dry-run", is_flag=True, help="Read and say what would be new; store nothing.")
@json_option
def backfill(
    since: datetime | None, until: datetime | None, gap: Any, account: str | None, dry_run: bool, as_json: bool
) -> None:
    """Ask the broker about a span of time and store what is new; exit 3 when a page failed."""
    from dataclasses import asdict
    from datetime import UTC

    from torghut_runtime.errors import UpstreamError
    from torghut_runtime.order_feed.backfill import backfill as run_backfill
    from torghut_runtime.order_feed.backfill import span_of_gap
    from torghut_runtime.order_feed.broker_answers import AlpacaHistory
    from torghut_runtime.settings import load_settings
    from torghut_runtime.trading_settings import load_trading_settings

    if (since is None) == (gap is None) or (gap is not None and until is not None):
        raise click.UsageError("give either --from, with or without --to, or --gap")
    settings = load_settings()
    history = AlpacaHistory(load_trading_settings())
    with _engine(settings).connect() as connection:
        span = span_of_gap(connection, cast("UUID", gap)) if since is None else (since, until or datetime.now(UTC))
        try:
            done = run_backfill(connection, history, *span, account or settings.account_label, gap=gap, dry_run=dry_run)
        except UpstreamError as error:
            click.echo(str(error), err=True)
            end(ExitCode.DENIED)
            return
    _tell(asdict(done), as_json)
