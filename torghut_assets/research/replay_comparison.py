"""The engine on the simulator against the backtest of the same bars: every decision that differs, and why it may.

The second figure of parity: the first says that recorded steps are repeated, this one that an account which trades by
orders decides what research said it would. Differences have classes (``docs/runtime.md``, "Compared with the
backtest"); one without a class is a defect. How classes are found is
:mod:`torghut_assets.research.replay_differences`'s business; reading files and printing belong to the command.
"""

import os
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl

from torghut_assets.research.backtest_positions import BacktestPositions
from torghut_assets.research.replay_differences import UNEXPLAINED, Asked, Explainer, Key, Said
from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation import SimulationResult, Window, prepare_market, simulate
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.clock import moment_of
from torghut_runtime.compiled import functions_as_arguments
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.replay import Replay
from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.market.signals import signals_from_bars
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings


@dataclass(frozen=True, slots=True)
class DecisionDifference:
    """A decision that both did not make alike; None on the side that made none."""

    decided_at: datetime
    strategy_id: str
    symbol: str
    explanation: str
    first: str
    """Class of the difference that this one goes back to; its own where it follows from none."""
    engine: Said | None
    backtest: Said | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What engine and backtest decided on the same bars."""

    decisions: int
    """Bars of a strategy and symbol at which at least one of them decided."""
    equal: int
    alike: int
    """Those of them that both decided with the same shares, since as many bars, and with the same orders open."""
    equal_alike: int
    differences: tuple[DecisionDifference, ...]

    @property
    def ratio(self) -> float | None:
        """Equal by all; None where neither decided anything."""
        return self.equal / self.decisions if self.decisions else None

    @property
    def ratio_alike(self) -> float | None:
        """Equal by all that were decided from the same position; None without one.

        An early difference of a rule that is always in or on its way out leaves other positions for as long as it
        trades; here those that follow do not count again.
        """
        return self.equal_alike / self.alike if self.alike else None

    @property
    def unexplained(self) -> int:
        """Differences without a class."""
        return self.by_class.get(UNEXPLAINED, 0)

    @property
    def by_class(self) -> dict[str, int]:
        """Number of differences per class."""
        return dict(sorted(Counter(each.explanation for each in self.differences).items()))

    @property
    def by_first(self) -> dict[str, int]:
        """Number of differences per class of the one that they go back to."""
        return dict(sorted(Counter(each.first for each in self.differences).items()))


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
    kept = _Kept()
    recorder = Recorder(settings.mode.account_label, kept, mode="paper", adapter="simulator")
    cash = Decimal(repr(research.capital))
    done = Replay(tape, strategies, settings, seed=seed, cash=cash, recorder=recorder).run()
    ends = {moment_of(bar.opens_at): moment_of(bar.closes_at) for bar in tape.bars}
    engine: dict[Key, Said] = {}
    for row in done.decisions:
        detail: Mapping[str, Any] = row["decision"]
        reason = row["reasons"][0] if row["reasons"] else row["rationale"]
        said = Said(int(detail["signal"]), float(detail["target_qty"]), reason.partition(":")[0])
        # A decision belongs to its bar, also where it waited for another order's end.
        engine[ends[row["bar_ts"]], row["strategy_id"], row["symbol"]] = said
    result = _backtest(tape, strategies, research)
    with functions_as_arguments():
        return _compared(tape, strategies, research, settings, engine, result, kept.steps)


class _Kept:
    """Keeps every recorded step."""

    is_full = False

    def __init__(self) -> None:
        self.steps: dict[Key, StepRecord] = {}

    def take(self, steps: Sequence[StepRecord]) -> None:
        for each in steps:
            self.steps[each.decided_at, each.strategy.strategy_id, each.symbol] = each


def _compared(
    tape: Tape,
    strategies: Sequence[BoundStrategy],
    research: ResearchSettings,
    settings: TradingSettings,
    engine: Mapping[Key, Said],
    result: SimulationResult,
    steps: Mapping[Key, StepRecord],
) -> Comparison:
    closes: dict[str, list[datetime]] = {}
    prices: dict[tuple[str, datetime], float] = {}
    for bar in tape.bars:
        closed_at = moment_of(bar.closes_at)
        closes.setdefault(bar.symbol, []).append(closed_at)
        prices[bar.symbol, closed_at] = bar.close
    positions = BacktestPositions(result, closes)
    explainer = Explainer(
        strategies,
        positions.account,
        _last_bars(tape),
        research,
        limit_orders=settings.execution.prefer_limit,
    )
    backtest = _decisions(result)
    decided = {*engine, *backtest}
    differing = Counter((key[0], key[2]) for key in decided if engine.get(key) != backtest.get(key))
    differences: list[DecisionDifference] = []
    alike = equal_alike = 0
    for key in sorted({*decided, *steps}):
        slot = (key[1], key[2])
        step = steps.get(key)
        price = prices[key[2], key[0]]
        asked = None if step is None else Asked(step, positions.at(slot, key[0], price), price)
        if asked is not None:
            explainer.seen(slot, asked)
        if key not in decided:
            continue
        ours, theirs = engine.get(key), backtest.get(key)
        is_alike = asked is not None and asked.is_alike
        alike += is_alike
        if ours == theirs:
            equal_alike += is_alike
            explainer.decided(key)
        else:
            why, first = explainer.explain(key, ours, theirs, asked, is_netted=differing[key[0], key[2]] > 1)
            differences.append(DecisionDifference(*key, why, first, ours, theirs))
    equal = len(decided) - len(differences)
    return Comparison(len(decided), equal, alike, equal_alike, tuple(differences))


def _backtest(tape: Tape, strategies: Sequence[BoundStrategy], research: ResearchSettings) -> SimulationResult:
    columns = ("symbol", "ts", "open", "high", "low", "close", "volume")
    rows = [(b.symbol, moment_of(b.opens_at), b.open, b.high, b.low, b.close, b.volume) for b in tape.bars]
    frame = pl.DataFrame(rows, schema=list(columns), orient="row").with_columns(pl.col("ts").dt.cast_time_unit("us"))
    market = prepare_market(signals_from_bars(bars_from_frame(frame, tape.timeframe)).frame)
    window = Window(market.sessions[0], market.sessions[-1])
    return simulate(market, strategies, research, window, research.capital, 0, close_out=False)


def _decisions(result: SimulationResult) -> dict[Key, Said]:
    names = ("decided_at", "strategy_id", "symbol", "signal", "target_qty", "reason")
    return {
        (at, strategy, symbol): Said(signal, qty, reason)
        for at, strategy, symbol, signal, qty, reason in result.decisions.select(names).iter_rows()
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
