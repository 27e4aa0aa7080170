"""The simulator's cases against a real Alpaca paper account: what differs. Run by ``make conformance-alpaca``.

Keys come from APCA_API_KEY_ID and APCA_API_SECRET_KEY; orders go to ``paper-api.alpaca.markets`` and to no other host.
The account must be flat and the market open; what a run opens it cancels and closes again. The frames of both sides are
written without identifiers to ``test-artifacts/conformance-alpaca``, the differences to stdout; exit 3 when there are
any. ``--self-check`` puts a second simulator in the place of the account: it needs no keys and must find none.
"""

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import requests  # noqa: E402
from alpaca.data.historical.corporate_actions import CorporateActionsClient  # noqa: E402
from alpaca.data.historical.stock import StockHistoricalDataClient  # noqa: E402
from alpaca.trading.client import TradingClient  # noqa: E402
from alpaca.trading.enums import OrderSide, TimeInForce  # noqa: E402
from alpaca.trading.requests import LimitOrderRequest  # noqa: E402
from alpaca.trading.stream import TradingStream  # noqa: E402
from alpaca_cases import CASES, Case, World  # noqa: E402
from alpaca_streams import await_listening, running, until  # noqa: E402

from torghut_runtime.broker.simulator.engine import SimulatedBroker  # noqa: E402
from torghut_runtime.broker.simulator.server.app import ServerSettings  # noqa: E402
from torghut_runtime.broker.simulator.server.launch import running_simulator  # noqa: E402
from torghut_runtime.broker.simulator.server.pacing import Pace  # noqa: E402
from torghut_runtime.broker.simulator.tape import synthetic_tape  # noqa: E402

PAPER = "https://paper-api.alpaca.markets"
SYMBOL = "AAPL"
OUTPUT = ROOT / "test-artifacts" / "conformance-alpaca"
_IDENTIFIERS = {"id", "order_id", "client_order_id", "execution_id", "event_id", "replaces", "replaced_by", "asset_id"}


@dataclass
class Outcome:
    """What one side did with one case."""

    error: str | None = None
    frames: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def events(self) -> set[str]:
        return {frame["event"] for frame in self.frames}

    def fields(self, event: str) -> set[str]:
        """Every field of this event's frames; those of the order with a prefix."""
        frames = [frame for frame in self.frames if frame["event"] == event]
        return {name for frame in frames for name in frame} | {
            f"order.{name}" for frame in frames for name in frame["order"]
        }


def refusal(message: str) -> int:
    print(f"conformance-alpaca: {message}", file=sys.stderr)
    return 2


def paper_address(environment: dict[str, str]) -> str | None:
    """The address to talk to; None when another host is asked for."""
    given = environment.get("APCA_API_BASE_URL") or PAPER
    parts = urlsplit(given)
    allowed = urlsplit(PAPER)
    return PAPER if (parts.scheme, parts.netloc) == (allowed.scheme, allowed.netloc) else None


def redacted(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Frames with identifiers named by the order of their appearance."""
    names: dict[str, str] = {}

    def clean(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: clean(item, name) for name, item in cast("dict[str, Any]", value).items()}
        if key in _IDENTIFIERS and isinstance(value, str):
            return names.setdefault(value, f"id-{len(names) + 1}")
        return value

    return [clean(frame) for frame in frames]


def play(world: World, stream: TradingStream, listening: Callable[[], None]) -> dict[str, Outcome]:
    """Run every case on one side and keep what its stream said."""
    heard: list[dict[str, Any]] = []

    async def hear(frame: Any) -> None:
        heard.append(frame["data"])

    stream.subscribe_trade_updates(hear)
    outcomes: dict[str, Outcome] = {}
    with running(stream):
        listening()
        for case in CASES:
            before = len(heard)
            outcomes[case.__name__] = Outcome(_failure(case, world))
            _clean_up(world)
            end = _heard_everything(world, heard)
            outcomes[case.__name__].frames = redacted(heard[before:end])
    return outcomes


def _heard_everything(world: World, heard: list[dict[str, Any]]) -> int:
    """Wait for the frames of an order that comes after all others; how many frames came before it."""
    order = cast("Any", world.trading).submit_order(
        LimitOrderRequest(symbol=world.symbol, qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, limit_price=1)
    )
    marker = str(order.id)
    world.trading.cancel_order_by_id(marker)
    world.until(lambda: str(cast("Any", world.trading).get_order_by_id(marker).status.value) == "canceled")
    until(lambda: any(_is(frame, marker) and frame["event"] == "canceled" for frame in [*heard]), 60)
    return next(index for index, frame in enumerate(heard) if _is(frame, marker))


def _is(frame: dict[str, Any], order_id: str) -> bool:
    return str(frame["order"]["id"]) == order_id


def _failure(case: Case, world: World) -> str | None:
    try:
        case(world)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is the result
        return f"{type(error).__name__}: {error}"
    return None


def _clean_up(world: World) -> None:
    world.trading.cancel_orders()
    world.until(lambda: not world.trading.get_orders())
    world.trading.close_all_positions(cancel_orders=True)
    world.until(lambda: not world.trading.get_all_positions())


@contextmanager
def simulated() -> Generator[tuple[World, TradingStream, Callable[[], None]]]:
    """A simulator in lockstep that moves on whenever a case waits."""
    broker = SimulatedBroker(synthetic_tape([SYMBOL], seed=1, first=date(2026, 1, 5), sessions=5))
    with running_simulator(broker, ServerSettings(pace=Pace(lockstep=True))) as simulator:

        def step_until(condition: Callable[[], bool]) -> None:
            for _ in range(50):
                if condition():
                    return
                requests.post(f"{simulator.url}/sim/step", json={"events": 1}, timeout=60)
            raise AssertionError("did not become so within 50 minutes")

        requests.post(f"{simulator.url}/sim/step", json={"events": 10}, timeout=60)
        keys = {"api_key": "key", "secret_key": "secret", "url_override": simulator.url}
        world = World(
            TradingClient(**keys), StockHistoricalDataClient(**keys), CorporateActionsClient(**keys), SYMBOL, step_until
        )
        stream = TradingStream("key", "secret", raw_data=True, url_override=simulator.trading_stream_url)
        yield world, stream, lambda: await_listening(simulator, "trading")


@contextmanager
def paper(key: str, secret: str) -> Generator[tuple[World, TradingStream, Callable[[], None]]]:
    """The paper account."""
    world = World(
        TradingClient(key, secret, paper=True),
        StockHistoricalDataClient(key, secret),
        CorporateActionsClient(key, secret),
        SYMBOL,
        lambda condition: until(condition, 60),
    )
    stream = TradingStream(key, secret, paper=True, raw_data=True)
    yield world, stream, lambda: threading.Event().wait(5) and None


def differences(theirs: dict[str, Outcome], ours: dict[str, Outcome]) -> list[str]:
    """One line per difference between the account and the simulator."""
    found: list[str] = []
    for name, their in theirs.items():
        our = ours[name]
        if their.error != our.error and (their.error is None or our.error is None):
            found.append(f"{name}: the account says {their.error or 'passed'}, the simulator {our.error or 'passed'}")
        found += [f"{name}: event {event} only from the account" for event in sorted(their.events - our.events)]
        found += [f"{name}: event {event} only from the simulator" for event in sorted(our.events - their.events)]
        for event in sorted(their.events & our.events):
            missing, extra = their.fields(event) - our.fields(event), our.fields(event) - their.fields(event)
            found += [f"{name}: {event} has field {one} only at the account" for one in sorted(missing)]
            found += [f"{name}: {event} has field {one} only in the simulator" for one in sorted(extra)]
    return found


def write(side: str, outcomes: dict[str, Outcome], folder: Path) -> None:
    """Keep the frames of one side."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{side}.jsonl").open("w", encoding="utf-8") as lines:
        for name, outcome in outcomes.items():
            for frame in outcome.frames:
                lines.write(json.dumps({"case": name, "frame": frame}) + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-check", action="store_true", help="a simulator in the account's place; no keys needed")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the recorded frames")
    given = parser.parse_args(arguments)
    if given.self_check:
        with simulated() as (world, stream, listening):
            theirs = play(world, stream, listening)
    else:
        key, secret = os.environ.get("APCA_API_KEY_ID"), os.environ.get("APCA_API_SECRET_KEY")
        if not key or not secret:
            return refusal("APCA_API_KEY_ID and APCA_API_SECRET_KEY are needed, of a paper account")
        if paper_address(dict(os.environ)) is None:
            return refusal(f"refuses any host but {PAPER}")
        with paper(key, secret) as (world, stream, listening):
            if not cast("Any", world.trading.get_clock()).is_open:
                return refusal("the market is closed")
            if world.trading.get_all_positions() or world.trading.get_orders():
                return refusal("the account holds positions or open orders; they would be closed")
            theirs = play(world, stream, listening)
    with simulated() as (world, stream, listening):
        ours = play(world, stream, listening)
    write("account", theirs, given.output)
    write("simulator", ours, given.output)
    failed = [f"{name}: both sides say {our.error}" for name, our in ours.items() if our.error and theirs[name].error]
    found = differences(theirs, ours) + failed
    print("\n".join(found) if found else f"no difference in {len(CASES)} cases")
    return 3 if found else 0


if __name__ == "__main__":
    sys.exit(main())
