"""Engines in processes of their own: one that hangs, one that is paused while another takes over, one that is told."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from alpaca_streams import until as until_within
from live_engine import Desk, desk, desks, entry
from postgres import free_port

__all__ = ["desk", "desks"]

PATIENCE = 240.0
"""A process on a busy machine takes its time to begin."""
TESTS = Path(__file__).parents[2]


@dataclass
class Child:
    """A process and what it said last."""

    process: "subprocess.Popen[str]"
    last: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def listen(self) -> None:
        for line in self.process.stdout or ():
            self.last = json.loads(line)
            self.lines.append(self.last)

    def say(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()


class Children:
    """Starts processes and ends what is left of them."""

    def __init__(self) -> None:
        self.started: list[Child] = []

    def start(self, desk: Desk, *, ttl: float = 10.0, watchdog: float = 10.0) -> Child:
        command = [sys.executable, str(TESTS / "engine_process.py"), desk.dsn, desk.simulator.url, str(desk.catalog)]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        process = subprocess.Popen(
            [*command, str(ttl), str(watchdog)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        child = Child(process)
        self.started.append(child)
        threading.Thread(target=child.listen, daemon=True).start()
        return child

    def end(self) -> None:
        for child in self.started:
            if child.process.poll() is None:
                child.process.kill()
            child.process.wait(30)
            for stream in (child.process.stdin, child.process.stdout):
                if stream is not None:
                    stream.close()


@pytest.fixture
def children() -> Generator[Children]:
    found = Children()
    yield found
    found.end()


def until(condition: Callable[[], bool]) -> None:
    until_within(condition, PATIENCE)


def step(desk: Desk, count: int = 1) -> None:
    httpx.post(f"{desk.simulator.url}/sim/step", json={"events": count}, timeout=60).raise_for_status()


def open_order(desk: Desk) -> None:
    """An order that stays open until somebody cancels it."""
    order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1", "time_in_force": "day"}
    headers = {"APCA-API-KEY-ID": "simulator", "APCA-API-SECRET-KEY": "simulator"}
    httpx.post(f"{desk.simulator.url}/v2/orders", json=order, headers=headers, timeout=60).raise_for_status()


def test_a_trading_thread_that_hangs_has_its_orders_cancelled_and_the_process_ends(
    desk: Desk, children: Children
) -> None:
    desk.write(entry())
    child = children.start(desk, watchdog=10.0)
    until(lambda: child.last.get("running") is True)
    open_order(desk)
    child.say("block")
    assert child.process.wait(PATIENCE) == 1
    assert [order["status"] for order in desk.orders()] == ["canceled"]
    stored = desk.rows("SELECT state, reasons, actor FROM trading_state")
    assert [(row.state, [each["code"] for each in row.reasons]) for row in stored] == [("HALTED", ["loop_stalled"])]
    assert len(desk.rows("SELECT * FROM incidents WHERE closed_at IS NULL")) == 1


@pytest.mark.full
def test_a_leader_that_was_paused_submits_nothing_when_it_wakes(desk: Desk, children: Children) -> None:
    desk.write(entry(enter_at=1, until=60, pyramid=True, qty=1))
    first = children.start(desk, ttl=4.0, watchdog=3600)
    until(lambda: first.last.get("running") is True)
    step(desk)
    until(lambda: len(desk.orders()) == 1)
    second = children.start(desk, ttl=4.0, watchdog=3600)
    until(lambda: second.last.get("phase") == "lease")
    assert second.last["role"] == "standby"
    step(desk)
    until(lambda: len(desk.orders()) == 2)
    os.kill(first.process.pid, signal.SIGSTOP)
    until(lambda: second.last.get("running") is True)
    tokens = [row.fencing_token for row in desk.rows("SELECT fencing_token FROM runtime_lease")]
    assert tokens == [2]
    before = second.last["bars"]
    for number in range(1, 4):  # a bar that waits while the next minute passes is too old to be entered on
        step(desk)
        until(lambda number=number: second.last["bars"] >= before + number and len(desk.orders()) == 2 + number)
    os.kill(first.process.pid, signal.SIGCONT)
    until(lambda: first.last.get("role") == "standby")
    step(desk)
    until(lambda: second.last["bars"] >= before + 4)
    until(lambda: len(desk.orders()) == 6)
    keys = [order["client_order_id"] for order in desk.orders()]
    assert len(set(keys)) == len(keys) == 6
    intents = desk.rows("SELECT client_order_id FROM order_intents")
    assert {row.client_order_id for row in intents} == set(keys)


def test_serve_trades_shows_itself_and_ends_in_order(desk: Desk, tmp_path: Path) -> None:
    desk.write({"strategy_id": "hold", "strategy_type": "buy_and_hold", "universe_symbols": ["AAPL"]})
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TRADING_", "DB_"))},
        "DB_DSN": desk.dsn,
        "TRADING_ENABLED": "true",
        "TRADING_KILL_SWITCH_ENABLED": "false",
        "TRADING_SIMULATOR_URL": desk.simulator.url,
        "TRADING_STRATEGY_CONFIG_PATH": str(desk.catalog),
        "TRADING_STRATEGY_CONFIG_MODE": "sync",
        "TRADING_STATIC_SYMBOLS": "AAPL",
    }
    program = Path(sys.executable).parent / "torghut-runtime"
    process = subprocess.Popen([program, "serve", "--port", str(port)], cwd=tmp_path, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            until(lambda: readiness(client) == {"status": "ready", "role": "leader", "reasons": []})
            health = client.get("/healthz").json()
            assert {"loop", "trading", "lease", "trade_updates", "market_data"} <= set(health["components"])
            # One bar to enter on; a limit at a price that the next, higher bar does not touch stays open.
            step(desk)
            until(lambda: len(desk.orders()) == 1)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
    lease = desk.rows("SELECT expires_at <= clock_timestamp() AS over FROM runtime_lease")
    assert [row.over for row in lease] == [True]
    assert [order["status"] for order in desk.orders()] in (["canceled"], ["filled"])
    executions = {row.client_order_id: row.status for row in desk.rows("SELECT * FROM executions")}
    assert executions == {order["client_order_id"]: order["status"] for order in desk.orders()}


def readiness(client: httpx.Client) -> Any:
    """What the process says of itself; None before it answers."""
    try:
        return client.get("/readyz").json()
    except httpx.TransportError:
        return None
