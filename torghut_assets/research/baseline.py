"""Baselines: what a candidate is compared with, walked through the same test windows with the same account rules.

Buy and hold at equal weight, the predecessor's MACD/RSI rule with its default parameters, and cash. Nothing is chosen:
a baseline has no parameters to fit. Whether a candidate beats them is judged in the gates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from torghut_assets.research import metrics
from torghut_assets.research.folds import Fold
from torghut_assets.research.walkforward import Chain, Setup, run_chain, windows
from torghut_runtime.compiled import Vector
from torghut_runtime.strategies.buy_and_hold import BuyAndHold
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import Strategy
from torghut_runtime.strategies.legacy_macd_rsi import LegacyMacdRsi
from torghut_runtime.strategies.registry import BoundStrategy, bind

BUY_AND_HOLD, LEGACY, CASH = "buy_and_hold", "legacy_macd_rsi", "cash"


@dataclass(frozen=True)
class Baseline:
    """One baseline: what it did, or why it could not be run.

    ``unavailable`` names what the data lack; then there is no chain and the baseline is left out of comparisons.
    """

    name: str
    chain: Chain | None
    unavailable: str | None = None


def run_baselines(setup: Setup) -> list[Baseline]:
    """Simulate the baselines over the candidate's universe, data and folds."""
    return [
        Baseline(BUY_AND_HOLD, run_chain(setup, [[_buy_and_hold(setup, fold)] for fold in setup.folds])),
        _legacy(setup),
        Baseline(CASH, None),
    ]


def _buy_and_hold(setup: Setup, fold: Fold) -> BoundStrategy:
    trading = _symbols_in(setup, fold.test.first_session) or list(setup.market.symbols)
    return _bound(BuyAndHold, setup, trading)


def _legacy(setup: Setup) -> Baseline:
    missing = [name for name in LegacyMacdRsi.features if name not in setup.signals.available_features]
    if missing:
        return Baseline(LEGACY, None, f"the data have no {', '.join(missing)}")
    bound = _bound(LegacyMacdRsi, setup, list(setup.market.symbols))
    return Baseline(LEGACY, run_chain(setup, [[bound]] * len(setup.folds)))


def _bound(strategy: type[Strategy], setup: Setup, symbols: Sequence[str]) -> BoundStrategy:
    entry = StrategyEntry(
        strategy_id=f"baseline-{strategy.type}",
        name=f"baseline-{strategy.type}",
        strategy_type=strategy.type,
        version=strategy.version,
        base_timeframe=setup.strategies[0].entry.base_timeframe,
        universe_symbols=tuple(symbols) or None,
        max_position_pct_equity=1.0 / max(len(symbols), 1),
    )
    return bind(entry, strategy)


def _symbols_in(setup: Setup, session: date) -> list[str]:
    frame = setup.market.frame.filter(
        pl.col("session") == session, pl.col("timeframe") == setup.strategies[0].entry.base_timeframe
    )
    return frame["symbol"].unique().sort().to_list()


def scaled_pnl(baseline: Baseline, returns: Vector, capital: float) -> float | None:
    """Net profit of a baseline as if it had run at the candidate's volatility.

    Args:
        baseline: what to scale; ``None`` comes back for one that could not be run.
        returns: the candidate's session returns.
        capital: opening cash of both.
    """
    if baseline.name == CASH:
        return 0.0
    if baseline.chain is None:
        return None
    own = baseline.chain.session_returns
    if len(own) < 2 or len(returns) < 2:
        return 0.0
    volatility = float(own.std(ddof=1))
    if volatility <= 1e-15:
        return 0.0
    return (baseline.chain.closing_cash - capital) * float(returns.std(ddof=1)) / volatility


def equal_baselines(setup: Setup, decisions: pl.DataFrame, baselines: Sequence[Baseline]) -> list[str]:
    """Names of the baselines that decided the same, bar by bar, whatever the candidate calls itself.

    Sizes change what is decided (an entry that found no room is tried again), so a candidate of one strategy is also
    compared with the baseline's rule under the candidate's own limits.
    """
    own = _directions(decisions)
    equal: list[str] = []
    for baseline in baselines:
        if own.height == 0:
            same = baseline.name == CASH
        elif baseline.chain is None:
            same = False
        else:
            same = own.equals(_directions(baseline.chain.frame("decisions")))
            same = same or _equal_under_own_limits(setup, decisions, baseline.name)
        if same:
            equal.append(baseline.name)
    return equal


def _equal_under_own_limits(setup: Setup, decisions: pl.DataFrame, name: str) -> bool:
    """Compared fold by fold, so that the first difference ends the simulation."""
    if len(setup.strategies) != 1:
        return False
    (own,) = setup.strategies
    strategy = BuyAndHold if name == BUY_AND_HOLD else LegacyMacdRsi
    kept: dict[str, object] = {} if own.params.qty is None else {"qty": own.params.qty}
    changes = {"strategy_type": strategy.type, "version": strategy.version, "params": kept, "search": {}}
    bound = bind(own.entry.model_copy(update=changes), strategy)
    return all(
        _directions(decisions.filter(pl.col("fold") == window.fold)).equals(_directions(window.decisions))
        for window in windows(setup, [[bound]] * len(setup.folds))
    )


def _directions(decisions: pl.DataFrame) -> pl.DataFrame:
    """Direction of every decision: 1 to be long, −1 to be short, 0 to be out."""
    direction = (
        pl.when(pl.col("signal") == 2)
        .then(0)
        .when(pl.col("signal") == 3)
        .then(pl.col("target_qty").sign())
        .otherwise(pl.col("signal"))
        .cast(pl.Int8)
    )
    rows = decisions.select("symbol", "decided_at", direction=direction).unique()
    return rows.sort("decided_at", "symbol", "direction")


def baseline_sharpe(baseline: Baseline) -> float | None:
    """Annualised Sharpe ratio of a baseline."""
    if baseline.chain is None:
        return None
    return metrics.annualized(metrics.sharpe_per_period(baseline.chain.session_returns))


def baseline_equity(baseline: Baseline, capital: float) -> Vector:
    """Equity after every session, for pictures."""
    if baseline.chain is None:
        return np.empty(0)
    return np.asarray(capital * np.cumprod(1.0 + baseline.chain.session_returns), dtype=np.float64)
