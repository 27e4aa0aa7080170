"""Bars through the engine and the simulator: what is ordered, refused, re-priced, queued, and written."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from engine_world import FRIDAY, MONDAY, daily_tape, minute_tape, replay, timed
from simulation_frames import FREE

from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation import Window, prepare_market, simulate
from torghut_runtime.broker.simulator.instants import moment_of
from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape
from torghut_runtime.cli import cli
from torghut_runtime.engine.replay import Replayed, market_bar
from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.signals import signals_from_bars
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve

SYMBOLS = ["AAPL", "GOOG", "MSFT", "SPY"]
MARKET_ORDERS = {"EXECUTION_PREFER_LIMIT": "false"}


def reasons(done: Replayed) -> list[list[str]]:
    return [decision["reasons"] for decision in done.decisions]


def orders(done: Replayed, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(order[field] for field in fields) for order in done.orders]


def test_an_entry_and_its_exit_are_two_orders_with_fills() -> None:
    done = replay(minute_tape({"AAPL": [100, 100, 101, 102, 103]}), timed(exit_at=3)).run()
    assert orders(done, "side", "order_type", "qty", "limit_price", "state", "is_exit") == [
        ("buy", "limit", 10, Decimal("100.00"), "filled", False),
        ("sell", "market", 10, None, "filled", True),
    ]
    assert [(fill["side"], fill["qty"]) for fill in done.fills] == [("buy", 10), ("sell", 10)]
    assert done.cash == done.equity
    assert [decision["status"] for decision in done.decisions] == ["filled", "filled"]


def test_a_limit_that_nobody_meets_is_cancelled_after_twice_its_time() -> None:
    done = replay(minute_tape({"AAPL": [100, 105, 105, 105]}), timed()).run()
    assert orders(done, "state", "filled_qty") == [("canceled", 0)]
    (order,) = done.orders
    assert (order["terminal_at"] - order["submitted_at"]).total_seconds() == pytest.approx(60, abs=0.01)


def test_a_limit_is_repriced_once_to_the_new_touch() -> None:
    done = replay(minute_tape({"AAPL": [100, 105, 105, 105, 105]}), timed(), EXECUTION_ORDER_TTL_SECONDS="90").run()
    first, second = done.orders
    assert (first["state"], second["state"]) == ("replaced", "filled")
    assert (first["limit_price"], second["limit_price"]) == (Decimal("100.00"), Decimal("105.00"))
    assert (first["intent_seq"], second["intent_seq"]) == (0, 1)
    assert second["replaces"] == first["alpaca_order_id"]
    assert first["decision_hash"] == second["decision_hash"]
    assert sum(fill["qty"] for fill in done.fills) == 10


def test_an_entry_against_an_open_exit_waits_for_its_end() -> None:
    world = replay(
        minute_tape({"AAPL": [(100, 100, 100, 100), (100, 100, 100, 100), 100, 104, 104, 104]}),
        timed("held", exit_at=4),
        timed("late", enter_at=4),
        EXECUTION_ORDER_TTL_SECONDS="40",
    )
    done = world.run()
    (left,) = [order for order in done.orders if order["is_exit"]]
    (late,) = [order for order in done.orders if order["strategy_id"] == "late"]
    assert (left["state"], late["state"]) == ("filled", "filled")
    assert left["terminal_at"] <= late["submitted_at"]
    assert [d["reasons"] for d in done.decisions if d["strategy_id"] == "late"] == [[]]


def test_an_entry_waits_for_an_exit_no_longer_than_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = minute_tape({"AAPL": [100, 100, 100, 104, 104, 104, 104]})
    world = replay(tape, timed("held", exit_at=4), timed("late", enter_at=4, until=5))
    hear = world.trader.on_order_event
    monkeypatch.setattr(world.trader, "on_order_event", lambda frame: None if b'"sell"' in frame else hear(frame))
    done = world.run()
    late = [d["reasons"] for d in done.decisions if d["strategy_id"] == "late"]
    assert late == [["precheck_opposite_side_open_order"]] * 2
    assert [order["strategy_id"] for order in done.orders] == ["held", "held"]


def test_a_decision_on_fridays_close_is_one_opening_order_for_monday() -> None:
    done = replay(daily_tape({"AAPL": [100, 101, 102]}, first=FRIDAY), timed(timeframe="1Day", until=1)).run()
    assert orders(done, "time_in_force", "state", "limit_price") == [("opg", "filled", Decimal("102.00"))]
    (order,), (fill,) = done.orders, done.fills
    assert order["sent_at"] == datetime(2026, 1, 12, 14, 15, tzinfo=UTC)
    assert fill["filled_at"].replace(microsecond=0) == datetime(2026, 1, 12, 14, 30, tzinfo=UTC)
    assert fill["price"] == 101


def test_an_intraday_decision_after_the_close_is_refused_and_an_exit_waits_for_the_open() -> None:
    last = minute_tape({"AAPL": [100, 100, 100], "MSFT": [50, 50, 50]}, first_minute=387)
    tomorrow = minute_tape({"AAPL": [101, 101]}, day=date(2026, 1, 6))
    tape = Tape((*last.bars, *tomorrow.bars), "1Min")
    strategies = (timed("out", exit_at=3, symbols=["AAPL"]), timed("in", enter_at=3, symbols=["MSFT"]))
    done = replay(tape, *strategies).run()
    assert [d["reasons"] for d in done.decisions if d["strategy_id"] == "in"] == [["market_closed"]]
    assert [(o["time_in_force"], o["state"]) for o in done.orders if o["is_exit"]] == [("opg", "filled")]


@pytest.mark.parametrize(
    ("environment", "params", "expected"),
    [
        ({"COOLDOWN_SECONDS": "60"}, {"until": 2}, [[], []]),
        ({"COOLDOWN_SECONDS": "61"}, {"until": 2}, [[], ["cooldown_active"]]),
        ({"MAX_NOTIONAL_PER_TRADE": "0"}, {}, [["max_notional_exceeded"]]),
        ({"MAX_OPEN_ORDERS": "0"}, {}, [["max_open_orders_exceeded"]]),
        ({"MAX_ORDERS_PER_MINUTE": "0"}, {}, [["order_rate_exceeded"]]),
        ({"MAX_PARTICIPATION_RATE": "0.1"}, {}, [["adv_unavailable"]]),
        ({"MIN_NOTIONAL_PER_TRADE": "1001"}, {}, [["min_notional_not_met"]]),
        ({}, {"short": True}, [["shorts_not_allowed"]]),
        ({"ALLOW_SHORTS": "true"}, {"short": True}, [[]]),
        ({"PORTFOLIO_MAX_POSITIONS": "0"}, {}, [["max_positions_exceeded"]]),
        ({"PORTFOLIO_MAX_GROSS_EXPOSURE": "50"}, {}, [["gross_exposure_exceeded"]]),
        ({"PORTFOLIO_MAX_NET_EXPOSURE": "50"}, {}, [["net_exposure_exceeded"]]),
        ({"PORTFOLIO_MAX_NOTIONAL_PER_SYMBOL": "50"}, {}, [["symbol_notional_exceeded"]]),
        ({"BAR_MAX_AGE_SECONDS": "0"}, {}, [[]]),
        (
            {"MAX_OPEN_ORDERS": "0", "MAX_PARTICIPATION_RATE": "0.1", "MIN_NOTIONAL_PER_TRADE": "1001"},
            {},
            [["min_notional_not_met", "adv_unavailable", "max_open_orders_exceeded"]],
        ),
    ],
)
def test_an_entry_is_refused_by_the_cap_of_the_environment(
    environment: dict[str, str], params: dict[str, Any], expected: list[list[str]]
) -> None:
    done = replay(minute_tape({"AAPL": [100] * 4}), timed(pyramid=True, **params), **environment).run()
    assert reasons(done) == expected


def test_five_signals_before_any_fill_never_pass_the_strategys_cap() -> None:
    unmet: list[Any] = [100, *[(200, 200, 200, 100)] * 5]
    strategy = timed(until=5, pyramid=True, qty=None, cap=1_000.0)
    done = replay(minute_tape({"AAPL": unmet}), strategy, EXECUTION_ORDER_TTL_SECONDS="600").run()
    assert orders(done, "qty", "state") == [(10, "expired")]
    assert reasons(done)[1:] == [["max_notional_exceeded"]] * 4


def test_opposite_entries_of_two_strategies_are_netted() -> None:
    done = replay(
        minute_tape({"AAPL": [100] * 3}), timed("a"), timed("b", short=True, qty=3.0), ALLOW_SHORTS="true"
    ).run()
    assert orders(done, "strategy_id", "side", "qty") == [("a", "buy", 7)]
    assert reasons(done) == [[], ["intent_conflict_resolved"]]


def test_a_daily_loss_latches_refuses_entries_and_lets_the_exit_go() -> None:
    prices = [100, 100, 90, 90, 90, 90]
    strategies = (timed("old", qty=900.0, exit_at=5), timed("new", enter_at=4))
    done = replay(minute_tape({"AAPL": prices}), *strategies).run()
    assert done.state == "REDUCING"
    assert [code.partition(":")[0] for code in done.reasons] == ["daily_loss_limit_reached", "max_drawdown_exceeded"]
    refused = [decision for decision in done.decisions if decision["strategy_id"] == "new"]
    assert refused[0]["reasons"] == ["state_reducing", "daily_loss_limit_reached", "max_drawdown_exceeded"]
    assert [order["state"] for order in done.orders] == ["filled", "filled"]


def test_on_entering_reducing_open_entries_are_cancelled() -> None:
    prices: list[Any] = [100, 100, (100, 100, 90, 90), 95, 95]
    strategies = (timed("old", qty=900.0, symbols=["AAPL"]), timed("waiting", enter_at=2, symbols=["MSFT"]))
    tape = minute_tape({"AAPL": prices, "MSFT": [50, 50, 60, 60, 60]})
    done = replay(tape, *strategies, EXECUTION_ORDER_TTL_SECONDS="3600").run()
    assert [o["state"] for o in done.orders if o["strategy_id"] == "waiting"] == ["canceled"]


def test_a_halt_withdraws_what_is_queued() -> None:
    world = replay(daily_tape({"AAPL": [100, 100]}), timed(timeframe="1Day"))
    original = world.trader.dispatcher.entry

    def entry_then_halt(*arguments: Any, **keywords: Any) -> None:
        original(*arguments, **keywords)
        world.stance.latch("operator_halt", datetime(2026, 1, 5, 21, tzinfo=UTC))

    world.trader.dispatcher.entry = entry_then_halt
    done = world.run()
    assert orders(done, "state", "reason") == [("canceled", "state_halted")]
    assert done.fills == []


def test_a_strategy_that_fails_in_a_row_enters_nothing_until_its_cooldown_is_over() -> None:
    done = replay(
        minute_tape({"AAPL": [100] * 6}),
        timed(enter_at=2, until=4, invalid_at=1, pyramid=True),
        STRATEGY_RUNTIME_CIRCUIT_ERRORS="1",
        STRATEGY_RUNTIME_CIRCUIT_COOLDOWN_SECONDS="120",
    ).run()
    assert reasons(done) == [["strategy_degraded"], [], []]


def test_the_same_bar_again_decides_nothing_more() -> None:
    tape = minute_tape({"AAPL": [100, 100, 100]})
    world = replay(tape, timed(until=9, pyramid=True))
    done = world.run()
    before = (len(world.journal.decisions), len(world.journal.intents))
    world.trader.on_bars([market_bar(bar, "1Min", MONDAY) for bar in tape.bars[-1:]])
    assert (len(world.journal.decisions), len(world.journal.intents)) == before
    assert len(done.decisions) == 3


def test_equal_input_gives_equal_records_and_another_seed_other_ids_only() -> None:
    tape = minute_tape({"AAPL": [100, 101, 102, 103], "MSFT": [50, 49, 48, 47]})

    def run(seed: int) -> Replayed:
        return replay(tape, timed(until=3, exit_at=4, pyramid=True), seed=seed).run()

    assert run(1) == run(1)
    one, two = run(1), run(2)
    assert one.decisions == two.decisions
    assert one.fills != two.fills
    assert [fill["price"] for fill in one.fills] == [fill["price"] for fill in two.fills]


# The backtest and the engine -----------------------------------------------------------------------------------------


def bound(**entry: Any) -> BoundStrategy:
    return resolve(StrategyEntry.model_validate(entry), None)


def table(tape: Tape) -> pl.DataFrame:
    rows = [
        {
            "symbol": bar.symbol, "ts": moment_of(bar.opens_at), "open": bar.open, "high": bar.high, "low": bar.low,
            "close": bar.close, "volume": bar.volume,
        }
        for bar in tape.bars
    ]  # fmt: skip
    return pl.DataFrame(rows).with_columns(pl.col("ts").dt.cast_time_unit("us"))


def backtest(tape: Tape, strategies: Sequence[BoundStrategy]) -> list[tuple[Any, ...]]:
    market = prepare_market(signals_from_bars(bars_from_frame(table(tape), tape.timeframe)).frame)
    rules = ResearchSettings(costs=FREE, max_participation_rate=0.1)
    window = Window(market.sessions[0], market.sessions[-1])
    found = simulate(market, strategies, rules, window, 100_000.0, 0, close_out=False).decisions
    return list(found.select("strategy_id", "symbol", "decided_at", "signal", "target_qty", "reason").iter_rows())


def engine(done: Replayed) -> list[tuple[Any, ...]]:
    return [
        (
            decision["strategy_id"], decision["symbol"], decision["decided_at"], decision["decision"]["signal"],
            float(decision["decision"]["target_qty"]),
            decision["reasons"][0] if decision["reasons"] else decision["rationale"],
        )
        for decision in done.decisions
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_daily_decisions_are_those_of_the_backtest_under_equal_limits(seed: int) -> None:
    tape = synthetic_tape(SYMBOLS, seed=seed, first=date(2026, 1, 5), sessions=120, timeframe="1Day")
    params = {"lookback_bars": 12, "skip_bars": 2, "vol_halflife": 3, "rebalance_bars": 2, "target_vol": 0.4}
    strategies = [
        bound(
            strategy_id="momentum", strategy_type="daily_momentum", base_timeframe="1Day", params=params,
            max_notional_per_trade=20_000.0, symbols=["AAPL", "SPY"],
        ),
        bound(
            strategy_id="hold", strategy_type="buy_and_hold", base_timeframe="1Day",
            params={"exits": {"take_profit_pct": 0.03}}, max_position_pct_equity=0.2,
            symbols=["GOOG", "MSFT"],
        ),
    ]  # fmt: skip
    gross = {"PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY": "1.0", "MAX_DAILY_LOSS_PCT_EQUITY": "1"}
    rates = {"ROLLBACK_MAX_DRAWDOWN_LIMIT": "0.99", **MARKET_ORDERS}
    done = replay(tape, *strategies, **gross, **rates).run()
    expected = backtest(tape, strategies)
    assert len(expected) > 20
    assert engine(done) == expected


def test_intraday_decisions_are_those_of_the_backtest_until_the_session_closes() -> None:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=4, first=date(2026, 1, 5), sessions=1)
    params = {"buy_rsi_threshold": 60, "sell_rsi_threshold": 45, "qty": 20.0}
    strategies = [bound(strategy_id="macd", strategy_type="legacy_macd_rsi", params=params)]
    wide = {"PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY": "1.0", "MAX_ORDERS_PER_SYMBOL_PER_MINUTE": "1000"}
    done = replay(tape, *strategies, **wide, **MARKET_ORDERS).run()
    last = moment_of(tape.bars[-1].closes_at)
    expected = [row for row in backtest(tape, strategies) if row[2] < last]
    assert len(expected) > 50
    assert [row for row in engine(done) if row[2] < last] == expected


def test_where_tsmom_says_nothing_no_other_rule_orders_anything() -> None:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=4, first=date(2026, 1, 5), sessions=1)
    others = {"bullish_hist_min": 1e9, "bearish_hist_min": 1e9, "bearish_hist_cap": 2e9}

    def run(strategy_type: str, **params: Any) -> Replayed:
        given = bound(strategy_id="one", strategy_type=strategy_type, params={"qty": 20.0, **params})
        return replay(tape, given, **MARKET_ORDERS).run()

    speaks = run("legacy_macd_rsi", buy_rsi_threshold=60, sell_rsi_threshold=45)
    assert speaks.order_count > 10, "another rule would trade these bars"
    silent = run("intraday_tsmom_v1", **others)
    assert (silent.order_count, silent.decisions, silent.fills) == (0, [], [])


# The command ---------------------------------------------------------------------------------------------------------

CATALOG = """
strategies:
  - strategy_id: hold
    strategy_type: buy_and_hold
    params: {exits: {stop_pct: 0.001, max_bars: 20}}
    max_notional_per_trade: 5000
"""


@pytest.fixture
def bars_file(tmp_path: Path) -> Path:
    path = tmp_path / "bars.parquet"
    table(synthetic_tape(["AAPL", "MSFT"], seed=1, first=date(2026, 1, 5))).write_parquet(path)
    return path


def test_the_command_writes_the_same_bytes_again(bars_file: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "strategies.yaml"
    catalog.write_text(CATALOG)

    def run(name: str) -> dict[str, bytes]:
        out = tmp_path / name
        arguments = ["replay", "--bars", str(bars_file), "--strategies", str(catalog), "--seed", "7", "--out", str(out)]
        answer = CliRunner().invoke(cli, [*arguments, "--json"])
        assert answer.exit_code == 0, answer.output
        summary = json.loads(answer.output)
        assert summary["bars"] == 780
        assert summary["orders"] > 10
        return {path.name: path.read_bytes() for path in sorted(out.iterdir())}

    first = run("one")
    assert sorted(first) == ["decisions.jsonl", "fills.jsonl", "orders.jsonl"]
    assert run("two") == first
    line = json.loads(first["orders.jsonl"].splitlines()[0])
    assert (line["strategy_id"], line["state"], line["side"]) == ("hold", "filled", "buy")


def test_a_strategy_whose_feature_the_bars_cannot_have_is_told_by_file_and_row(bars_file: Path, tmp_path: Path) -> None:
    from torghut_runtime.command_line import run

    catalog = tmp_path / "strategies.yaml"
    catalog.write_text("- {strategy_id: x, strategy_type: no_such_type}\n")
    arguments = ["replay", "--bars", str(bars_file), "--strategies", str(catalog), "--out", str(tmp_path / "out")]
    assert run(cli, "torghut-runtime", arguments) == 2
    assert not (tmp_path / "out").exists()


def test_settings_that_cannot_be_used_are_told_one_line_each(
    bars_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torghut_runtime.command_line import run

    monkeypatch.setenv("TRADING_MAX_OPEN_ORDERS", "-1")
    monkeypatch.setenv("TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT", "8")
    arguments = ["replay", "--bars", str(bars_file), "--strategies", "s.yaml", "--out", str(tmp_path / "out")]
    assert run(cli, "torghut-runtime", arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "field TRADING_MAX_OPEN_ORDERS",
        "field TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT",
    ]
