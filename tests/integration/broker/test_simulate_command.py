"""``torghut-runtime simulate`` as a process, and simulated time that passes by itself."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from alpaca.trading.client import TradingClient
from alpaca_streams import until
from simulated_days import OPEN, flat, minute_bars, tape_of
from simulator_fixtures import StartSimulator

from torghut_runtime.broker.simulator.instants import nanoseconds
from torghut_runtime.broker.simulator.server.app import ServerSettings
from torghut_runtime.broker.simulator.server.pacing import Pace
from torghut_runtime.cli import cli
from torghut_runtime.command_line import run

PROGRAM = Path(sys.executable).parent / "torghut-runtime"


@contextmanager
def process(*arguments: str) -> Generator[tuple[subprocess.Popen[str], dict[str, str]]]:
    with subprocess.Popen(
        [str(PROGRAM), "simulate", "--port", "0", *arguments], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            yield running, json.loads(running.stdout.readline())
        finally:
            running.kill()


def test_the_process_serves_an_account_and_ends_on_sigterm(tmp_path: Path) -> None:
    bars = tmp_path / "bars.csv"
    bars.write_text(
        "symbol,ts,open,high,low,close,volume\n"
        "AAPL,2026-01-05T14:30:00Z,10,11,9,10,1000\n"
        "AAPL,2026-01-05T14:31:00Z,10,11,9,10.5,1000\n"
    )
    with process("--bars", str(bars), "--lockstep", "--key", "mine", "--secret", "hidden", "--cash", "5000") as (
        running,
        told,
    ):
        client = TradingClient("mine", "hidden", url_override=told["listening"])
        account = cast("Any", client.get_account())
        assert (account.account_number, account.cash) == (told["account_number"], "5000")
        assert told["account_number"].startswith("SIM")
        step = requests.post(f"{told['listening']}/sim/step", json={"events": 9}, timeout=60).json()
        assert step == {"now": "2026-01-05T21:00:00Z", "delivered": 2, "done": True}
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) in {0, -signal.SIGTERM}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speed", "fast"], "--speed"),
        (["--speed", "0"], "--speed"),
        (["--symbols", " , "], "--symbols"),
        (["--key", "only"], "--key"),
        (["--start", "now"], "--start"),
        (["--start", "2030-01-01"], "--start"),
        (["--bars", "missing.csv"], "missing.csv"),
        (["--timeframe", "2Min"], "timeframe"),
    ],
)
def test_bad_usage_ends_with_2_and_names_the_option(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert run(cli, "torghut-runtime", ["simulate", "--port", "0", *arguments]) == 2
    told = capsys.readouterr()
    assert (told.out, message in told.err) == ("", True)


def test_a_taken_port_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(cli, "torghut-runtime", ["simulate", "--port", str(port)]) == 2
    assert f"127.0.0.1:{port} cannot be listened on" in capsys.readouterr().err


def test_at_full_speed_the_day_runs_to_its_end(start_simulator: StartSimulator) -> None:
    simulator = start_simulator(tape_of(*minute_bars(flat(10, 390))), server=ServerSettings(pace=Pace(speed=None)))
    until(lambda: requests.get(f"{simulator.url}/sim/status", timeout=10).json()["done"])
    refused = requests.post(f"{simulator.url}/sim/step", json={}, timeout=10)
    assert refused.status_code == 409


def test_at_a_multiple_of_real_time_the_clock_goes_on_and_bars_come(start_simulator: StartSimulator) -> None:
    simulator = start_simulator(tape_of(*minute_bars(flat(10, 390))), server=ServerSettings(pace=Pace(speed=600)))
    client = TradingClient("k", "s", url_override=simulator.url)
    first = cast("Any", client.get_clock()).timestamp
    assert nanoseconds(first) >= OPEN

    def later() -> bool:
        now: datetime = cast("Any", client.get_clock()).timestamp
        return now > first and simulator.call(lambda broker: broker.market.last_bar("AAPL")) is not None

    until(later)
    status = requests.get(f"{simulator.url}/sim/status", timeout=10).json()
    assert (status["pace"], status["timeframe"], status["symbols"]) == ("600", "1Min", ["AAPL"])
