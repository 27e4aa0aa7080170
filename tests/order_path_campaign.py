"""The crash campaign of the order path: processes that die, a broker that misbehaves, and a count that must agree.

Everything that is decided is decided by the seed; what timing adds is when a signal arrives. The broker's own book,
which lives in this process, is what everything is compared with.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from order_path_process import ACTIONS, LABELS
from simulator_fixtures import control

from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.storage.database import connect

PROCESS = Path(__file__).with_name("order_path_process.py")
PER_CYCLE = 1_000
"""Numbers of bars that a cycle may use up."""
FAULTS: list[dict[str, Any]] = [
    {"lose_response": 1},
    {"http_errors": [{"method": "POST", "path": "/v2/orders", "status": 503, "count": 1}]},
    {"http_errors": [{"method": "POST", "path": "/v2/orders", "status": 429, "count": 1, "retry_after": 1}]},
    {"http_errors": [{"method": "GET", "path": "/v2/positions", "status": 500, "count": 1}]},
    {"http_errors": [{"method": "GET", "path": "/v2/orders", "status": 503, "count": 1}]},
    {"disconnect": [{"stream": "trading", "seconds": 0.3}]},
    {"mute": [{"stream": "trading", "seconds": 0.3}]},
    {"cancel_latency_ms": 50},
]
STANDING = {"duplicate_events": 0.2, "reorder_events": 0.2}


@dataclass
class Child:
    """A process of the order path; ``returncode`` after its end."""

    pid: int
    lines: Iterator[str]
    errors: Path
    ended: Callable[[], int]
    returncode: int | None = None

    def heard(self) -> list[dict[str, Any]]:
        """What it printed until its end, which must be its own or a kill."""
        found = [json.loads(line) for line in self.lines if line.endswith("}\n")]
        self.returncode = self.ended()
        assert self.returncode in (0, -signal.SIGKILL), self.errors.read_text()
        return found


class Nursery:
    """Makes processes of the order path from one that has imported everything."""

    def __init__(self, place: Path) -> None:
        self._place = place
        environment = {**os.environ, "PYTHONPATH": f"{PROCESS.parent}{os.pathsep}{PROCESS.parents[1]}"}
        self._parent = subprocess.Popen(
            [sys.executable, str(PROCESS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._made = 0

    def start(self, dsn: str, url: str, first: int, count: int, label: str = "") -> Child:
        """Start a process; see :mod:`order_path_process`."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        out, err = (self._place / f"{name}-{self._made}" for name in ("out", "err"))
        self._made += 1
        os.mkfifo(out)
        asked = {"arguments": [dsn, url, first, count, label], "out": str(out), "err": str(err)}
        self._parent.stdin.write(json.dumps(asked) + "\n")
        self._parent.stdin.flush()
        answers = self._parent.stdout
        pid = int(answers.readline())
        return Child(pid, _lines(out), err, lambda: int(answers.readline()))

    def close(self) -> None:
        """End the parent of all."""
        with self._parent:
            assert self._parent.stdin is not None
            self._parent.stdin.close()


def _lines(path: Path) -> Iterator[str]:
    with path.open() as stream:
        yield from stream


def at_broker(simulator: RunningSimulator) -> dict[str, tuple[str, Decimal]]:
    """Client order ids at the broker with status and filled quantity; a key that is there twice fails."""

    def read(broker: Any) -> list[tuple[str, str, Decimal]]:
        return [(order.client_order_id, order.status, order.filled_qty) for order in broker.desk.book]

    found = simulator.call(read)
    assert len({each[0] for each in found}) == len(found), "an order is twice at the broker"
    return {key: (status, filled) for key, status, filled in found}


def rows(engine: sa.Engine, statement: str) -> list[Any]:
    """The rows of a query."""
    with connect(engine) as connection:
        return list(connection.execute(sa.text(statement)).all())


_INTENTS = """SELECT i.*, d.timeframe FROM order_intents i JOIN trade_decisions d ON d.id = i.trade_decision_id"""


def _shown(row: Any) -> str:
    """The status as the broker shows it: what is asked for and not done yet is a flag beside ours."""
    if row.pending_replace:
        return "pending_replace"
    return "pending_cancel" if row.pending_cancel else row.status


def disagreements(engine: sa.Engine, simulator: RunningSimulator) -> list[str]:
    """Where our records and the broker's book differ: an execution per order, an intent per execution, fills."""
    broker = at_broker(simulator)
    ours = {row.client_order_id: (_shown(row), row.filled_qty) for row in rows(engine, "SELECT * FROM executions")}
    found = [f"{key}: ours {ours.get(key)}, broker {broker.get(key)}" for key in sorted({*ours, *broker})
             if ours.get(key) != broker.get(key)]  # fmt: skip
    intents = {row.client_order_id: row for row in rows(engine, _INTENTS)}
    found += [f"{key}: no intent" for key in broker if key not in intents]
    ended = ("rejected", "canceled", "expired")
    for key, row in intents.items():
        waits = row.state == "initialised" and (row.is_exit or row.timeframe == "1Day")
        if key not in broker and not waits and not (row.state in ended and row.reason):
            found.append(f"{key}: {row.state} {row.reason} without an order")
    return found


@dataclass
class Campaign:
    """Cycles of start, act, die; then one process that lives and is compared."""

    nursery: Nursery
    dsn: str
    engine: sa.Engine
    simulator: RunningSimulator
    seed: int
    cycles: int
    kills: Counter[str] = field(default_factory=Counter[str])
    violations: list[str] = field(default_factory=list[str])
    resolved: int = 0
    longest: float = 0.0
    silent: int = 0
    longest_silent: float = 0.0
    longest_restart: float = 0.0

    def run(self) -> dict[str, Any]:
        """Run all cycles; the figures."""
        dice = random.Random(self.seed)
        control(self.simulator, **STANDING)
        for cycle in range(self.cycles):
            self._cycle(cycle, dice)
        requests_clear(self.simulator)
        self._take(self._start(self.cycles * PER_CYCLE, 0).heard())
        self.violations += disagreements(self.engine, self.simulator)
        orders = at_broker(self.simulator)
        return {
            "seed": self.seed,
            "cycles": self.cycles,
            "kills": dict(sorted(self.kills.items())),
            "orders": len(orders),
            "orders_by_status": dict(sorted(Counter(status for status, _ in orders.values()).items())),
            "filled_orders": sum(1 for _, filled in orders.values() if filled),
            "intents": rows(self.engine, "SELECT count(*) FROM order_intents")[0][0],
            "unknown_resolved": self.resolved,
            "longest_unknown_seconds": round(self.longest, 3),
            "unknown_while_broker_silent": self.silent,
            "longest_unknown_while_broker_silent_seconds": round(self.longest_silent, 3),
            "longest_restart_seconds": self.longest_restart,
            "violations": self.violations,
        }

    def _cycle(self, cycle: int, dice: random.Random) -> None:
        for fault in dice.sample(FAULTS, 3):
            control(self.simulator, **fault)
        label = dice.choice([*LABELS, *["at random"] * (len(LABELS) // 2)])
        count, first = len(ACTIONS) * 2, cycle * PER_CYCLE
        pause, lines = dice.random() * 0.02, dice.randint(1, count)
        child = self._start(first, count, "" if label == "at random" else label)
        if label == "at random":
            heard = [json.loads(line) for line in islice(child.lines, lines)]
            time.sleep(pause)
            os.kill(child.pid, signal.SIGKILL)
            heard += child.heard()
        else:
            heard = child.heard()
        self.kills[label if child.returncode else "none"] += 1
        self._take(heard)

    def _start(self, first: int, count: int, label: str = "") -> Child:
        return self.nursery.start(self.dsn, self.simulator.url, first, count, label)

    def _take(self, heard: list[dict[str, Any]]) -> None:
        """What a process said of its restart must be true, and nothing may differ."""
        at_broker(self.simulator)
        if not heard:
            self.violations.append("a process died before it had restarted")
            return
        for line in heard:
            told = line.get("restarted") or line.get("ended")
            if told is None:
                continue
            if not (told["clean"] and told["refused_before"]) or told["found"]:
                self.violations.append(f"a restart was not clean: {told}")
            if "restarted" in line:
                self.longest_restart = max(self.longest_restart, told["seconds"])
        last = next((each for each in reversed(heard) if "ended" in each), heard[0])
        told = last.get("ended") or last["restarted"]
        self.resolved += told["resolved"]
        self.longest = max(self.longest, told["longest"])
        self.silent += told["silent"]
        self.longest_silent = max(self.longest_silent, told["longest_silent"])
        if "ended" in last:
            held = self.simulator.call(lambda broker: broker.desk.account.position("AAPL"))
            if Decimal(told["positions"].get("AAPL", "0")) != held:
                self.violations.append(f"position {told['positions']} against {held} of the broker")


def requests_clear(simulator: RunningSimulator) -> None:
    """Faults off."""
    import requests

    requests.delete(f"{simulator.url}/sim/control", timeout=60).raise_for_status()
