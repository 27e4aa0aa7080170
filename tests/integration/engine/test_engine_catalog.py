"""The catalog of a running engine: other strategies between two bars, exits of disabled ones, files with typos."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from alpaca_streams import until
from engine_world import minute_tape
from live_engine import REGISTRY, Desk, Start, desk, desks, entry, held

from torghut_runtime.engine.engine import Engine, EngineOptions

__all__ = ["desk", "desks"]


def reloaded(engine: Engine, before: str | None) -> None:
    until(lambda: engine.status()["catalog"]["digest"] != before)


def digest(engine: Engine) -> str | None:
    return engine.status()["catalog"]["digest"]


def refusals(desk: Desk) -> set[tuple[str, ...]]:
    columns = "decision_json->'risk_reasons' AS reasons"
    rows = desk.rows(f"SELECT {columns} FROM trade_decisions WHERE status = 'rejected'")
    return {tuple(row.reasons) for row in rows}


def test_a_strategy_that_joins_is_warmed_up_and_trades_while_the_others_go_on(desks: Start) -> None:
    desk = desks(minute_tape({"AAPL": [100] * 30, "MSFT": [200] * 30}))
    desk.write(entry("one", enter_at=6))
    engine = desk.ready(desk.engine())
    desk.step(engine, 3, symbols=2, heard=1)
    before = digest(engine)
    desk.write(entry("one", enter_at=6), entry("two", universe_symbols=["MSFT"], enter_at=2))
    reloaded(engine, before)
    desk.ready(engine)
    until(lambda: engine.dependencies()["market_data"].detail == "connected")
    desk.step(engine, 4, symbols=2)
    assert held(engine) == desk.held() == {"AAPL": Decimal(10), "MSFT": Decimal(10)}
    entered = desk.rows("SELECT strategy_id FROM trade_decisions ORDER BY bar_ts, strategy_id")
    assert {row.strategy_id for row in entered} == {"one", "two"}
    assert {row.strategy_id: row.enabled for row in desk.rows("SELECT * FROM strategies")} == {"one": True, "two": True}


def test_a_disabled_strategy_with_a_position_makes_exits_only(desk: Desk) -> None:
    desk.write(entry(enter_at=1, until=60, pyramid=True, exit_at=7))
    engine = desk.ready(desk.engine())
    desk.step(engine, 2)
    assert held(engine) != {}
    before = digest(engine)
    desk.write(entry(enter_at=1, until=60, pyramid=True, exit_at=7, enabled=False))
    reloaded(engine, before)
    orders = len(desk.orders())
    desk.step(engine, 2)
    refused = desk.rows(
        "SELECT decision_json->'risk_reasons' AS reasons FROM trade_decisions WHERE status = 'rejected'"
    )
    assert {tuple(row.reasons) for row in refused} == {("strategy_disabled",)}
    assert len(desk.orders()) == orders
    desk.step(engine, 5)
    assert held(engine) == desk.held() == {}
    assert [row.enabled for row in desk.rows("SELECT enabled FROM strategies")] == [False]


def test_a_removed_strategy_is_disabled_by_sync_and_kept_by_merge(desk: Desk) -> None:
    desk.write(entry("one"), entry("two"))
    engine = desk.ready(desk.engine(STRATEGY_CONFIG_MODE="sync"))
    before = digest(engine)
    desk.write(entry("two"))
    reloaded(engine, before)
    shown = {each["strategy_id"]: each["enabled"] for each in engine.status()["catalog"]["strategies"]}
    assert shown == {"one": False, "two": True}
    engine.stop()
    again = desk.ready(desk.engine())
    shown = {each["strategy_id"]: each["enabled"] for each in again.status()["catalog"]["strategies"]}
    assert shown == {"one": False, "two": True}


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda text: text.replace("universe_symbols", "universe_symbol"), "did you mean universe_symbols"),
        (lambda text: text + text, "name"),
        (lambda text: text + text.replace("- ", "- name: other\n  ", 1), "strategy_id"),
        (lambda text: text.replace("params:", "xyzzy: 1\n  params:"), "unknown key"),
    ],
    ids=["typo", "duplicate-name", "duplicate-id", "unknown-key"],
)
def test_a_file_with_a_fault_changes_nothing_but_the_error_that_is_shown(
    desk: Desk, write: Callable[[str], str], told: str
) -> None:
    desk.write(entry(enter_at=3))
    engine = desk.ready(desk.engine())
    before = engine.status()["catalog"]
    desk.catalog.write_text(write(desk.catalog.read_text()))
    until(lambda: engine.status()["catalog"]["error"] is not None)
    assert told in engine.status()["catalog"]["error"]
    assert engine.status()["catalog"]["digest"] == before["digest"]
    desk.step(engine, 4)
    assert held(engine) == {"AAPL": Decimal(10)}


def test_a_typo_in_params_disables_that_strategy_with_its_reason(desk: Desk) -> None:
    desk.write(entry("one", enter_att=3), entry("two", enter_at=2))
    engine = desk.ready(desk.engine())
    desk.step(engine, 3)
    errors = {row.strategy_id: row.error for row in desk.rows("SELECT strategy_id, error FROM strategies")}
    assert errors["two"] is None
    assert "invalid_params" in errors["one"]
    assert held(engine) == {"AAPL": Decimal(10)}


def test_changed_parameters_begin_anew_and_positions_stay(desk: Desk) -> None:
    desk.write(entry(enter_at=1))
    engine = desk.ready(desk.engine())
    desk.step(engine, 3)
    before = digest(engine)
    desk.write(entry(enter_at=50, exit_at=2))
    reloaded(engine, before)
    assert held(engine) == {"AAPL": Decimal(10)}
    desk.step(engine, 3)
    assert held(engine) == desk.held() == {}


def test_reasons_of_provenance_stand_against_entries_only(desk: Desk) -> None:
    refused: list[str] = []
    options = EngineOptions(registry=REGISTRY, provenance=lambda _: list(refused))
    desk.write(entry(enter_at=1, until=60, pyramid=True, exit_at=8))
    engine = desk.ready(desk.engine(options))
    desk.step(engine, 2)
    assert held(engine) != {}
    refused.append("provenance_ledger_broken")
    before = digest(engine)
    desk.write(entry(enter_at=1, until=60, pyramid=True, exit_at=8, description="as before"))
    reloaded(engine, before)
    desk.step(engine, 8)
    assert held(engine) == desk.held() == {}
    decisions = desk.rows(
        "SELECT decision_json->'risk_reasons' AS reasons FROM trade_decisions WHERE status='rejected'"
    )
    assert {tuple(row.reasons) for row in decisions} == {("provenance_ledger_broken",)}
