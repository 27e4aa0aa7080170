"""``torghut-runtime simulate``: the broker simulator as a process."""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from torghut_runtime.command_line import examples, path_option
from torghut_runtime.errors import InputError

if TYPE_CHECKING:
    from torghut_runtime.broker.simulator.engine import BrokerSettings
    from torghut_runtime.broker.simulator.tape import Tape

_SYMBOLS = "AAPL,AMZN,GOOG,MSFT,SPY"


@click.command(
    epilog=examples(
        "torghut-runtime simulate --bars bars.parquet --speed 1",
        "torghut-runtime simulate --symbols AAPL,MSFT --sessions 5 --seed 7 --lockstep",
    )
)
@path_option("--bars", help="Bars: Parquet, CSV or JSONL; made-up bars when left out.")
@click.option("--timeframe", help="Timeframe of the bars; inferred when left out, 1Min when they are made up.")
@click.option("--symbols", default=_SYMBOLS, show_default=True, help="Symbols of made-up bars.")
@click.option(
    "--first-day",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2026-01-05",
    show_default=True,
    help="First day of made-up bars.",
)
@click.option("--sessions", type=click.IntRange(1, 2500), default=1, show_default=True, help="Days of made-up bars.")
@click.option("--start", help="Time at which the simulation begins; earlier bars are history. The first bar if absent.")
@click.option("--speed", default="1", show_default=True, help="Simulated seconds per second, or max.")
@click.option("--lockstep", is_flag=True, help="Time stands still; POST /sim/step moves it.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of identifiers, faults and bars.")
@click.option("--cash", type=float, default=100_000, show_default=True, help="Dollars in the account.")
@click.option(
    "--participation",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Largest share of a bar's volume that orders get.",
)
@click.option("--rate-limit", type=click.IntRange(1), help="Requests per minute; more get 429. No limit if absent.")
@click.option("--text-frames", is_flag=True, help="Send trade updates as text frames, not as binary ones.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8282, show_default=True, help="Port; 0 for a free one.")
@click.option(
    "--key", envvar="APCA_API_KEY_ID", help="API key that is accepted [env: APCA_API_KEY_ID]; any when absent."
)
@click.option("--secret", envvar="APCA_API_SECRET_KEY", help="Its secret [env: APCA_API_SECRET_KEY].")
def simulate(
    bars: Path | None,
    timeframe: str | None,
    symbols: str,
    first_day: datetime,
    sessions: int,
    start: str | None,
    speed: str,
    lockstep: bool,
    seed: int,
    cash: float,
    participation: float,
    rate_limit: int | None,
    text_frames: bool,
    host: str,
    port: int,
    key: str | None,
    secret: str | None,
) -> None:
    """Serve a simulated Alpaca account and market on one port until interrupted.

    Prints one JSON line with the address once it listens.
    """
    from torghut_runtime.addresses import listening_socket
    from torghut_runtime.broker.simulator.engine import SimulatedBroker
    from torghut_runtime.broker.simulator.server.app import ServerSettings
    from torghut_runtime.broker.simulator.server.credentials import Credentials
    from torghut_runtime.broker.simulator.server.launch import serve
    from torghut_runtime.broker.simulator.server.pacing import Pace
    from torghut_runtime.broker.simulator.tape import read_tape, synthetic_tape

    if (key is None) != (secret is None):
        raise InputError("a key needs its secret, and a secret its key", field="--key")
    pace = Pace(_speed(speed), lockstep)
    if bars is not None:
        tape = read_tape(bars, timeframe)
    else:
        names = [name.strip().upper() for name in symbols.split(",") if name.strip()]
        if not names:
            raise InputError("names no symbol", field="--symbols")
        tape = synthetic_tape(
            names, seed=seed, first=first_day.date(), sessions=sessions, timeframe=timeframe or "1Min"
        )
    settings = _settings(tape, start, seed, cash, participation)
    listener = listening_socket(port, host)
    broker = SimulatedBroker(tape, settings)
    address = "http://{}:{}".format(*listener.getsockname())
    click.echo(json.dumps({"listening": address, "account_number": broker.account_number}))
    serve(
        broker,
        ServerSettings(
            pace=pace,
            credentials=Credentials(key, secret),
            binary_frames=not text_frames,
            requests_per_minute=rate_limit,
        ),
        listener,
    )


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1_000_000:
        raise InputError(f"must be a number above 0 or max, was {text!r}", field="--speed")
    return speed


def _settings(tape: "Tape", start: str | None, seed: int, cash: float, participation: float) -> "BrokerSettings":
    from torghut_runtime.broker.simulator.engine import BrokerSettings
    from torghut_runtime.broker.simulator.instants import parse_moment

    try:
        starts_at = None if start is None else parse_moment(start)
    except ValueError:
        raise InputError(f"not an RFC 3339 time, was {start!r}", field="--start") from None
    if starts_at is not None and all(bar.closes_at <= starts_at for bar in tape.bars):
        raise InputError("is after the last bar", field="--start")
    return BrokerSettings(
        seed=seed, cash=Decimal(repr(cash)), participation=Decimal(repr(participation)), start=starts_at
    )
