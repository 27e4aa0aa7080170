"""Where a window begins and ends: warm-up, empty data, vwap, and signals as they come from a file."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from simulation_frames import BUY, EXIT, FREE, HOLD, minutes, run, scripted

from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation import SimulationResult, Window, prepare_market, simulate
from torghut_runtime.compiled import Vector
from torghut_runtime.market.signals import read_signals
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import Strategy
from torghut_runtime.strategies.registry import BoundStrategy, bind, resolve


class Third(Strategy):
    """Buys at the first bar at which it has seen three valid ones, that one included."""

    type = "third"
    version = "1.0.0"
    features = ("rsi14",)

    @staticmethod
    def warmup_bars(params: object) -> int:
        """Two bars before."""
        return 2

    @staticmethod
    def state_size(params: object) -> int:
        """How many were seen."""
        return 1

    @staticmethod
    def step(f: Vector, p: Vector, pos: Vector, state: Vector, out: Vector) -> None:
        """Count."""
        state[0] += 1.0
        if state[0] == 3.0:
            out[0], out[1], out[2] = 1.0, 1.0, 1.0


def third() -> BoundStrategy:
    keys = {"strategy_id": "third", "strategy_type": "third", "version": "1.0.0", "base_timeframe": "1Min"}
    return bind(StrategyEntry.model_validate(keys), Third)


def second_session(frame: pl.DataFrame, *strategies: BoundStrategy) -> SimulationResult:
    market = prepare_market(frame)
    window = Window(market.sessions[1], market.sessions[1])
    return simulate(market, strategies, ResearchSettings(costs=FREE), window, 100_000.0, 3)


def test_the_warm_up_is_as_many_valid_bars_as_declared_whatever_lies_between() -> None:
    signals = [HOLD, HOLD, HOLD, np.nan, np.nan, HOLD, HOLD, HOLD]
    frame = minutes("AAPL", [100.0] * 8, signals=signals, per_session=5)
    decisions = second_session(frame, third()).decisions
    assert decisions["decided_at"].to_list() == [frame["event_ts"][5]]
    assert decisions["fold"].to_list() == [3]
    assert second_session(minutes("AAPL", [100.0] * 8, per_session=5), third()).decisions.height == 1


def test_with_fewer_bars_than_declared_the_warm_up_is_what_there_is() -> None:
    frame = minutes("AAPL", [100.0] * 8, signals=[np.nan] * 4 + [HOLD] * 4, per_session=5)
    decisions = second_session(frame, third()).decisions
    assert decisions["decided_at"].to_list() == [frame["event_ts"][6]]


def test_each_symbol_warms_up_on_its_own_bars() -> None:
    aapl = minutes("AAPL", [100.0] * 10, per_session=5)
    late = minutes("MSFT", [50.0] * 10, signals=[np.nan] * 4 + [HOLD] * 6, per_session=5)
    decisions = second_session(pl.concat([aapl, late]).sort("event_ts", "symbol"), third()).decisions
    assert dict(decisions.select("symbol", "decided_at").iter_rows()) == {
        "AAPL": aapl["event_ts"][5],
        "MSFT": late["event_ts"][6],
    }


def test_positions_do_not_come_from_before_the_window() -> None:
    frame = minutes("AAPL", [100.0] * 10, signals={0: BUY, 6: EXIT}, per_session=5)
    result = second_session(frame, scripted())
    assert (result.decisions.height, result.fills.height, result.closing_cash) == (0, 0, 100_000.0)


def test_a_market_without_a_row_in_a_session_has_nothing_to_simulate() -> None:
    outside = minutes("AAPL", [100.0] * 3).with_columns(session=pl.lit(None, dtype=pl.Date))
    market = prepare_market(outside)
    window = Window(date(2024, 1, 2), date(2024, 1, 3))
    result = simulate(market, [scripted()], ResearchSettings(), window, 5000.0, 0)
    assert (result.closing_cash, result.order_count) == (5000.0, 0)
    assert [frame.height for frame in (result.decisions, result.fills, result.equity)] == [0, 0, 0]
    assert len(result.session_returns) == len(result.session_dates) == 0


def test_a_window_without_bars_leaves_the_account_as_it_was() -> None:
    market = prepare_market(minutes("AAPL", [100.0] * 3, signals={0: BUY}))
    window = Window(date(2024, 2, 1), date(2024, 2, 2))
    assert simulate(market, [scripted()], ResearchSettings(), window, 5000.0, 0).closing_cash == 5000.0


def row(minute: int, macd: float, rsi: float, **payload: object) -> dict[str, object]:
    return {
        "event_ts": f"2024-01-03T{14 + (30 + minute) // 60}:{(30 + minute) % 60:02}:00Z",
        "symbol": "AAPL",
        "timeframe": "1Min",
        "payload": {"price": 100.0, "macd": macd, "macd_signal": 0.0, "rsi14": rsi, **payload},
    }


def simulated(tmp_path: Path, rows: list[dict[str, object]], **settings: object) -> SimulationResult:
    path = tmp_path / "signals.json"
    path.write_text(json.dumps(rows))
    entry = StrategyEntry.model_validate({"strategy_id": "s", "strategy_type": "legacy_macd_rsi"})
    market = prepare_market(read_signals(path).frame)
    chosen = ResearchSettings.model_validate({"costs": FREE, **settings})
    return simulate(market, [resolve(entry, None)], chosen, Window(date(2024, 1, 3), date(2024, 1, 3)), 100_000.0, 0)


def script(n: int = 40, **payload: object) -> list[dict[str, object]]:
    """Buys and sells by turns, each for two bars."""
    return [
        row(minute, 1.0 if minute % 4 < 2 else -1.0, 20 if minute % 4 < 2 else 80, **payload)
        for minute in range(1, n + 1)
    ]


def test_vwap_is_a_feature_and_never_a_price(tmp_path: Path) -> None:
    rows = [
        {**each, "payload": {**each["payload"], "vwap": {"session": vwap, "w5m": vwap}}}  # type: ignore[dict-item]
        for each, vwap in zip(script(), [1, 999] * 20, strict=True)
    ]
    result = simulated(tmp_path, rows)
    assert result.fills.height > 10
    assert result.fills["price"].unique().to_list() == [100.0]
    assert result.closing_cash == 100_000


def test_duplicates_and_disorder_in_the_file_change_nothing(tmp_path: Path) -> None:
    rows = script(price=101.5)
    plain = simulated(tmp_path, rows)
    shuffled = simulated(tmp_path, [*reversed(rows), *rows[3:9]])
    assert shuffled.fills.equals(plain.fills)
    assert shuffled.equity.equals(plain.equity)


def test_an_incomplete_row_is_skipped_alone(tmp_path: Path) -> None:
    rows = script()
    holed = [*rows]
    holed[20] = row(21, 1.0, 20)
    holed[20]["payload"] = {"price": 100.0, "macd": 1.0, "macd_signal": 0.0}
    plain, other = simulated(tmp_path, rows), simulated(tmp_path, holed)
    missing = read_signals(tmp_path / "signals.json").frame["event_ts"][20]
    assert other.decisions.filter(pl.col("decided_at") != missing).height >= plain.decisions.height - 1
    assert missing not in other.decisions["decided_at"].to_list()


@pytest.mark.parametrize(("spread", "bps"), [(5, 250.0), (0.02, 1.0), (0, 0.0)])
def test_the_spread_of_the_deciding_bar_is_charged_on_every_fill(tmp_path: Path, spread: float, bps: float) -> None:
    costs = {**FREE.model_dump(), "default_half_spread_bps": 99.0}
    result = simulated(tmp_path, script(spread=spread, volume=1e9), costs=costs)
    notional = result.fills["qty"] * result.fills["price"]
    np.testing.assert_allclose((result.fills["half_spread_cost"] / notional * 1e4).to_numpy(), bps, rtol=1e-12)
    assert not result.fills["assumed_inputs"].any()


def test_turnover_is_not_that_of_a_longer_history() -> None:
    """The same rule on ten times the history trades as much per session."""
    wave = [100 + 5 * np.sin(index / 3) for index in range(39)]
    signals = [BUY, HOLD, EXIT] * 13
    entry = {"max_notional_per_trade": 10_000.0}
    short, long = (
        run(
            minutes("AAPL", wave * n, signals=signals * n, per_session=39, volume=1e9),
            strategies=[scripted(**entry)],
        )
        for n in (1, 10)
    )
    traded = [(each.fills["qty"] * each.fills["price"]).sum() for each in (short, long)]
    sessions = [len(each.session_returns) for each in (short, long)]
    assert sessions == [1, 10]
    assert traded[1] / sessions[1] == pytest.approx(traded[0] / sessions[0], rel=0.02)
