"""A webhook that nobody answers, or whose name hangs, while an engine trades, halts, is killed by a flag, and ends."""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from alpaca_streams import until
from engine_world import minute_tape, settings_of
from feed_settings import feed_settings
from http_world import OPERATOR, PATIENT, TOKENS, bearer, serving
from live_engine import KEYS, REGISTRY, TRADES, Desk, Start, desks, entry
from requests import post
from stop_world import Flags

from torghut_runtime.api import webhook
from torghut_runtime.engine.engine import Engine, EngineOptions
from torghut_runtime.engine.flag_source import KILL_SWITCH
from torghut_runtime.main import create_app

__all__ = ["desks"]


def alive(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


def open_order(desk: Desk) -> None:
    """An order that stays open until somebody cancels it."""
    order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "limit", "limit_price": "1", "time_in_force": "day"}
    post(f"{desk.simulator.url}/v2/orders", json=order, headers=KEYS, timeout=60).raise_for_status()


Silence = Callable[[], Any]


@contextmanager
def silent_target() -> Generator[tuple[str, Callable[[], None]]]:
    """An address where calls are taken and not answered, and what waits for the first."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kept: list[socket.socket] = []

        def called() -> None:
            kept.append(silent.accept()[0])
            assert kept[0].recv(4_096).startswith(b"POST / ")

        yield f"http://127.0.0.1:{silent.getsockname()[1]}/", called
        for each in kept:
            each.close()


@contextmanager
def silent_name() -> Generator[tuple[str, Callable[[], None]]]:
    """An address whose name is looked up without end, and what waits for the look-up."""
    asked, over, look_up = threading.Event(), threading.Event(), socket.getaddrinfo

    def hanging(host: Any, *rest: Any, **how: Any) -> Any:
        if host not in ("hangs.test", b"hangs.test"):
            return look_up(host, *rest, **how)
        asked.set()
        over.wait()
        raise socket.gaierror("over")

    def called() -> None:
        assert asked.wait(60)

    with patch.object(socket, "getaddrinfo", hanging):
        yield "http://hangs.test/", called
        over.set()


@pytest.mark.parametrize("silence", [silent_target, silent_name])
def test_a_webhook_target_that_never_answers_delays_neither_trading_nor_a_stop_nor_the_end(
    silence: Silence, desks: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "DEADLINE_S", 3_600.0)  # whoever waited for an answer would wait for an hour
    desk = desks(minute_tape({"AAPL": [100] * 30}))
    desk.write(entry(enter_at=1, until=60, pyramid=True, qty=1))
    trading = settings_of(**{**TRADES, "SIMULATOR_URL": desk.simulator.url, "STRATEGY_CONFIG_PATH": str(desk.catalog)})
    flags = Flags(trading)
    with silence() as (url, called):
        settings = feed_settings(given_dsn=desk.dsn, operator_tokens=TOKENS, webhook_url=url)
        engine = Engine(settings, trading, EngineOptions(registry=REGISTRY, flags=flags))
        with serving(create_app(settings, engine, deadlines=PATIENT)) as client:
            desk.ready(engine)
            desk.step(engine, 2)
            halted = client.post("/trading/halt", json={"reason": "drill"}, headers=bearer(OPERATOR))
            assert halted.json()["state_after"] == "HALTED"
            called()
            body = {"reason": "go on", "ack": ["operator_halt"]}
            resumed = client.post("/trading/resume", json=body, headers=bearer(OPERATOR))
            assert resumed.json()["state_after"] == "ACTIVE"
            desk.step(engine, 2)
            assert len(desk.orders()) == 4
            open_order(desk)
            flags.answers[KILL_SWITCH] = True
            until(lambda: engine.status()["trading_state"]["state"] == "HALTED")
            until(lambda: desk.orders()[-1]["status"] == "canceled")
        assert alive("webhook")
        assert not alive("collector")
        assert engine.role == "standby"
        leases = desk.rows("SELECT expires_at <= clock_timestamp() AS over FROM runtime_lease")
        assert [row.over for row in leases] == [True]
