"""The same bars through the backtest and through the driver give the same decisions and fills, bit by bit.

The backtest's account is driven here bar by bar, with the driver asked where the backtest asks its compiled loop.
"""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation_frames import FREE

from torghut_assets.research import simulation_tables as tables
from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation import MarketArrays, Window, prepare_market, simulate
from torghut_assets.research.simulation_account import (
    BARS_HELD,
    CASH,
    LAST_ROW,
    QTY,
    WAITING,
    Book,
    mark,
    sum_again,
)
from torghut_assets.research.simulation_decisions import act, read_position
from torghut_assets.research.simulation_fills import fill_opens
from torghut_runtime.broker.simulator.instants import moment_of
from torghut_runtime.broker.simulator.tape import synthetic_tape
from torghut_runtime.engine.driver import StrategyDriver, Verdict
from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.features import Bar
from torghut_runtime.market.signals import signals_from_bars
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve

CAPITAL = 100_000.0
SYMBOLS = ("AAPL", "MSFT")
Setup = tuple[MarketArrays, list[BoundStrategy], ResearchSettings, Window]


def market(seed: int, timeframe: str, sessions: int, keep: float) -> MarketArrays:
    tape = synthetic_tape(SYMBOLS, seed=seed, first=date(2024, 1, 2), sessions=sessions, timeframe=timeframe)
    table = pl.DataFrame(
        [
            {
                "symbol": bar.symbol, "ts": moment_of(bar.opens_at), "open": bar.open, "high": bar.high,
                "low": bar.low, "close": bar.close, "volume": bar.volume,
            }
            for bar in tape.bars
        ]
    ).with_columns(pl.col("ts").dt.cast_time_unit("us"))  # fmt: skip
    kept = np.random.default_rng(seed).random(table.height) < keep
    kept[:2] = True
    return prepare_market(signals_from_bars(bars_from_frame(table.filter(pl.Series(kept)), timeframe)).frame)


def bound(**entry: Any) -> BoundStrategy:
    return resolve(StrategyEntry.model_validate(entry), None)


INTRADAY = [
    {"strategy_type": "legacy_macd_rsi", "params": {"buy_rsi_threshold": 60, "sell_rsi_threshold": 45}},
    {"strategy_type": "legacy_macd_rsi", "params": {"entry": "cross", "buy_rsi_threshold": 90, "pyramid": True}},
    {"strategy_type": "intraday_tsmom_v1", "params": {"bullish_hist_min": 0.0, "min_bull_rsi": 5, "max_bull_rsi": 95}},
    {"strategy_type": "buy_and_hold", "params": {"exits": {"stop_pct": 0.001, "max_bars": 40}}},
]
DAILY = [
    {
        "strategy_type": "daily_momentum",
        "params": {"lookback_bars": 12, "skip_bars": 2, "vol_halflife": 3, "rebalance_bars": 2, "target_vol": 0.4},
    },
    {"strategy_type": "buy_and_hold", "params": {"exits": {"take_profit_pct": 0.004}}},
]


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    daily = draw(st.booleans())
    chosen = draw(st.lists(st.sampled_from(DAILY if daily else INTRADAY), min_size=1, max_size=2))
    frame = market(
        draw(st.integers(0, 1_000)), "1Day" if daily else "1Min", 90 if daily else 2, draw(st.floats(0.9, 1))
    )
    strategies = [
        bound(
            **each,
            strategy_id=f"s{index}",
            base_timeframe="1Day" if daily else "1Min",
            priority=draw(st.integers(0, 2)),
            symbols=list(draw(st.sampled_from([SYMBOLS, SYMBOLS[:1]]))),
            max_notional_per_trade=draw(st.sampled_from([None, 20_000.0])),
        )
        for index, each in enumerate(chosen)
    ]
    first = frame.sessions[draw(st.integers(0, len(frame.sessions) // 2))]
    rules = ResearchSettings(costs=FREE, allow_shorts=draw(st.booleans()), latency_bars=draw(st.integers(0, 1)))
    return frame, strategies, rules, Window(first, frame.sessions[-1])


def bars_of(frame: MarketArrays) -> list[tuple[Bar, float]]:
    columns = ("symbol", "timeframe", "open_ts", "event_ts", "session", "high", "low", "close", "volume")
    rows = frame.frame.select(*columns).iter_rows()
    return [
        (Bar(*row), float(seconds)) for row, seconds in zip(rows, frame.rows[:, tables.SECONDS_TO_CLOSE], strict=True)
    ]


class DrivenAccount:
    """The backtest's account, its decisions made by the driver."""

    def __init__(self, frame: MarketArrays, strategies: list[BoundStrategy], rules: tables.Rules) -> None:
        n, symbols = len(strategies), len(frame.symbols)
        columns = [column for each in strategies for column in each.feature_columns]
        self.market = tables.Market(frame.rows, frame.row_ids, frame.features(columns))
        self.rules, self.symbols, self.n = rules, symbols, n
        self.index = {each.entry.strategy_id: place for place, each in enumerate(strategies)}
        self.book = Book(
            np.zeros(6), np.zeros((n * symbols, 3)), np.zeros((symbols, 5)), np.zeros((50_000, 10)),
            np.full(n * symbols, -1, dtype=np.int64),
        )  # fmt: skip
        self.book.account[CASH] = CAPITAL
        self.book.symbols[:, LAST_ROW] = -1.0
        self.decisions, self.fills = np.zeros((50_000, 6)), np.zeros((50_000, 13))
        self.counts, self.filled = np.zeros(2, dtype=np.int64), 0

    def position(self, strategy: BoundStrategy, symbol: int, price: float) -> np.ndarray:
        pos = np.zeros(5)
        read_position(self.book, self.index[strategy.entry.strategy_id] * self.symbols + symbol, price, pos)
        return pos

    def fill(self, opens: np.ndarray, begin: int, end: int) -> None:
        if self.book.account[WAITING] > 0.0:
            self.filled = fill_opens(self.book, self.market, self.rules, self.fills, self.filled, opens, begin, end)

    def decide(self, row: int, symbol: int, verdicts: list[Verdict]) -> None:
        codes, said = np.zeros(self.n, dtype=np.int64), np.zeros((self.n, 2))
        for verdict in verdicts:
            place = self.index[verdict.strategy.entry.strategy_id]
            codes[place] = max(verdict.code, 0)
            said[place] = verdict.out[:2]
        if codes.any():
            act(
                self.book,
                self.market,
                self.rules,
                row,
                symbol,
                codes,
                said,
                np.zeros(self.n),
                self.decisions,
                self.counts,
            )


def driven(frame: MarketArrays, strategies: list[BoundStrategy], rules: tables.Rules, window: Window) -> DrivenAccount:
    driver = StrategyDriver(strategies)
    account = DrivenAccount(frame, driver.strategies, rules)
    bars, ids, span = bars_of(frame), frame.row_ids, frame.window_rows(window)
    driver.warm_up(bars[: span.start])
    row, next_open, session = span.start, 0, -1
    while row < span.end:
        now = ids[row, tables.CLOSE_AT]
        while next_open < len(span.opens) and ids[span.opens[next_open], tables.OPEN_AT] < now:
            begin, at = next_open, ids[span.opens[next_open], tables.OPEN_AT]
            while next_open < len(span.opens) and ids[span.opens[next_open], tables.OPEN_AT] == at:
                next_open += 1
            account.fill(span.opens, begin, next_open)
        if ids[row, tables.SESSION] != session:
            session = ids[row, tables.SESSION]
            sum_again(account.book)
        end = row
        while end < span.end and ids[end, tables.CLOSE_AT] == now:
            mark(account.book, ids[end, tables.SYMBOL], frame.rows[end, tables.CLOSE])
            account.book.symbols[ids[end, tables.SYMBOL], LAST_ROW] = end
            end += 1
        for at in range(row, end):
            symbol = int(ids[at, tables.SYMBOL])
            for place in range(account.n):
                slot = place * account.symbols + symbol
                if account.book.positions[slot, QTY] != 0.0:
                    account.book.positions[slot, BARS_HELD] += 1.0
            bar, seconds = bars[at]
            verdicts = driver.push(
                bar, seconds, lambda each, bar, symbol=symbol: account.position(each, symbol, bar.close)
            )
            account.decide(at, symbol, verdicts)
        row = end
    return account


def research_rules(frame: MarketArrays, strategies: list[BoundStrategy], settings: ResearchSettings) -> tables.Rules:
    """The rules as :func:`simulate` hands them to its loop."""
    from torghut_assets.research import simulation

    ordered = sorted(strategies, key=lambda each: (each.entry.priority, each.entry.strategy_id))
    return tables.Rules(
        simulation._limits(ordered),
        simulation._layout(ordered, frame),
        simulation._universe(ordered, frame),
        np.concatenate([*(each.parameter_vector for each in ordered), np.zeros(1)]),
        np.ascontiguousarray(np.stack([each.exits_vector for each in ordered])),
        settings.costs.vector(),
        simulation._settings_vector(settings, CAPITAL, close_out=False),
    )


@settings(max_examples=10, deadline=None)
@given(setups())
def test_the_driver_decides_with_the_bits_of_the_backtest(setup: Setup) -> None:
    frame, strategies, rules, window = setup
    expected = simulate(frame, strategies, rules, window, CAPITAL, 0, close_out=False)
    found = driven(frame, strategies, research_rules(frame, strategies, rules), window)
    assert found.decisions[: found.counts[0]].tobytes() == expected.decision_table.tobytes()
    assert found.fills[: found.filled].tobytes() == expected.fill_table.tobytes()
    assert float(found.book.account[CASH]) == expected.closing_cash


@pytest.mark.parametrize("entry", INTRADAY, ids=lambda each: each["strategy_type"])
def test_the_strategies_above_decide_something(entry: dict[str, Any]) -> None:
    frame = market(3, "1Min", 2, 1.0)
    window = Window(frame.sessions[0], frame.sessions[-1])
    chosen = [bound(**entry, strategy_id="s")]
    assert simulate(frame, chosen, ResearchSettings(costs=FREE), window, CAPITAL, 0).decisions.height > 0


def test_a_bar_outside_every_session_concerns_nobody() -> None:
    driver = StrategyDriver([bound(strategy_type="buy_and_hold", strategy_id="hold")])
    sunday = datetime(2024, 1, 7, 15, 0, tzinfo=UTC)
    verdicts = driver.push(
        Bar("AAPL", "1Min", sunday, sunday, None, 1.0, 1.0, 1.0), float("nan"), lambda *_: pytest.fail("was asked")
    )
    assert verdicts == []
