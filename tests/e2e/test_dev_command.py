"""`torghut dev` from the outside: what it leaves behind, and whose database it leaves alone."""

import os
import signal
import socket
from decimal import Decimal
from pathlib import Path

import httpx
import psycopg
import pytest
from dagster_dev import DevServer, alive, wait_for, write_candidates
from postgres import TEMPLATE, new_database, open_folder

from torghut_runtime.storage.embedded import embedded_conninfo

pytestmark = [pytest.mark.full, pytest.mark.e2e]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_given_database_is_used_and_left_alone_and_no_process_remains(tmp_path: Path, postgres_port: int) -> None:
    project = write_candidates(tmp_path / "project")
    with new_database(postgres_port, TEMPLATE) as dsn, new_database(postgres_port, "template1") as dagster_dsn:
        server = DevServer(
            project,
            tmp_path / "home",
            {"DB_DSN": dsn, "TORGHUT_DAGSTER_PG_URL": dagster_dsn.replace("+psycopg", "+psycopg2")},
        )
        try:
            server.wait_until_ready()
            wait_for(lambda: "promoted" in server.partitions(), 120)
            started = server.descendants()
            assert not listens(server.postgres_port)
            assert server.stop(signal.SIGTERM) == 0
        finally:
            server.kill()
        assert len(started) > 3
        assert alive(started) == []
        assert not listens(server.port)
        assert not (tmp_path / "home" / "postgres").exists()
        with psycopg.connect(dsn.replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert server.lines[-1] == "torghut    | stopped\n"


def test_the_embedded_database_goes_with_the_command_when_its_terminal_closes(tmp_path: Path) -> None:
    with open_folder() as home:
        server = DevServer(write_candidates(tmp_path / "project"), home)
        try:
            wait_for(lambda: any("starting Dagster" in line for line in server.lines), 120)
            psycopg.connect(embedded_conninfo(server.postgres_port)).close()
            assert server.stop(signal.SIGHUP) == 0
        finally:
            server.kill()
        assert not listens(server.postgres_port)
        assert server.lines[-1] == "torghut    | stopped\n"


CATALOG = """
strategies:
  - strategy_id: holds
    strategy_type: buy_and_hold
    base_timeframe: 1Min
    universe_symbols: [AAPL, MSFT]
    params: {qty: 3}
"""


def test_the_whole_platform_comes_up_trades_on_the_simulator_and_goes(tmp_path: Path) -> None:
    project = write_candidates(tmp_path / "project")
    catalog = tmp_path / "strategies.yaml"
    catalog.write_text(CATALOG)
    with open_folder() as home:
        server = DevServer(
            project,
            home,
            {"TRADING_STRATEGY_CONFIG_PATH": str(catalog), "TRADING_MODE": "live", "TRADING_LIVE_ENABLED": "true"},
            trading=("--speed", "30"),
        )
        runtime = httpx.Client(base_url=f"http://127.0.0.1:{server.runtime_port}", timeout=10)
        try:
            server.wait_until_ready()
            status = runtime.get("/trading/status").json()
            assert (status["mode"], status["adapter"], status["enabled"]) == ("paper", "simulator", True)

            def filled() -> dict[str, Decimal]:
                items = runtime.get("/trading/executions").json()["items"]
                return {item["symbol"]: Decimal(item["filled_qty"]) for item in items if item["status"] == "filled"}

            wait_for(lambda: filled().keys() >= {"AAPL", "MSFT"}, 120)
            assert {filled()["AAPL"], filled()["MSFT"]} == {Decimal(3)}
            started = server.descendants()
            names = ("postgres", "broker", "simulator", "runtime", "dagster")
            assert [name for name in names if not any(f"|   {name} " in line for line in server.lines)] == []
            assert server.stop(signal.SIGINT) == 0
        finally:
            runtime.close()
            server.kill()
        assert alive(started) == []
        for port in (server.port, server.runtime_port, server.simulator_port, server.postgres_port):
            assert not listens(port)
        assert server.lines[-1] == "torghut    | stopped\n"
        assert not any("Traceback" in line for line in server.lines)


def test_a_part_that_dies_is_named_and_the_others_are_stopped(tmp_path: Path) -> None:
    with open_folder() as home:
        server = DevServer(write_candidates(tmp_path / "project"), home, trading=())
        try:
            wait_for(lambda: any("(runtime)" in line for line in server.lines), 120)
            started = server.descendants()
            os.kill(server.process_of("serve --port"), signal.SIGKILL)
            assert server.wait() == 1
        finally:
            server.kill()
        assert alive(started) == []
        assert server.lines[-1] == "torghut    | the runtime ended by itself with -9; its last lines say why\n"
