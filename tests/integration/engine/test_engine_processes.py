"""Engines in processes of their own: one that hangs, one that is paused while another takes over, one that is told."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
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


def environment(desk: Desk) -> dict[str, str]:
    """That of a process that trades at the desk."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TRADING_", "DB_"))},
        "DB_DSN": desk.dsn,
        "TRADING_ENABLED": "true",
        "TRADING_KILL_SWITCH_ENABLED": "false",
        "TRADING_SIMULATOR_URL": desk.simulator.url,
        "TRADING_STRATEGY_CONFIG_PATH": str(desk.catalog),
        "TRADING_STRATEGY_CONFIG_MODE": "sync",
        "TRADING_STATIC_SYMBOLS": "AAPL",
    }


@contextmanager
def running(command: Sequence[str | Path], desk: Desk, folder: Path) -> Generator["subprocess.Popen[bytes]"]:
    """A process; it is gone afterwards, with whatever it has started."""
    process = subprocess.Popen(command, cwd=folder, env=environment(desk), start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


HOLDS = {"strategy_id": "hold", "strategy_type": "buy_and_hold", "universe_symbols": ["AAPL"]}
READY = {"status": "ready", "role": "leader", "reasons": []}


def test_serve_trades_shows_itself_and_ends_in_order(desk: Desk, tmp_path: Path) -> None:
    desk.write(HOLDS)
    port = free_port()
    program = Path(sys.executable).parent / "torghut-runtime"
    with running([program, "serve", "--port", str(port)], desk, tmp_path) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            until(lambda: readiness(client) == READY)
            health = client.get("/healthz").json()
            assert {"loop", "trading", "lease", "trade_updates", "market_data"} <= set(health["components"])
            # One bar to enter on; a limit at a price that the next, higher bar does not touch stays open.
            step(desk)
            until(lambda: len(desk.orders()) == 1)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    assert lease_is_over(desk)
    assert [order["status"] for order in desk.orders()] in (["canceled"], ["filled"])
    executions = {row.client_order_id: row.status for row in desk.rows("SELECT * FROM executions")}
    assert executions == {order["client_order_id"]: order["status"] for order in desk.orders()}


def test_a_reload_ends_the_engine_in_order_before_the_next_one_begins(desk: Desk, tmp_path: Path) -> None:
    desk.write(HOLDS)
    port = free_port()
    code = tmp_path / "code"
    code.mkdir()
    (code / "changed.py").write_text("VERSION = 1\n")
    served = [sys.executable, "-m", "uvicorn", "torghut_runtime.main:app", "--port", str(port)]
    with running([*served, "--reload", "--reload-dir", str(code)], desk, tmp_path) as process:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            until(lambda: readiness(client) == READY)
            step(desk)
            until(lambda: len(desk.orders()) == 1)
        first = leader(desk)
        assert (alive(first.pid), first.token) == (True, 1)
        (code / "changed.py").write_text("VERSION = 2\n")
        until(lambda: leader(desk).pid != first.pid)
        assert not alive(first.pid)
        assert leader(desk).token == 2
        # What was open is cancelled by the engine that opened it, and in its own books.
        assert [order["status"] for order in desk.orders()] in (["canceled"], ["filled"])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            until(lambda: readiness(client) == READY)
        second = leader(desk)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        assert not alive(second.pid)
    assert lease_is_over(desk)


@dataclass(frozen=True)
class Leader:
    """Who holds the lease, by its process."""

    pid: int
    token: int


def leader(desk: Desk) -> Leader:
    (row,) = desk.rows("SELECT holder, fencing_token FROM runtime_lease")
    return Leader(int(row.holder.split(":")[1]), row.fencing_token)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def lease_is_over(desk: Desk) -> bool:
    return [row.over for row in desk.rows("SELECT expires_at <= clock_timestamp() AS over FROM runtime_lease")] == [
        True
    ]


def readiness(client: httpx.Client) -> Any:
    """What the process says of itself; None before it answers."""
    try:
        return client.get("/readyz").json()
    except httpx.TransportError:
        return None
