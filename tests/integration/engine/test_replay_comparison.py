"""Engine and backtest over the same bars: equal under equal limits, and every difference has its explanation."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from engine_world import settings_of
from simulation_frames import FREE

from torghut_assets.cli import cli
from torghut_assets.research import replay_comparison
from torghut_assets.research.replay_comparison import Comparison, compare, equal_limits
from torghut_assets.research.replay_differences import CLASSES, Said
from torghut_assets.research.settings import ResearchSettings
from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape
from torghut_runtime.clock import moment_of
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve
from torghut_runtime.trading_settings import load_trading_settings

MACD = {"buy_rsi_threshold": 60, "sell_rsi_threshold": 45, "qty": 20.0}


def macd(**entry: Any) -> BoundStrategy:
    given = {"strategy_id": "macd", "strategy_type": "legacy_macd_rsi", "params": MACD, **entry}
    return resolve(StrategyEntry.model_validate(given), None)


def compared(tape: Tape, strategies: Sequence[BoundStrategy], **environment: str) -> Comparison:
    research = ResearchSettings(costs=FREE)
    with equal_limits(research):
        equal = load_trading_settings()
    return compare(tape, strategies, research, settings_of(**environment) if environment else equal)


def test_a_session_is_decided_alike_but_for_its_last_bar() -> None:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=4, first=date(2026, 1, 5))
    found = compared(tape, [macd()])
    assert found.decisions > 50
    assert set(found.by_class) <= {"session_end"}
    assert found.unexplained == 0
    assert found.equal >= found.decisions - 2


def test_limits_that_the_backtest_does_not_have_explain_what_they_refuse() -> None:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=4, first=date(2026, 1, 5))
    wide = {"EXECUTION_PREFER_LIMIT": "false", "PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY": "1.0"}
    found = compared(tape, [macd()], MAX_ORDERS_PER_MINUTE="0", **wide)
    assert found.by_class.get("order_limit", 0) > 5
    assert set(found.by_class) <= {"order_limit", "follows", "session_end"}
    first = found.differences[0]
    assert first.explanation == "order_limit"
    assert first.engine is not None
    assert first.engine.reason == "order_rate_exceeded"
    assert found.equal + len(found.differences) == found.decisions
    assert set(found.by_class) <= set(CLASSES)


def test_of_two_strategies_in_a_symbol_every_difference_goes_back_to_one_that_is_explained() -> None:
    given = {
        "strategy_id": "hold",
        "strategy_type": "buy_and_hold",
        "params": {"exits": {"stop_pct": 0.004, "max_bars": 12}},
        "max_notional_per_trade": 1_000.0,
    }
    hold = resolve(StrategyEntry.model_validate(given), None)
    tape = synthetic_tape([f"S{number:03d}" for number in range(4)], seed=1, first=date(2026, 1, 5))
    research = ResearchSettings()
    with equal_limits(research):
        found = compare(tape, [macd(), hold], research, load_trading_settings())
    assert found.unexplained == 0
    assert found.by_class["follows"] > 20
    assert found.by_class["opposite_side"] > 0
    assert set(found.by_first) == set(found.by_class) - {"follows"}
    assert sum(found.by_first.values()) == len(found.differences)
    assert found.ratio is not None
    assert found.ratio_alike is not None
    assert found.ratio_alike > 0.98 > found.ratio
    assert found.alike - found.equal_alike <= sum(found.by_class.values()) - found.by_class["follows"]


def test_a_difference_without_a_class_is_unexplained(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = synthetic_tape(["AAPL"], seed=4, first=date(2026, 1, 5))
    original = replay_comparison._decisions  # pyright: ignore[reportPrivateUsage]

    def other(*given: Any) -> dict[Any, Said]:
        found = original(*given)
        first = min(found)
        return {**found, first: Said(1, 7.0, "entry")}

    monkeypatch.setattr(replay_comparison, "_decisions", other)
    found = compared(tape, [macd()])
    assert found.unexplained == 1
    assert found.differences[0].backtest == Said(1, 7.0, "entry")


def test_the_command_lists_differences_and_ends_with_0_when_all_are_explained(tmp_path: Path) -> None:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=4, first=date(2026, 1, 5))
    rows = [(b.symbol, moment_of(b.opens_at), b.open, b.high, b.low, b.close, b.volume) for b in tape.bars]
    names = ["symbol", "ts", "open", "high", "low", "close", "volume"]
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(tmp_path / "bars.parquet")
    catalog = tmp_path / "strategies.json"
    catalog.write_text(json.dumps([{"strategy_id": "macd", "strategy_type": "legacy_macd_rsi", "params": MACD}]))
    arguments = ["compare", "--bars", str(tmp_path / "bars.parquet"), "--strategies", str(catalog)]
    answer = CliRunner().invoke(cli, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.output)
    assert document["decisions"] > 50
    assert document["unexplained"] == 0
    assert "decisions are equal" in CliRunner().invoke(cli, arguments).output
