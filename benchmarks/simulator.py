"""How fast the broker simulator is, against limits that are measured in the same run.

Run with ``uv run python benchmarks/simulator.py [--json PATH] [--symbols N] [--orders N] [--requests N]``.

* ``day``: one trading day of 500 symbols at one-minute bars with 10,000 orders, in process, as fast as it can. Its
  limit is what cannot be saved: walking the same moments and encoding as many frames of the same size.
* ``http``: orders per second through alpaca-py's client and the server, one after the other, each in its own process.
  Its limit is the same client against an ASGI application that answers every request with the same bytes.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import LimitOrderRequest

from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape


@dataclass(frozen=True)
class Measured:
    case: str
    value: float
    unit: str
    target: str
    limit: float
    ratio: float
    """Of the limit: 1 would mean that the simulator itself costs nothing."""


def _submit_some(broker: SimulatedBroker, draw: random.Random, symbols: list[str], count: int) -> None:
    for _ in range(count):
        symbol = draw.choice(symbols)
        price = float(broker.market.price(symbol))
        kind = draw.choice(["market", "limit", "stop"])
        order: dict[str, Any] = {
            "symbol": symbol,
            "qty": str(draw.randint(1, 50)),
            "side": "buy",
            "type": kind,
            "time_in_force": "day",
        }
        if kind == "limit":
            order["limit_price"] = f"{price * draw.uniform(0.995, 1.001):.2f}"
        elif kind == "stop":
            order["stop_price"] = f"{price * draw.uniform(0.999, 1.005):.2f}"
        broker.submit(order)


def measure_day(symbols: int, orders: int) -> list[Measured]:
    names = [f"S{number:03d}" for number in range(symbols)]
    tape = synthetic_tape(names, seed=1, first=date(2026, 1, 5))
    minutes = len(tape.bars) // symbols
    draw = random.Random(1)
    broker = SimulatedBroker(tape, BrokerSettings(cash=Decimal(10**10)))
    frames: list[int] = []
    broker.on_trade_update(lambda frame: frames.append(len(frame)))
    started, used = time.perf_counter(), time.process_time()
    for minute in range(minutes):
        broker.step(symbols)
        _submit_some(broker, draw, names, orders * (minute + 1) // minutes - orders * minute // minutes)
    broker.step(len(tape.bars))
    seconds, used = time.perf_counter() - started, time.process_time() - used
    limit = _limit_of_day(tape, broker, len(frames))
    return [
        Measured("day", seconds, "s wall", "< 60", limit, limit / used),
        Measured("day", used, "s CPU", "", limit, limit / used),
    ]


def _limit_of_day(tape: Tape, broker: SimulatedBroker, frames: int) -> float:
    document = next(iter(broker.desk.book)).document()
    encode = msgspec.json.Encoder().encode
    started = time.process_time()
    moved = sum(1 for moment in tape.moments(tape.starts_at) if moment.at)
    for _ in range(frames):
        encode({"stream": "trade_updates", "data": {"order": document}})
    assert moved
    return time.process_time() - started


def _orders_per_second(url: str, requests: int) -> float:
    client = TradingClient("key", "secret", url_override=url, raw_data=True)
    order = LimitOrderRequest(symbol="AAPL", qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY, limit_price=1.5)
    client.submit_order(order)
    started = time.perf_counter()
    for _ in range(requests):
        client.submit_order(order)
    return requests / (time.perf_counter() - started)


def measure_http(requests: int) -> Measured:
    with _process(sys.executable, "-c", _SIMULATOR) as url:
        rate = _orders_per_second(url, requests)
    with _process(sys.executable, "-c", _BARE) as url:
        limit = _orders_per_second(url, requests)
    return Measured("http", rate, "orders/s", "> 200", limit, rate / limit)


_SIMULATOR = """
import sys
from torghut_runtime.command_line import run
from torghut_runtime.cli import cli
run(cli, "torghut-runtime", ["simulate", "--symbols", "AAPL", "--lockstep", "--port", "0", "--cash", "1e9"])
"""
_BARE = """
import json, socket, uvicorn
from datetime import date
from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.tape import synthetic_tape

order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
broker = SimulatedBroker(synthetic_tape(["AAPL"], seed=1, first=date(2026, 1, 5)))
answer = json.dumps(broker.submit(order)).encode()

async def app(scope, receive, send):
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen(128)
print(json.dumps({"listening": "http://{}:{}".format(*listener.getsockname())}), flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False)).run(sockets=[listener])
"""


@contextmanager
def _process(*command: str) -> Generator[str]:
    """A server in a process of its own; yields the address that it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["listening"]
        finally:
            process.terminate()
            process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the measurements there")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=1000)
    arguments = parser.parse_args()
    results = [*measure_day(arguments.symbols, arguments.orders), measure_http(arguments.requests)]
    print("case      measured           target      limit  of limit")
    for row in results:
        print(f"{row.case:<6} {row.value:>9.1f} {row.unit:<10} {row.target:>7} {row.limit:>10.1f} {row.ratio:>9.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
