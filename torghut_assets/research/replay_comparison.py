"""The engine on the simulator against the backtest of the same bars: every decision that differs, and why it may.

The second figure of parity: the first says that recorded steps are repeated, this one that an account which trades by
orders decides what research said it would. Differences have classes (``docs/runtime.md``, "Compared with the
backtest"); one without a class is a defect. Reading files and printing belong to the command.
"""

import os
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import polars as pl

from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation import Window, prepare_market, simulate
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.clock import moment_of
from torghut_runtime.engine.replay import Replay
from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.market.signals import signals_from_bars
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings

_BY_REASON: Final[Mapping[str, str]] = {
    "market_closed": "session_end",
    "precheck_opposite_side_open_order": "opposite_side",
    "max_notional_exceeded": "strategy_cap",
    "max_position_pct_exceeded": "strategy_cap",
    "state_reducing": "hard_limit",
    "state_halted": "hard_limit",
    "daily_loss_limit_reached": "hard_limit",
    "max_drawdown_exceeded": "hard_limit",
    "order_rate_exceeded": "order_limit",
    "max_open_orders_exceeded": "order_limit",
    "insufficient_buying_power": "order_limit",
    "price_collar_exceeded": "order_limit",
}
CLASSES: Final[Mapping[str, str]] = {
    "session_end": "an intraday decision at the session's last bar: the engine refuses entries, the backtest waits",
    "opposite_side": "an order on the other side is open in the symbol",
    "strategy_cap": "the strategy's cap holds for position and open entries together",
    "hard_limit": "daily loss or drawdown has latched",
    "order_limit": "a limit on orders that the backtest does not have",
    "order_terms": "limit entries are sized at their limit, may go unfilled and are re-priced",
    "follows": "an earlier difference has left another position or another equity",
    "unexplained": "none of these",
}
"""Why a decision may differ; the last one is a defect."""

Key = tuple[datetime, str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """One side's decision."""

    signal: int
    target_qty: float
    reason: str


@dataclass(frozen=True, slots=True)
class DecisionDifference:
    """A decision that both did not make alike; None on the side that made none."""

    decided_at: datetime
    strategy_id: str
    symbol: str
    explanation: str
    engine: Said | None
    backtest: Said | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What engine and backtest decided on the same bars."""

    decisions: int
    """Bars of a strategy and symbol at which at least one of them decided."""
    equal: int
    differences: tuple[DecisionDifference, ...]

    @property
    def ratio(self) -> float | None:
        """Equal by all; None where neither decided anything."""
        return self.equal / self.decisions if self.decisions else None

    @property
    def unexplained(self) -> int:
        """Differences without a class."""
        return self.by_class.get("unexplained", 0)

    @property
    def by_class(self) -> dict[str, int]:
        """Number of differences per class."""
        return dict(sorted(Counter(each.explanation for each in self.differences).items()))


@contextmanager
def equal_limits(research: ResearchSettings) -> Generator[None]:
    """Settings of trading under which the engine may do what the backtest may, where the environment sets no other."""
    many = "100000"
    wanted = {
        "TRADING_EXECUTION_PREFER_LIMIT": "false",
        "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE_PCT_EQUITY": repr(research.gross_limit),
        "TRADING_ALLOW_SHORTS": "true" if research.allow_shorts else "false",
        "TRADING_MAX_DAILY_LOSS_PCT_EQUITY": "1",
        "TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT": "0.99",
        "TRADING_MAX_ORDERS_PER_MINUTE": many,
        "TRADING_MAX_ORDERS_PER_SYMBOL_PER_MINUTE": many,
        "TRADING_MAX_OPEN_ORDERS": many,
        "TRADING_MAX_OPEN_ORDERS_PER_SYMBOL": many,
    }
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def compare(
    tape: Tape,
    strategies: Sequence[BoundStrategy],
    research: ResearchSettings,
    settings: TradingSettings,
    *,
    seed: int = 0,
) -> Comparison:
    """Trade a tape twice, in the engine and in the backtest, from the same capital.

    Args:
        tape: the bars.
        strategies: who decides.
        research: capital, costs and limits of the backtest.
        settings: limits and orders of the engine; see :func:`equal_limits`.
        seed: of the simulator.
    """
    done = Replay(tape, strategies, settings, seed=seed, cash=Decimal(repr(research.capital))).run()
    engine: dict[Key, Said] = {}
    for row in done.decisions:
        detail: Mapping[str, Any] = row["decision"]
        reason = row["reasons"][0] if row["reasons"] else row["rationale"]
        said = Said(int(detail["signal"]), float(detail["target_qty"]), reason.partition(":")[0])
        engine[row["decided_at"], row["strategy_id"], row["symbol"]] = said
    backtest = _backtest(tape, strategies, research)
    last_bars = _last_bars(tape)
    differences: list[DecisionDifference] = []
    keys = sorted({*engine, *backtest})
    for key in keys:
        ours, theirs = engine.get(key), backtest.get(key)
        if ours != theirs:
            why = _explanation(key, ours, last_bars, follows=bool(differences), limits=settings.execution.prefer_limit)
            differences.append(DecisionDifference(*key, why, ours, theirs))
    return Comparison(len(keys), len(keys) - len(differences), tuple(differences))


def _backtest(tape: Tape, strategies: Sequence[BoundStrategy], research: ResearchSettings) -> dict[Key, Said]:
    columns = ("symbol", "ts", "open", "high", "low", "close", "volume")
    rows = [(b.symbol, moment_of(b.opens_at), b.open, b.high, b.low, b.close, b.volume) for b in tape.bars]
    frame = pl.DataFrame(rows, schema=list(columns), orient="row").with_columns(pl.col("ts").dt.cast_time_unit("us"))
    market = prepare_market(signals_from_bars(bars_from_frame(frame, tape.timeframe)).frame)
    window = Window(market.sessions[0], market.sessions[-1])
    found = simulate(market, strategies, research, window, research.capital, 0, close_out=False).decisions
    names = ("decided_at", "strategy_id", "symbol", "signal", "target_qty", "reason")
    return {
        (at, strategy, symbol): Said(signal, qty, reason)
        for at, strategy, symbol, signal, qty, reason in found.select(names).iter_rows()
    }


def _last_bars(tape: Tape) -> frozenset[tuple[str, datetime]]:
    """Ends of the last bar of every symbol in every session; for daily bars none."""
    if tape.timeframe == "1Day":
        return frozenset()
    calendar = TradingCalendar()
    newest: dict[tuple[str, Any], int] = {}
    for bar in tape.bars:
        if is_exchange_traded(bar.symbol):
            newest[bar.symbol, calendar.session_at(moment_of(bar.opens_at))] = bar.closes_at
    return frozenset((symbol, moment_of(at)) for (symbol, _), at in newest.items())


def _explanation(
    key: Key, engine: Said | None, last_bars: frozenset[tuple[str, datetime]], *, follows: bool, limits: bool
) -> str:
    decided_at, _, symbol = key
    if engine is not None and engine.reason in _BY_REASON:
        return _BY_REASON[engine.reason]
    if (symbol, decided_at) in last_bars:
        return "session_end"
    if limits:
        return "order_terms"
    return "follows" if follows else "unexplained"
