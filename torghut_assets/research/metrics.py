"""Plain performance metrics of an account, all after costs (contract ``lane.md`` 7).

Pure functions over arrays and frames. A metric that is not defined (no trade, no variance) is ``None``, never 0 or
infinity. Validity statistics with their own literature are ``statistics``'s business.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from torghut_runtime.compiled import Integers, Vector

SESSIONS_PER_YEAR = 252
COST_COLUMNS = ("half_spread_cost", "impact_cost", "commission", "fees")


@dataclass(frozen=True)
class Drawdown:
    """The largest fall of equity from its highest value so far, the opening cash included.

    ``fraction`` is the largest relative fall, ``currency`` the largest absolute one (they may be different falls);
    ``sessions`` the longest time below a former peak.
    """

    fraction: float
    currency: float
    sessions: int


def mean_or_none(values: Vector) -> float | None:
    """Arithmetic mean; ``None`` without values."""
    return float(values.mean()) if len(values) else None


def sharpe_per_period(returns: Vector) -> float | None:
    """Mean over standard deviation (ddof 1) of the returns; ``None`` below two returns or without variance."""
    if len(returns) < 2:
        return None
    deviation = float(returns.std(ddof=1))
    return None if deviation <= 1e-15 else float(returns.mean()) / deviation


def annualized(sharpe: float | None) -> float | None:
    """Annual Sharpe ratio of independent session returns: √252 times the one per session."""
    return None if sharpe is None else sharpe * math.sqrt(SESSIONS_PER_YEAR)


def sortino_annualized(returns: Vector) -> float | None:
    """Mean over the root mean square of the negative returns (all periods counted), times √252.

    Sortino & van der Meer (1991), with a target of 0.
    """
    if len(returns) < 2:
        return None
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    return None if downside <= 1e-15 else float(returns.mean()) / downside * math.sqrt(SESSIONS_PER_YEAR)


def skewness(returns: Vector) -> float | None:
    """Population skewness, third central moment over the third power of the standard deviation (ddof 0)."""
    return _standardized_moment(returns, 3)


def kurtosis(returns: Vector) -> float | None:
    """Population kurtosis, 3 for a normal distribution."""
    return _standardized_moment(returns, 4)


def _standardized_moment(returns: Vector, power: int) -> float | None:
    if len(returns) < 2:
        return None
    centred = np.asarray(returns - returns.mean(), dtype=np.float64)
    variance = float(np.mean(centred**2))
    return None if variance <= 1e-30 else float(np.mean(centred**power)) / variance ** (power / 2)


def expected_shortfall(returns: Vector, level: float = 0.95) -> float | None:
    """Mean loss of the worst ``1 − level`` of the sessions (at least one), as a positive fraction.

    Acerbi & Tasche (2002), on the empirical distribution.
    """
    if len(returns) == 0:
        return None
    count = max(1, math.ceil(round(len(returns) * (1.0 - level), 9)))
    return float(-np.sort(returns)[:count].mean())


def drawdown(equity: Vector, opening: float, sessions: Integers | None = None) -> Drawdown:
    """Drawdown of an equity curve; the first peak is the opening cash.

    Args:
        equity: after every bar, in order of time.
        opening: equity before the first bar.
        sessions: number of the session of each bar, ascending; every bar is one of its own when left out.
    """
    if len(equity) == 0:
        return Drawdown(0.0, 0.0, 0)
    peaks = np.maximum(np.maximum.accumulate(equity), opening)
    falls = peaks - equity
    session = np.arange(len(equity), dtype=np.int64) if sessions is None else sessions
    below = falls > 0.0
    last = np.append(np.flatnonzero(np.diff(session)), len(session) - 1)
    longest = 0
    since: int | None = None
    for number, under in zip(session[last].tolist(), below[last].tolist(), strict=True):
        if not under:
            since = None
            continue
        since = number if since is None else since
        longest = max(longest, number - since + 1)
    return Drawdown(float(np.max(falls / peaks)), float(falls.max()), longest)


def total_costs(fills: pl.DataFrame) -> dict[str, float]:
    """Sum of every cost component in account currency."""
    return {name: float(fills[name].sum()) for name in COST_COLUMNS}


def traded_notional(fills: pl.DataFrame) -> float:
    """Quantity times price of all fills, both sides."""
    return float((fills["qty"] * fills["price"]).sum())


def turnover_per_year(notional: float, mean_equity: float, sessions: int) -> float | None:
    """Traded notional of both sides over mean equity and years of 252 sessions."""
    if sessions == 0 or mean_equity <= 0.0:
        return None
    return notional / mean_equity / (sessions / SESSIONS_PER_YEAR)


def capacity_notional(net_pnl: float, impact: float, capital: float) -> float | None:
    """Capital at which market impact halves the edge.

    Impact grows with the square of the size (it is proportional to the filled share of a bar's volume), everything else
    in proportion; with E the profit before impact and I the impact at ``capital``, I·k² = E·k/2 at k = E / 2I. No edge
    has no capacity (0); without any measured impact it is unknown.
    """
    edge = net_pnl + impact
    if edge <= 0.0:
        return 0.0
    return None if impact <= 0.0 else capital * edge / (2.0 * impact)


def round_trips(fills: pl.DataFrame) -> pl.DataFrame:
    """Trades from flat to flat, per strategy and symbol.

    Args:
        fills: of one account, in order of time.

    Returns:
        ``fold, strategy_id, symbol, opened_at, closed_at, side, qty, notional, costs, net_pnl``, ordered by
        (closed_at, strategy_id, symbol). A fill that turns a position around closes one trade and opens the next, its
        costs shared by quantity. What is not closed is no trade.
    """
    rows: list[tuple[object, ...]] = []
    open_trades: dict[tuple[str, str], _OpenTrade] = {}
    columns = ("fold", "strategy_id", "symbol", "filled_at", "side", "qty", "price", *COST_COLUMNS)
    for fold, strategy, symbol, at, side, qty, price, *parts in fills.select(columns).iter_rows():
        signed = qty if side == "buy" else -qty
        costs = float(sum(parts))
        key = (strategy, symbol)
        trade = open_trades.get(key)
        while signed != 0.0:
            if trade is None:
                trade = open_trades[key] = _OpenTrade(fold, at, "long" if signed > 0 else "short")
            closing = trade.qty * signed < 0.0
            part = math.copysign(min(abs(signed), abs(trade.qty)), signed) if closing else signed
            share = costs * abs(part) / qty
            trade.add(part, price, share)
            signed -= part
            if closing and trade.qty == 0.0:
                rows.append((trade.fold, strategy, symbol, trade.opened_at, at, trade.side, *trade.result()))
                del open_trades[key]
                trade = None
    schema = {
        "fold": pl.Int32(),
        "strategy_id": pl.String(),
        "symbol": pl.String(),
        "opened_at": pl.Datetime("us", "UTC"),
        "closed_at": pl.Datetime("us", "UTC"),
        "side": pl.String(),
        "qty": pl.Float64(),
        "notional": pl.Float64(),
        "costs": pl.Float64(),
        "net_pnl": pl.Float64(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort(
        "closed_at", "strategy_id", "symbol", maintain_order=True
    )


@dataclass
class _OpenTrade:
    fold: int
    opened_at: object
    side: str
    qty: float = 0.0
    entered: float = 0.0
    entry_notional: float = 0.0
    cash: float = 0.0
    costs: float = 0.0

    def add(self, signed: float, price: float, costs: float) -> None:
        if self.qty * signed >= 0.0:
            self.entered += abs(signed)
            self.entry_notional += abs(signed) * price
        self.qty += signed
        self.cash -= signed * price + costs
        self.costs += costs

    def result(self) -> tuple[float, float, float, float]:
        return self.entered, self.entry_notional, self.costs, self.cash


def coefficient_of_variation(values: Sequence[float]) -> float | None:
    """Standard deviation (ddof 1) over the absolute mean; ``None`` below two values or with a mean of 0."""
    if len(values) < 2:
        return None
    array = np.array(values, dtype=np.float64)
    mean = abs(float(array.mean()))
    return None if mean == 0.0 else float(array.std(ddof=1)) / mean


def geometric_annual_return(total: float, sessions: int) -> float | None:
    """Annual return that compounds to ``total`` (a fraction, above −1) over the given sessions."""
    if sessions == 0:
        return None
    return -1.0 if total <= -1.0 else (1.0 + total) ** (SESSIONS_PER_YEAR / sessions) - 1.0
