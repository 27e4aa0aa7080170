"""``torghut-runtime replay``: bars through the engine on the simulated clock, or recorded steps through their code."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from torghut_runtime.command_line import ExitCode, end, examples, json_option, path_option, print_json, print_table
from torghut_runtime.errors import InputError

FILES: Final = ("decisions.jsonl", "orders.jsonl", "fills.jsonl")
_SHOWN: Final = 20


@click.command(
    epilog=examples(
        "torghut-runtime replay --bars bars.parquet --strategies strategies.yaml --seed 1 --out replay",
        "torghut-runtime replay --bars bars.csv --strategies strategies.yaml --out replay --json",
        "torghut-runtime replay --recorded --since 2026-01-05T00:00:00Z --until 2026-01-06T00:00:00Z",
    )
)
@path_option("--bars", help="Bars: Parquet, CSV or JSONL.")
@path_option("--strategies", help="Strategy catalog: YAML, JSON or a ConfigMap manifest.")
@path_option("--out", help="Folder for decisions.jsonl, orders.jsonl and fills.jsonl.")
@click.option("--timeframe", help="Timeframe of the bars; inferred when left out.")
@click.option("--seed", type=click.IntRange(0), help="Of the simulator's identifiers; 0 when left out.")
@click.option("--cash", type=click.FloatRange(0, min_open=True), help="Dollars; 100,000 when left out.")
@click.option("--recorded", is_flag=True, help="Replay the recorded steps of the database of DB_DSN instead of bars.")
@click.option("--since", help="With --recorded: decided at this time or later (RFC 3339).")
@click.option("--until", help="With --recorded: decided before this time (RFC 3339).")
@click.option("--strategy", help="With --recorded: only this strategy id.")
@json_option
def replay(
    bars: Path | None,
    strategies: Path | None,
    out: Path | None,
    timeframe: str | None,
    seed: int | None,
    cash: float | None,
    recorded: bool,
    since: str | None,
    until: str | None,
    strategy: str | None,
    as_json: bool,
) -> None:
    """Trade a file of bars on a simulated account, as the runtime would have; or repeat what it has decided.

    With --bars: caps, limits and order settings are those of the environment (TRADING_*); the account is simulated
    whatever it says of mode and broker, and neither TRADING_ENABLED nor the kill switch applies to it. Equal input
    gives equal files, byte for byte.

    With --recorded: every step that was recorded is asked again what it was asked then, and compared bit by bit. Exit 3
    when one is not repeated, and when there is none.
    """
    given = {"--bars": bars, "--strategies": strategies, "--out": out}
    others = {"--timeframe": timeframe, "--seed": seed, "--cash": cash}
    span = {"--since": since, "--until": until}
    if recorded:
        _refuse({**given, **others}, "--recorded")
        _demand(span)
        _repeat(_moment("--since", since), _moment("--until", until), strategy, as_json=as_json)
        return
    _refuse({**span, "--strategy": strategy}, "--bars")
    _demand(given)
    assert bars is not None
    assert strategies is not None
    assert out is not None
    _trade(bars, strategies, out, timeframe, seed or 0, Decimal(repr(cash or 100_000)), as_json=as_json)


def _refuse(options: dict[str, Any], beside: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise click.UsageError(f"{name} does not go with {beside}")


def _demand(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value is None:
            raise click.UsageError(f"Missing option '{name}'.")


# Recorded steps -------------------------------------------------------------------------------------------------------


def _moment(option: str, text: str | None) -> datetime:
    from torghut_runtime.market.times import time_fault

    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InputError(time_fault(text or ""), field=option)
    return moment


def _repeat(since: datetime, until: datetime, strategy: str | None, *, as_json: bool) -> None:
    from torghut_runtime.engine.parity import parity
    from torghut_runtime.settings import load_settings
    from torghut_runtime.storage.database import connect, create_engine
    from torghut_runtime.storage.decision_inputs import recorded_rows

    if until <= since:
        raise InputError(f"must be later than --since, was {until.isoformat()}", field="--until")
    with connect(create_engine(load_settings().db_dsn)) as connection:
        found = parity(recorded_rows(connection, since, until, strategy))
    if as_json:
        print_json({"since": since, "until": until, "strategy_id": strategy, **found.document()})
    elif found.status == "missing":
        click.echo("missing: no step is recorded in this time, so there is no parity")
    else:
        if found.differences:
            columns = ("strategy_id", "symbol", "timeframe", "bar_ts", "account_label", "cause", "detail")
            print_table(columns, [[getattr(each, name) for name in columns] for each in found.differences[:_SHOWN]])
            left = len(found.differences) - _SHOWN
            if left > 0:
                click.echo(f"and {left} more; --json lists all")
        click.echo(f"{found.status}: {found.equal} of {found.recorded} recorded steps repeated, ratio {found.ratio}")
    if found.status != "equal":
        end(ExitCode.DENIED)


# Bars -----------------------------------------------------------------------------------------------------------------


def _trade(
    bars: Path, strategies: Path, out: Path, timeframe: str | None, seed: int, cash: Decimal, *, as_json: bool
) -> None:
    from torghut_runtime.broker.simulator.tape import read_tape
    from torghut_runtime.engine.replay import Replay, features_of_tape
    from torghut_runtime.strategies.catalog import load_catalog
    from torghut_runtime.strategies.registry import resolve_all
    from torghut_runtime.trading_settings import load_trading_settings

    settings = load_trading_settings()
    for name in settings.unknown_names:
        click.echo(f"torghut-runtime replay: unknown setting {name}", err=True)
    tape = read_tape(bars, timeframe)
    catalog = load_catalog(strategies)
    bound = resolve_all(catalog, features_of_tape(tape), file=strategies)
    try:
        with _files(out) as files:
            done = Replay(tape, bound, settings, seed=seed, cash=cash).stream(files)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=out, field="--out") from None
    summary: dict[str, Any] = {
        "bars": done.bars,
        "strategies": [each.entry.strategy_id for each in bound],
        "decisions": done.decision_count,
        "orders": done.order_count,
        "fills": done.fill_count,
        "cash": done.cash,
        "equity": done.equity,
        "state": done.state,
        "reasons": done.reasons,
        "out": out,
    }
    if as_json:
        print_json(summary)
        return
    click.echo(f"{done.bars} bars, {done.decision_count} decisions, {done.order_count} orders, {done.fill_count} fills")
    click.echo(f"equity {done.equity:.2f}, cash {done.cash:.2f}, {done.state} {', '.join(done.reasons)}".rstrip())
    click.echo(f"written to {out}")


class _Lines:
    """Rows as lines of three files."""

    def __init__(self, decisions: BinaryIO, orders: BinaryIO, fills: BinaryIO) -> None:
        self._streams = (decisions, orders, fills)

    def decision(self, row: dict[str, Any]) -> None:
        self._write(0, row)

    def order(self, row: dict[str, Any]) -> None:
        self._write(1, row)

    def fill(self, row: dict[str, Any]) -> None:
        self._write(2, row)

    def _write(self, stream: int, row: dict[str, Any]) -> None:
        from torghut_runtime.canonical import compact_json

        self._streams[stream].write(compact_json(row) + b"\n")


@contextmanager
def _files(out: Path) -> Generator[_Lines]:
    """The files of a folder; they get their names when all is written."""
    out.mkdir(parents=True, exist_ok=True)
    parts = [(out / name).with_suffix(".part") for name in FILES]
    try:
        with parts[0].open("wb") as decisions, parts[1].open("wb") as orders, parts[2].open("wb") as fills:
            yield _Lines(decisions, orders, fills)
        for part, name in zip(parts, FILES, strict=True):
            part.replace(out / name)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
