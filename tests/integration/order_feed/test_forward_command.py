"""``torghut-runtime forward`` as a process, and the gap that only a back-fill by id can close."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from alpaca_streams import await_listening, until
from simulated_days import MINUTE, OPEN, flat, minute_bars, tape_of
from simulator_fixtures import StartSimulator, control

from torghut_runtime.broker.simulator.engine import BrokerSettings
from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.order_feed.forwarding import forwarding, stream_url
from torghut_runtime.order_feed.launchers.launcher import free_port
from torghut_runtime.order_feed.outbox import Outbox
from torghut_runtime.settings import Settings, load_settings
from torghut_runtime.trading_settings import TradingSettings, load_trading_settings

DAY = 24 * 60 * MINUTE
PROGRAM = Path(sys.executable).parent / "torghut-runtime"


def environment(simulator: RunningSimulator | None, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
        "APCA_API_KEY_ID": "key",
        "APCA_API_SECRET_KEY": "very-secret",
        "TRADING_SIMULATOR_URL": "http://127.0.0.1:9" if simulator is None else simulator.url,
        "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS": "127.0.0.1:9",  # nobody is there: what is stored stays
        **more,
    }


def forward(outbox: Path, variables: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [str(PROGRAM), "forward", "--outbox-dir", str(outbox), *arguments]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_process_records_serves_metrics_and_ends_on_sigterm(
    tmp_path: Path, start_simulator: StartSimulator
) -> None:
    simulator = start_simulator(tape_of(*minute_bars(flat(10, 5))))
    port = free_port()
    running = forward(tmp_path, environment(simulator), "--metrics-port", str(port), "--account-label", "mine")
    try:
        await_listening(simulator, "trading")
        order = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
        simulator.call(lambda broker: broker.submit(order))

        def metrics() -> str:
            return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text

        until(lambda: 'torghut_forwarder_events_total{source="ws"} 2.0' in metrics())
        assert "torghut_forwarder_connected 1.0" in metrics()
        assert re.search(r"^torghut_forwarder_outbox_rows [1-9]", metrics(), re.MULTILINE)
        second = forward(tmp_path, environment(simulator), "--metrics-port", "0")
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 2
        assert "in use by another process" in errors
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 0
        assert "very-secret" not in errors
    finally:
        running.kill()
        running.wait()
    outbox = Outbox(tmp_path)
    rows = [json.loads(row.value) for row in outbox.pending(0, 10)]
    outbox.close()
    assert {row["accountLabel"] for row in rows} == {"mine"}
    # A back-fill that is still being read may have seen the order, too.
    assert [row["payload"]["event"] for row in rows if row["source"] == "ws"] == ["pending_new", "new"]


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("TRADING_ORDER_FEED_BOOTSTRAP_SERVERS", "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS"),
        ("APCA_API_SECRET_KEY", "APCA_API_SECRET_KEY"),
    ],
)
def test_a_missing_setting_ends_with_2_and_is_named(tmp_path: Path, missing: str, named: str) -> None:
    variables = environment(None)
    del variables[missing]
    running = forward(tmp_path, variables)
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, named in errors) == (2, True)


@pytest.mark.parametrize(
    ("url", "stream"),
    [
        ("http://127.0.0.1:8282", "ws://127.0.0.1:8282/stream"),
        ("https://paper-api.alpaca.markets/v2/", "wss://paper-api.alpaca.markets/stream"),
    ],
)
def test_the_stream_belongs_to_the_rest_address(url: str, stream: str) -> None:
    assert stream_url(url) == stream


@contextmanager
def settings_for(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> Generator[tuple[Settings, TradingSettings]]:
    with monkeypatch.context() as patch:
        for name, value in environment(simulator).items():
            patch.setenv(name, value)
        yield load_settings(), load_trading_settings()


def test_ten_minutes_of_gap_with_fills_on_an_order_of_forty_days_ago_are_filled_before_live_frames(
    tmp_path: Path, start_simulator: StartSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = OPEN + 43 * DAY - 60 * MINUTE  # a Tuesday in February, the bell is at the same hour
    bars = [*minute_bars(flat(10, 3)), *minute_bars([*flat(10, 2), *flat(5, 20, 50)], start=later + 60 * MINUTE)]
    simulator = start_simulator(tape_of(*bars), BrokerSettings(cash=Decimal(10**6)))
    old = {"symbol": "AAPL", "qty": "20", "side": "buy", "type": "limit", "limit_price": "6", "time_in_force": "gtc"}
    with (
        settings_for(simulator, monkeypatch) as settings,
        forwarding(*settings, outbox_dir=tmp_path, longest_pause=0.1) as running,
    ):
        until(lambda: running.forwarder.readiness().ready)
        order_id = simulator.call(lambda broker: broker.submit(old))["id"]
        until(lambda: running.outbox.open_orders == [order_id])
        # Forty days later: an event of another order moves the watermark away from the old one.
        simulator.call(lambda broker: broker.advance_to(later + 61 * MINUTE))
        other = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"}
        simulator.call(lambda broker: broker.submit(other))
        simulator.call(lambda broker: broker.step(1))
        until(lambda: (running.outbox.watermark_ns or 0) > later)
        control(simulator, disconnect=[{"stream": "trading", "seconds": 590}])
        simulator.call(lambda broker: broker.step(9))
        until(lambda: not running.forwarder.readiness().ready)
        filled = simulator.call(lambda broker: broker.desk.existing(order_id).filled_qty)
        assert Decimal(0) < filled
        simulator.call(lambda broker: broker.step(2))
        until(lambda: running.forwarder.readiness().ready)
        last = simulator.call(lambda broker: broker.submit(other))["id"]
        until(lambda: sum(last in key for key in keys(running.outbox)) == 2)
        rows = [json.loads(row.value) for row in running.outbox.pending(0, 1000)]
    of_old = [row for row in rows if row["payload"]["order"]["id"] == order_id]
    told = [(row["source"], row["payload"]["event"]) for row in of_old]
    assert ("rest", "order_snapshot") in told
    activities = [row["payload"] for row in of_old if row["payload"]["event"] == "activity_fill"]
    fills = simulator.call(lambda broker: list(broker.desk.existing(order_id).fills))
    assert {Decimal(each["order"]["filled_qty"]) for each in activities} >= {fill.cum_qty for fill in fills[:-2]}
    live_after = [row["source"] for row in rows if row["payload"]["order"]["id"] == last]
    assert live_after == ["ws", "ws"]
    first_live = next(index for index, row in enumerate(rows) if row["payload"]["order"]["id"] == last)
    assert all(row["source"] == "rest" for row in rows[first_live - len(activities) : first_live])


def keys(outbox: Outbox) -> list[str]:
    return [row.key.decode() for row in outbox.pending(0, 1000)]


def test_the_outbox_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_FORWARDER_OUTBOX_MAX_BYTES", "1000")
    with pytest.raises(Exception, match="TRADING_FORWARDER_OUTBOX_MAX_BYTES"):
        load_settings()
