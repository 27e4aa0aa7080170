"""What a running engine tells of itself: metrics of its state, and what doctor makes of its status."""

import json
import re
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest
import requests
from alpaca_streams import until
from click.testing import CliRunner
from engine_world import settings_of
from feed_settings import feed_settings
from http_world import PATIENT, serving
from live_engine import REGISTRY, TRADES, Desk, desk, desks, entry
from shown_metrics import shown_metrics
from simulator_fixtures import control

from torghut_runtime.cli import cli
from torghut_runtime.doctor.findings import examine
from torghut_runtime.doctor.runtime import facts_of_documents
from torghut_runtime.engine.engine import Engine, EngineOptions
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.main import create_app

__all__ = ["desk", "desks"]


def shown(engine: Engine) -> dict[str, Any]:
    return shown_metrics(engine.metrics.registry)


def holding(values: dict[str, float]) -> list[str]:
    return [name for name, value in values.items() if value]


def blockers(engine: Engine) -> list[tuple[str, str | None]]:
    facts = facts_of_documents("engine", engine.status(), {"reasons": list(engine.unready_reasons)}, {})
    return [(line.check, line.code) for line in examine(facts) if line.verdict == "blocked"]


def test_state_account_queues_and_steps_are_metrics_of_a_running_engine(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    engine = desk.ready(desk.engine())
    desk.step(engine, 3)
    until(lambda: shown(engine)["decision_inputs_total"] == 3)
    found = shown(engine)
    assert holding(found["state"]) == ["ACTIVE"]
    assert holding(found["kill_switch"]) == []
    assert (found["leader"], found["reconciled"]) == (1, 1)
    account = engine.positions()["account"]
    assert found["equity"] == float(account["equity"]) > 0
    assert found["exposure"]["gross"] == float(account["gross_exposure"]) > 0
    assert found["day_pnl"] == float(account["day_pnl"])
    assert found["queue_depth"].keys() >= {"bars", "order_updates", "commands", "decision_inputs"}
    assert set(found["queue_dropped_total"].values()) == {0}
    assert found["component_restarts_total"].keys() >= {"lease", "market_data", "reconciler", "trading"}
    assert found["strategy_events_total"] == {"alpha": 3}
    assert found["bar_to_order_seconds"]["total"]["count"] == found["orders_submitted_total"] == 1


def test_a_halt_and_a_broken_catalog_are_seen(desk: Desk) -> None:
    desk.write(entry(enter_at=50))
    engine = desk.ready(desk.engine())
    assert blockers(engine) == []
    desk.catalog.write_text("strategies: [{name: x, nmae: y}]")
    until(lambda: shown(engine)["catalog_errors_total"] == 1)
    until(lambda: blockers(engine) == [("provenance", "catalog_error")])
    engine.operations.halt("ada", "try it")
    until(lambda: holding(shown(engine)["state"]) == ["HALTED"])
    assert holding(shown(engine)["kill_switch"]) == ["operator"]
    until(lambda: shown(engine)["cancel_all_seconds"]["count"] >= 1)
    until(lambda: ("state", "state_halted") in blockers(engine))
    assert ("kill_switch", "kill_switch_enabled") in blockers(engine)


def test_doctor_names_what_keeps_a_running_engine_from_entering(desk: Desk) -> None:
    desk.write(entry(enter_at=50))
    engine = desk.ready(desk.engine(ENABLED="false", MAX_NOTIONAL_PER_TRADE="0"))
    assert blockers(engine) == [("enabled", "trading_disabled"), ("limits", "max_notional_exceeded")]


@pytest.mark.parametrize(
    ("environment", "loss", "gross"),
    [({}, 3_000, None), ({"MAX_DAILY_LOSS": "500", "PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY": "0.5"}, 500, 50_000)],
)
def test_the_limits_in_effect_are_exported_and_shown(
    desk: Desk, environment: dict[str, str], loss: int, gross: int | None
) -> None:
    engine = desk.ready(desk.engine(None, ROLLBACK_MAX_DRAWDOWN_LIMIT="0.05", **environment))
    until(lambda: shown(engine)["daily_loss_limit"] == loss)
    told = shown(engine)
    assert (told["drawdown_limit"], told["open_orders_limit"]) == (0.05, 50)
    assert told.get("exposure_limit", {}) == ({} if gross is None else {"gross": gross})
    rooms = {cap["code"]: cap for cap in engine.status()["limits"]}
    assert Decimal(rooms["daily_loss_limit_reached"]["room"]) == loss


def scraped(client: httpx.Client, name: str) -> float:
    """A sample of ``/metrics``."""
    found = re.search(rf"^torghut_trading_{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_the_page_of_metrics_tells_what_held_the_event_loop_and_what_a_back_fill_brought(desk: Desk) -> None:
    desk.write(entry(enter_at=50))
    trading = settings_of(**{**TRADES, "SIMULATOR_URL": desk.simulator.url, "STRATEGY_CONFIG_PATH": str(desk.catalog)})
    settings, metrics = feed_settings(given_dsn=desk.dsn), TradingMetrics()
    engine = Engine(settings, trading, EngineOptions(registry=REGISTRY), metrics=metrics)
    app = create_app(settings, engine, metrics, deadlines=PATIENT)

    @app.get("/hold")
    async def hold() -> None:
        time.sleep(1.5)

    with serving(app) as client:
        desk.ready(engine)
        desk.step(engine)
        assert scraped(client, "backfilled_bars_total") == 0
        before = engine.status()["metrics"]["bars_taken"]
        control(desk.simulator, drop_bars=[{"symbol": "AAPL", "count": 2}])
        requests.post(f"{desk.simulator.url}/sim/step", json={"events": 3}, timeout=60).raise_for_status()
        until(lambda: engine.status()["metrics"]["bars_taken"] >= before + 3)
        desk.step(engine)
        until(lambda: scraped(client, "backfilled_bars_total") >= 2)
        until(lambda: scraped(client, "loop_lag_seconds_count") > 0)
        lag = scraped(client, "loop_lag_seconds_sum")
        client.get("/hold")
        until(lambda: scraped(client, "loop_lag_seconds_sum") >= lag + 1)


def test_the_command_asks_the_running_runtime_and_ends_with_3_once_something_blocks(desk: Desk) -> None:
    desk.write(entry(enter_at=50))
    trading = settings_of(**{**TRADES, "SIMULATOR_URL": desk.simulator.url, "STRATEGY_CONFIG_PATH": str(desk.catalog)})
    settings, metrics = feed_settings(given_dsn=desk.dsn), TradingMetrics()
    engine = Engine(settings, trading, EngineOptions(registry=REGISTRY), metrics=metrics)
    with serving(create_app(settings, engine, metrics, deadlines=PATIENT)) as client:
        desk.ready(engine)

        def asked() -> tuple[int, list[tuple[str, str]]]:
            done = CliRunner().invoke(cli, ["doctor", "--url", str(client.base_url), "--json"])
            answer = json.loads(done.stdout)
            assert (answer["runtime_answers"], answer["asked"]) == (True, str(client.base_url))
            blocked = [(line["check"], line["code"]) for line in answer["lines"] if line["verdict"] == "blocked"]
            return done.exit_code, blocked

        until(lambda: asked() == (0, []))
        desk.catalog.write_text("strategies: [{name: x, nmae: y}]")
        until(lambda: asked() == (3, [("provenance", "catalog_error")]))
