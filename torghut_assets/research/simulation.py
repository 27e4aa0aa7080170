"""Event-ordered simulation of strategies over bars with one cash account (contract ``lane.md`` 6).

Here frames become arrays, windows become row ranges and the compiled loop's tables become frames again. What happens
to an order is told in :mod:`torghut_assets.research.simulation_loop` and its neighbours; folds, parameter search and
metrics are told elsewhere. Prices and money are float64 in account currency, times are UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from torghut_assets.research import simulation_tables as tables
from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation_loop import simulation_loop
from torghut_runtime.compiled import Integers, Matrix, Vector, functions_as_arguments
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.strategies.decide import REASONS
from torghut_runtime.strategies.registry import BoundStrategy

DECISION_REASONS: dict[int, str] = {
    **REASONS,
    tables.R_NO_ROOM: "gross_exposure_exceeded",
    tables.R_TOO_SMALL: "qty_below_min",
    tables.R_NO_SHORTS: "shorts_not_allowed",
    tables.R_CONFLICT: "intent_conflict_resolved",
}
_MICROSECONDS = pl.Datetime("us", "UTC")
_NAIVE_MICROSECONDS = pl.Datetime("us")


@dataclass(frozen=True)
class Window:
    """Sessions from ``first_session`` to ``last_session``, both included."""

    first_session: date
    last_session: date


@dataclass(frozen=True)
class _Rows:
    start: int
    end: int
    opens: Integers


@dataclass(frozen=True)
class MarketArrays:
    """A signals frame as the compiled loop wants it; rows outside every session are left out.

    ``rows`` is (n, 5) float64, ``row_ids`` (n, 6) int64 with times in microseconds since 1970; both in the frame's
    order (event_ts, symbol, seq).
    """

    frame: pl.DataFrame
    symbols: tuple[str, ...]
    timeframes: tuple[str, ...]
    sessions: tuple[date, ...]
    rows: Matrix
    row_ids: NDArray[np.int64]
    _features: dict[tuple[str, ...], Matrix] = field(default_factory=dict[tuple[str, ...], Matrix], repr=False)
    _windows: dict[tuple[date, date], _Rows] = field(default_factory=dict[tuple[date, date], _Rows], repr=False)

    def features(self, columns: Sequence[str]) -> Matrix:
        """The named feature columns side by side, C-contiguous."""
        key = tuple(columns)
        if key not in self._features:
            matrix = np.empty((len(self.rows), len(key)))
            for index, name in enumerate(key):
                matrix[:, index] = self.frame[name].to_numpy()
            self._features[key] = matrix
        return self._features[key]

    def window_rows(self, window: Window) -> _Rows:
        """Row range of a window and its rows by time of open."""
        key = (window.first_session, window.last_session)
        if key not in self._windows:
            self._windows[key] = self._find_rows(window)
        return self._windows[key]

    def _find_rows(self, window: Window) -> _Rows:
        session = self.row_ids[:, tables.SESSION]
        first = int(np.searchsorted(_ordinals(self.sessions), window.first_session.toordinal(), side="left"))
        last = int(np.searchsorted(_ordinals(self.sessions), window.last_session.toordinal(), side="right"))
        start = int(np.searchsorted(session, first, side="left"))
        end = int(np.searchsorted(session, last, side="left"))
        opens = np.argsort(self.row_ids[start:end, tables.OPEN_AT], kind="stable").astype(np.int64) + start
        return _Rows(start, end, opens)


@dataclass(frozen=True)
class SimulationResult:
    """What one account did in one window; frames are built when asked for.

    ``session_returns`` holds one return per session that has a bar, compounding from the opening cash.
    ``invalid_outputs`` counts, per strategy, step outputs that were NaN or out of range and led to nothing.
    """

    market: MarketArrays
    strategy_ids: tuple[str, ...]
    fold: int
    opening_cash: float
    closing_cash: float
    order_count: int
    invalid_outputs: dict[str, int]
    decision_table: Matrix
    fill_table: Matrix
    mark_table: Matrix

    @cached_property
    def session_returns(self) -> Vector:
        equity = self.mark_table[self._session_ends, tables.E_EQUITY]
        before = np.concatenate(([self.opening_cash], equity[:-1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return equity / before - 1.0

    @cached_property
    def session_dates(self) -> tuple[date, ...]:
        """The sessions that :attr:`session_returns` belong to."""
        rows = self.mark_table[self._session_ends, tables.E_ROW].astype(np.int64)
        sessions: list[int] = self.market.row_ids[rows, tables.SESSION].tolist()
        return tuple(self.market.sessions[index] for index in sessions)

    @cached_property
    def mark_sessions(self) -> Integers:
        """Position in the market's sessions of every row of the mark table."""
        return self.market.row_ids[self.mark_table[:, tables.E_ROW].astype(np.int64), tables.SESSION]

    @cached_property
    def _session_ends(self) -> NDArray[np.int64]:
        if len(self.mark_table) == 0:
            return np.empty(0, dtype=np.int64)
        session = self.mark_sessions
        return np.append(np.flatnonzero(np.diff(session)), len(session) - 1).astype(np.int64)

    @cached_property
    def decisions(self) -> pl.DataFrame:
        """fold, strategy_id, symbol, decided_at, signal, target_qty, reference_price, reason: one row per decision."""
        table = self.decision_table
        row = table[:, tables.D_ROW].astype(np.int64)
        return pl.DataFrame(
            {
                "fold": np.full(len(table), self.fold, dtype=np.int32),
                "strategy_id": _names(self.strategy_ids, table[:, tables.D_STRATEGY]),
                "symbol": _names(self.market.symbols, self.market.row_ids[row, tables.SYMBOL]),
                "decided_at": _times(self.market.row_ids[row, tables.CLOSE_AT]),
                "signal": table[:, tables.D_SIGNAL].astype(np.int8),
                "target_qty": table[:, tables.D_TARGET],
                "reference_price": table[:, tables.D_PRICE],
                "reason": _reasons(table[:, tables.D_REASON]),
            }
        )

    @cached_property
    def fills(self) -> pl.DataFrame:
        """One row per fill with its costs in account currency; ``side`` is buy or sell, ``qty`` is positive.

        ``assumed_inputs`` tells that the half-spread or the volume behind the costs was not recorded but assumed.
        """
        table = self.fill_table
        decided = self.market.row_ids[table[:, tables.F_DECIDED].astype(np.int64), tables.CLOSE_AT]
        return pl.DataFrame(
            {
                "fold": np.full(len(table), self.fold, dtype=np.int32),
                "order_id": table[:, tables.F_ORDER].astype(np.int64),
                "strategy_id": _names(self.strategy_ids, table[:, tables.F_STRATEGY]),
                "symbol": _names(self.market.symbols, table[:, tables.F_SYMBOL]),
                "decided_at": _times(decided),
                "filled_at": _times(table[:, tables.F_AT].astype(np.int64)),
                "side": _names(("buy", "sell"), table[:, tables.F_SIDE] < 0),
                "qty": table[:, tables.F_QTY],
                "price": table[:, tables.F_PRICE],
                "half_spread_cost": table[:, tables.F_HALF_SPREAD],
                "impact_cost": table[:, tables.F_IMPACT],
                "commission": table[:, tables.F_COMMISSION],
                "fees": table[:, tables.F_FEES],
                "assumed_inputs": table[:, tables.F_ASSUMED] != 0.0,
            }
        )

    @cached_property
    def equity(self) -> pl.DataFrame:
        """The account after every bar: ts, fold, equity, cash, exposures; session_return at a session's last mark."""
        table = self.mark_table
        returns = np.full(len(table), np.nan)
        returns[self._session_ends] = self.session_returns
        return pl.DataFrame(
            {
                "ts": _times(self.market.row_ids[table[:, tables.E_ROW].astype(np.int64), tables.CLOSE_AT]),
                "fold": np.full(len(table), self.fold, dtype=np.int32),
                "equity": table[:, tables.E_EQUITY],
                "cash": table[:, tables.E_CASH],
                "gross_exposure": table[:, tables.E_GROSS],
                "net_exposure": table[:, tables.E_NET],
                "session_return": pl.Series(returns, nan_to_null=True),
            }
        )


def prepare_market(frame: pl.DataFrame) -> MarketArrays:
    """Turn the frame of a :class:`~torghut_runtime.market.signals.SignalSet` into arrays, once per data set."""
    frame = frame.filter(pl.col("session").is_not_null())
    symbols = tuple(frame["symbol"].unique().sort())
    timeframes = tuple(frame["timeframe"].unique().sort())
    sessions = tuple(frame["session"].unique().sort())
    calendar = TradingCalendar()
    closes = pl.DataFrame(
        {"session": sessions, "_closes_at": [calendar.session_close(session) for session in sessions]},
        schema={"session": pl.Date, "_closes_at": _MICROSECONDS},
    )
    around_the_clock = [symbol for symbol in symbols if not calendar.is_exchange_traded(symbol)]
    midnight = (pl.col("session").cast(_NAIVE_MICROSECONDS) + pl.duration(days=1)).dt.replace_time_zone("UTC")
    closes_at = pl.when(pl.col("symbol").is_in(around_the_clock)).then(midnight).otherwise(pl.col("_closes_at"))
    table = frame.join(closes, on="session", how="left", maintain_order="left").select(
        "open",
        "close",
        "volume",
        "half_spread_bps",
        seconds_to_close=(closes_at - pl.col("event_ts")).dt.total_microseconds() / 1e6,
        open_at=pl.col("open_ts").dt.epoch("us"),
        close_at=pl.col("event_ts").dt.epoch("us"),
        symbol_id=pl.col("symbol").replace_strict(symbols, range(len(symbols)), return_dtype=pl.Int64),
        timeframe_id=pl.col("timeframe").replace_strict(timeframes, range(len(timeframes)), return_dtype=pl.Int64),
        session_id=pl.col("session").replace_strict(sessions, range(len(sessions)), return_dtype=pl.Int64),
        bar_no=pl.int_range(pl.len()).over("symbol", "timeframe"),
    )
    rows = table.select("open", "close", "volume", "half_spread_bps", "seconds_to_close").to_numpy()
    ids = table.select("open_at", "close_at", "symbol_id", "timeframe_id", "session_id", "bar_no").to_numpy()
    return MarketArrays(
        frame=frame,
        symbols=symbols,
        timeframes=timeframes,
        sessions=sessions,
        rows=np.ascontiguousarray(rows, dtype=np.float64),
        row_ids=np.ascontiguousarray(ids, dtype=np.int64),
    )


def simulate(
    market: MarketArrays,
    strategies: Sequence[BoundStrategy],
    settings: ResearchSettings,
    window: Window,
    opening_cash: float,
    fold: int,
    *,
    close_out: bool = True,
) -> SimulationResult:
    """Run strategies over one window with one account.

    The account begins flat with ``opening_cash``; features and strategy memory warm up on the bars before the window,
    positions do not come from there. At the window's last bar everything is closed at its last price with full costs;
    ``close_out=False`` leaves positions open instead (for windows that are cut off in the middle).
    """
    ordered = sorted(strategies, key=lambda each: (each.entry.priority, each.entry.strategy_id))
    if not ordered or not market.symbols:
        return no_trading(market, ordered, opening_cash, fold)
    found = market.window_rows(window)
    if found.start >= found.end:
        return no_trading(market, ordered, opening_cash, fold)
    columns = [column for each in ordered for column in each.feature_columns]
    rules = tables.Rules(
        _limits(ordered),
        _layout(ordered, market),
        _universe(ordered, market),
        np.concatenate([*(each.parameter_vector for each in ordered), np.zeros(1)]),
        np.ascontiguousarray(np.stack([each.exits_vector for each in ordered])),
        settings.costs.vector(),
        _settings_vector(settings, opening_cash, close_out=close_out),
    )
    run: Any = simulation_loop(len(ordered))
    with functions_as_arguments():
        decisions, fills, marks, errors, order_count, closing_cash = run(
            tables.Market(market.rows, market.row_ids, market.features(columns)),
            rules,
            tuple(each.step for each in ordered),
            found.opens,
            np.array([found.start, found.end], dtype=np.int64),
        )
    names = tuple(each.entry.strategy_id for each in ordered)
    return SimulationResult(
        market=market,
        strategy_ids=names,
        fold=fold,
        opening_cash=opening_cash,
        closing_cash=float(closing_cash),
        order_count=int(order_count),
        invalid_outputs={name: int(count) for name, count in zip(names, errors, strict=True)},
        decision_table=decisions,
        fill_table=fills,
        mark_table=marks,
    )


def no_trading(
    market: MarketArrays, strategies: Sequence[BoundStrategy], opening_cash: float, fold: int
) -> SimulationResult:
    """The result of a window in which nothing can happen."""
    names = tuple(each.entry.strategy_id for each in strategies)
    return SimulationResult(
        market=market,
        strategy_ids=names,
        fold=fold,
        opening_cash=opening_cash,
        closing_cash=opening_cash,
        order_count=0,
        invalid_outputs=dict.fromkeys(names, 0),
        decision_table=np.empty((0, 6)),
        fill_table=np.empty((0, 13)),
        mark_table=np.empty((0, 5)),
    )


def _limits(strategies: Sequence[BoundStrategy]) -> Matrix:
    def value(number: float | None) -> float:
        return np.nan if number is None else float(number)

    return np.array(
        [
            [
                value(each.entry.max_notional_per_trade),
                value(each.entry.max_position_pct_equity),
                value(each.params.qty),
                float(each.params.pyramid),
            ]
            for each in strategies
        ]
    )


def _layout(strategies: Sequence[BoundStrategy], market: MarketArrays) -> NDArray[np.int64]:
    layout = np.zeros((len(strategies), 9), dtype=np.int64)
    feature_at = parameter_at = state_at = 0
    for index, each in enumerate(strategies):
        base = each.entry.base_timeframe
        layout[index] = (
            market.timeframes.index(base) if base in market.timeframes else -1,
            feature_at,
            len(each.feature_columns),
            each.required_count,
            parameter_at,
            len(each.parameter_vector),
            state_at,
            each.state_size,
            each.warmup_bars,
        )
        feature_at += len(each.feature_columns)
        parameter_at += len(each.parameter_vector)
        state_at += each.state_size * len(market.symbols)
    return layout


def _universe(strategies: Sequence[BoundStrategy], market: MarketArrays) -> NDArray[np.int64]:
    universe = np.zeros((len(strategies), len(market.symbols)), dtype=np.int64)
    for index, each in enumerate(strategies):
        chosen = set(each.entry.universe_symbols or market.symbols)
        universe[index] = [symbol in chosen for symbol in market.symbols]
    return universe


def _settings_vector(settings: ResearchSettings, opening_cash: float, *, close_out: bool) -> Vector:
    vector = np.zeros(8)
    vector[tables.GROSS_LIMIT] = settings.gross_limit
    vector[tables.MAX_PARTICIPATION] = settings.max_participation_rate
    vector[tables.LATENCY] = settings.latency_bars
    vector[tables.MAX_ORDER_BARS] = settings.max_order_bars
    vector[tables.ALLOW_SHORTS] = settings.allow_shorts
    vector[tables.FRACTIONAL] = settings.fractional_shares
    vector[tables.CLOSE_OUT] = close_out
    vector[tables.OPENING_CASH] = opening_cash
    return vector


def _ordinals(sessions: Sequence[date]) -> Integers:
    return np.array([session.toordinal() for session in sessions], dtype=np.int64)


def _names(names: Sequence[str], index: NDArray[Any]) -> pl.Series:
    return pl.Series(list(names), dtype=pl.String).gather(index.astype(np.int64))


def _reasons(codes: Vector) -> pl.Series:
    known = sorted(DECISION_REASONS)
    return _names([DECISION_REASONS[code] for code in known], np.searchsorted(known, codes.astype(np.int64)))


def _times(microseconds: NDArray[np.int64]) -> pl.Series:
    return pl.Series(microseconds, dtype=pl.Int64).cast(_MICROSECONDS)
