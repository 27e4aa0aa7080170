"""How fast trading stops: kill switch and halt to cancel-all with 200 open orders, a standby's halt to the leader.

Promises: less than 1 s from the flip until no order is open, and less than 250 ms until the leader knows a halt that
another process has stored. The peer, in the same run, is the broker's own cancel-all call without anything around it.
PostgreSQL and the simulator (over HTTP) are started on this machine. Run: ``python benchmarks/stops.py [--rounds N]
[--json PATH]``; exit 1 when a promise is broken.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from postgres import new_database, session_server
from simulator_fixtures import LOCKSTEP, step
from stop_world import StopWorld, until

from torghut_runtime.broker.alpaca import AlpacaWriter
from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.server.launch import RunningSimulator, running_simulator
from torghut_runtime.broker.simulator.tape import synthetic_tape
from torghut_runtime.engine.flag_source import KILL_SWITCH
from torghut_runtime.trading_settings import BrokerAccess

ORDERS = 200
CANCELLED_MS = 1_000.0
SEEN_MS = 250.0


class Stage:
    """A leader and a standby on one account."""

    def __init__(self, dsn: str, simulator: RunningSimulator) -> None:
        self.simulator = simulator
        self.leader = StopWorld(dsn, simulator).start().restored()
        self.standby = StopWorld(dsn, simulator, leads=False, holder="standby").start().restored()
        self.number = 0

    def fill(self) -> None:
        """Open the orders."""

        def submit(broker: Any) -> None:
            for _ in range(ORDERS):
                self.number += 1
                order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1"}
                broker.submit({**order, "time_in_force": "day", "client_order_id": f"k{self.number}"})

        self.simulator.call(submit)

    def open_orders(self) -> int:
        """How many are open, asked without the wire."""
        return self.simulator.call(lambda broker: len(broker.desk.book.open_orders()))

    def resume(self) -> None:
        """Trade again."""
        self.leader.flags.answers.clear()
        until(lambda: not self.leader.stops.cancel_all.at_work and not self.standby.stops.cancel_all.at_work)
        self.leader.desk.resume("bench", "next", self.leader.stance.trading_state.codes)
        until(lambda: self.standby.stance.trading_state.state == "ACTIVE")

    def close(self) -> None:
        """End both."""
        self.standby.close()
        self.leader.close()


def timed(act: Callable[[], object], done: Callable[[], bool]) -> float:
    """Milliseconds from the act until it shows."""
    began = time.perf_counter()
    act()
    while not done():
        time.sleep(0.0005)
    return (time.perf_counter() - began) * 1_000


def measured(stage: Stage, rounds: int) -> dict[str, list[float]]:
    """Every time of every round, in milliseconds."""
    peer = AlpacaWriter(BrokerAccess(), stage.simulator.url)
    times: dict[str, list[float]] = {name: [] for name in ("peer", "kill_switch", "halt", "seen")}
    empty: Callable[[], bool] = lambda: stage.open_orders() == 0  # noqa: E731
    for _ in range(rounds):
        stage.fill()
        times["peer"].append(timed(peer.cancel_all, empty))
        stage.fill()
        times["kill_switch"].append(timed(lambda: stage.leader.flags.answers.update({KILL_SWITCH: True}), empty))
        stage.resume()
        stage.fill()
        times["halt"].append(timed(lambda: stage.leader.desk.halt("bench", "round"), empty))
        stage.resume()
        stage.standby.desk.halt("bench", "round")
        # a halt is stored when the desk answers: from then on the leader has its time
        times["seen"].append(timed(lambda: None, lambda: stage.leader.stance.trading_state.state == "HALTED"))
        stage.resume()
    return times


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        dsn = stack.enter_context(new_database(stack.enter_context(session_server())))
        tape = synthetic_tape(["AAPL"], seed=1, first=date(2026, 1, 5), sessions=1)
        simulator = stack.enter_context(running_simulator(SimulatedBroker(tape), LOCKSTEP))
        step(simulator, 2)
        stage = Stage(dsn, simulator)
        stack.callback(stage.close)
        times = measured(stage, arguments.rounds)
    targets = {"kill_switch": CANCELLED_MS, "halt": CANCELLED_MS, "seen": SEEN_MS}
    names = {
        "peer": f"the broker's cancel-all alone, {ORDERS} orders",
        "kill_switch": f"flag flips until no order is open, {ORDERS} orders",
        "halt": f"operator's halt until no order is open and it is stored, {ORDERS} orders",
        "seen": "a standby's stored halt until the leader knows it",
    }
    result: dict[str, dict[str, float | None]] = {}
    for name, values in times.items():
        median, largest = statistics.median(values), max(values)
        result[name] = {"median_ms": round(median, 1), "max_ms": round(largest, 1), "target_ms": targets.get(name)}
        target = f"< {targets[name]:.0f} ms" if name in targets else "peer"
        print(f"{names[name]:<72} median {median:7.1f} ms  max {largest:7.1f} ms  {target}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(max(times[name]) < target for name, target in targets.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
