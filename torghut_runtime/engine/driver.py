"""Strategies bar by bar: the streaming driver of the very steps that research runs over history.

A bar goes through :class:`~torghut_runtime.market.features.FeatureStream` and then through every strategy that is
concerned, by the compiled :func:`~torghut_runtime.strategies.decide.decide`. Which positions there are is told by the
caller, what follows from a verdict is :mod:`torghut_runtime.engine.trader`'s business. Equal bars and positions give
the same bits as the backtest.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from torghut_runtime.compiled import Vector, as_argument, entry_point
from torghut_runtime.engine.kept_rows import KeptRows
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.market.features import FEATURES, Bar, FeatureStream
from torghut_runtime.strategies.contract import OUTPUT, POSITION, tag_names
from torghut_runtime.strategies.decide import REASON_HOLD, REASON_INVALID, REASONS, STEP_SIGNATURE, decide
from torghut_runtime.strategies.registry import BoundStrategy

PositionOf = Callable[[BoundStrategy, Bar], Vector]
"""The position vector (:data:`~torghut_runtime.strategies.contract.POSITION`) of a strategy in a bar's symbol."""

Observe = Callable[[Bar, Vector], None]
"""Is told every bar with its feature row, before any strategy; must neither keep nor change the row."""

_FEATURE_AT = {name: index for index, name in enumerate(FEATURES)}
_FLAT = np.zeros(len(POSITION))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a strategy said to one bar, and what it was asked with.

    ``code`` is one of :data:`~torghut_runtime.strategies.decide.REASONS`; ``memory`` is the strategy's own before the
    step. With the invalid code ``out`` must not be used.
    """

    strategy: BoundStrategy
    bar: Bar
    features: Vector
    position: Vector
    memory: Vector
    code: int
    out: Vector

    @property
    def is_invalid(self) -> bool:
        """Whether the step's output was out of range."""
        return self.code == REASON_INVALID

    @property
    def reason(self) -> str:
        """The code as text."""
        return REASONS[self.code]

    @property
    def tags(self) -> tuple[str, ...]:
        """Names of the tags that the step set."""
        return tag_names(self.strategy.strategy_class.tags, float(self.out[3]))


class StrategyDriver:
    """Feeds bars to strategies in order of (priority, strategy_id); keeps features and memories per symbol."""

    def __init__(
        self,
        strategies: Sequence[BoundStrategy],
        metrics: TradingMetrics | None = None,
        observe: Observe | None = None,
    ) -> None:
        self._metrics = metrics or TradingMetrics()
        self._observe = observe
        self.strategies = sorted(strategies, key=lambda each: (each.entry.priority, each.entry.strategy_id))
        self._columns = [
            np.array([_FEATURE_AT[name] for name in each.feature_columns], dtype=np.int64) for each in self.strategies
        ]
        self._symbols = [_symbols_of(each) for each in self.strategies]
        self._steps = [as_argument(each.step, STEP_SIGNATURE) for each in self.strategies]
        self._judge = entry_point(decide)
        self._stream = FeatureStream()
        self._memories: dict[tuple[int, str], Vector] = {}
        self._rows: dict[tuple[str, str], KeptRows] = {}
        """By symbol and timeframe."""
        self._metrics.strategies.are(each.entry.strategy_id for each in self.strategies)

    def warm_up(self, bars: Iterable[tuple[Bar, float]]) -> None:
        """Feed history, oldest first, each bar with its seconds to the session's close.

        Features take all of it; a strategy is shown its last ``warmup_bars`` valid bars of each symbol, flat, and what
        it says is ignored.
        """
        shown: dict[tuple[int, str], deque[tuple[Vector, float]]] = {}
        for bar, seconds_to_close in bars:
            row = self._pushed(bar, seconds_to_close)
            for index, features in self._concerned(bar, row):
                if self.strategies[index].warmup_bars:
                    key = (index, bar.symbol)
                    if key not in shown:
                        shown[key] = deque(maxlen=self.strategies[index].warmup_bars)
                    shown[key].append((features, seconds_to_close))
        for (index, symbol), rows in shown.items():
            for features, seconds_to_close in rows:
                self._decide(index, symbol, features, _FLAT, seconds_to_close)

    def push(self, bar: Bar, seconds_to_close: float, position_of: PositionOf) -> list[Verdict]:
        """Feed one bar; the verdict of every strategy that it concerns, holds included.

        A strategy is concerned by bars of its timeframe and symbols that have every feature it requires.
        """
        verdicts: list[Verdict] = []
        began = time.perf_counter()
        row = self._pushed(bar, seconds_to_close)
        self._metrics.feature_step(time.perf_counter() - began)
        for index, features in self._concerned(bar, row):
            strategy = self.strategies[index]
            position = position_of(strategy, bar)
            memory = self._memory(index, bar.symbol).copy()
            began = time.perf_counter()
            code, out = self._decide(index, bar.symbol, features, position, seconds_to_close)
            self._metrics.strategies.stepped(
                strategy.entry.strategy_id,
                time.perf_counter() - began,
                acted=code != REASON_HOLD,
                failed=code == REASON_INVALID,
            )
            verdicts.append(Verdict(strategy, bar, features, position, memory, code, out))
        return verdicts

    def forget(self, symbol: str, timeframe: str) -> None:
        """Know nothing of a symbol's bars of a timeframe any more: history is about to be fed anew."""
        self._stream.forget(symbol, timeframe)
        self._rows.pop((symbol, timeframe), None)
        for index, strategy in enumerate(self.strategies):
            if strategy.entry.base_timeframe == timeframe:
                self._memories.pop((index, symbol), None)

    def successor(self, strategies: Sequence[BoundStrategy]) -> "StrategyDriver":
        """A driver of other strategies that goes on with the features of this one, which must not be used again.

        A strategy that is what it was keeps its memories; one with another class, other parameters or further symbols
        is warmed up there, as far back as the kept rows reach.
        """
        new = StrategyDriver(strategies, self._metrics, self._observe)
        new._stream, new._rows = self._stream, self._rows
        for index, strategy in enumerate(new.strategies):
            before = next((at for at, each in enumerate(self.strategies) if _is_same(each, strategy)), None)
            for symbol, timeframe in self._rows:
                if timeframe != strategy.entry.base_timeframe or not _has_symbol(strategy, symbol):
                    continue
                if before is not None and (before, symbol) in self._memories:
                    new._memories[index, symbol] = self._memories[before, symbol]
                else:
                    new._warm_from_rows(index, symbol)
        return new

    def _pushed(self, bar: Bar, seconds_to_close: float) -> Vector:
        row = self._stream.push(bar)
        if self._observe is not None:
            self._observe(bar, row)
        if bar.session is not None:
            key = (bar.symbol, bar.timeframe)
            if key not in self._rows:
                self._rows[key] = KeptRows()
            self._rows[key].append(row, seconds_to_close)
        return row

    def _warm_from_rows(self, index: int, symbol: str) -> None:
        strategy = self.strategies[index]
        shown: deque[tuple[Vector, float]] = deque(maxlen=strategy.warmup_bars)
        for row, seconds_to_close in self._rows[symbol, strategy.entry.base_timeframe].oldest_first():
            features = row[self._columns[index]]
            if not np.isnan(features[: strategy.required_count]).any():
                shown.append((features, seconds_to_close))
        for features, seconds_to_close in shown:
            self._decide(index, symbol, features, _FLAT, seconds_to_close)

    def _concerned(self, bar: Bar, row: Vector) -> Iterable[tuple[int, Vector]]:
        if bar.session is None:
            return
        for index, strategy in enumerate(self.strategies):
            entry = strategy.entry
            if entry.base_timeframe != bar.timeframe:
                continue
            symbols = self._symbols[index]
            if symbols is not None and bar.symbol not in symbols:
                continue
            features = row[self._columns[index]]
            if not np.isnan(features[: strategy.required_count]).any():
                yield index, features

    def _memory(self, index: int, symbol: str) -> Vector:
        key = (index, symbol)
        if key not in self._memories:
            self._memories[key] = np.zeros(self.strategies[index].state_size)
        return self._memories[key]

    def _decide(
        self, index: int, symbol: str, features: Vector, position: Vector, seconds_to_close: float
    ) -> tuple[int, Vector]:
        strategy = self.strategies[index]
        out = np.zeros(len(OUTPUT))
        code = self._judge(
            self._steps[index],
            features,
            strategy.parameter_vector,
            strategy.exits_vector,
            position,
            seconds_to_close,
            strategy.params.pyramid,
            self._memory(index, symbol),
            out,
        )
        return int(code), out


def _is_same(one: BoundStrategy, other: BoundStrategy) -> bool:
    """Whether two strategies of one id would do the same with the same memory."""
    return (
        one.entry.strategy_id == other.entry.strategy_id
        and one.strategy_class is other.strategy_class
        and one.params == other.params
        and one.entry.base_timeframe == other.entry.base_timeframe
    )


def _symbols_of(strategy: BoundStrategy) -> frozenset[str] | None:
    """The symbols that a strategy is asked about; None: all."""
    listed = strategy.entry.universe_symbols
    return None if listed is None else frozenset(listed)


def _has_symbol(strategy: BoundStrategy, symbol: str) -> bool:
    return strategy.entry.universe_symbols is None or symbol in strategy.entry.universe_symbols


def position_vector(qty: float, average_entry: float, bars_held: int, price: float, pending: float) -> Vector:
    """The position as strategies see it; the unrealised return is a fraction of the average entry."""
    unrealised = 0.0
    if qty != 0.0:
        unrealised = (price / average_entry - 1.0) * (1.0 if qty > 0.0 else -1.0)
    return np.array([qty, average_entry, float(bars_held), unrealised, pending])
