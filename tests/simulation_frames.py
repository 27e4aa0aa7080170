"""Small markets for simulation tests: frames whose feature column says what a strategy decides.

``Scripted`` reads its signal from the feature ``rsi14`` and its target fraction from ``ema12``, so that a test writes
decisions next to prices and sees what the account makes of them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation import SimulationResult, Window, prepare_market, simulate
from torghut_runtime.risk.costs import CostModel
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.contract import Strategy
from torghut_runtime.strategies.registry import BoundStrategy, bind

FIRST_SESSION = date(2024, 1, 2)
HOLD, BUY, SHORT, EXIT, TARGET = 0.0, 1.0, -1.0, 2.0, 3.0
FREE = CostModel(default_half_spread_bps=0, impact_bps_at_full_participation=0, sec_fee_rate=0, taf_per_share=0)


class Scripted(Strategy):
    """Says what the features say."""

    type = "scripted"
    version = "1.0.0"
    features = ("rsi14", "ema12")

    @staticmethod
    def step(f, p, pos, state, out):
        """Out of the script."""
        out[0] = f[0]
        out[1] = -f[1] if f[0] == -1.0 else f[1]
        out[2] = 1.0


def scripted(strategy_id: str = "scripted", **entry: object) -> BoundStrategy:
    """A scripted strategy with the given catalog keys."""
    keys = {"strategy_id": strategy_id, "strategy_type": "scripted", "version": "1.0.0", "base_timeframe": "1Min"}
    return bind(StrategyEntry.model_validate({**keys, **entry}), Scripted)


def minutes(
    symbol: str,
    closes: Sequence[float],
    *,
    opens: Sequence[float] | None = None,
    signals: Sequence[float] | Mapping[int, float] = (),
    fractions: Sequence[float] | Mapping[int, float] = (),
    volume: float | Sequence[float] = 1e9,
    half_spread_bps: float = np.nan,
    per_session: int = 390,
    offset: timedelta = timedelta(0),
) -> pl.DataFrame:
    """One-minute bars from the open of consecutive weekdays on; opens are the previous closes unless given."""
    n = len(closes)
    opened: list[datetime] = []
    sessions: list[date] = []
    day = FIRST_SESSION
    for index in range(n):
        if index and index % per_session == 0:
            day += timedelta(days=3 if day.weekday() == 4 else 1)
        bell = datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC)
        opened.append(bell + timedelta(minutes=index % per_session))
        sessions.append(day)
    opens = list(opens) if opens is not None else [closes[0], *closes[:-1]]
    return pl.DataFrame(
        {
            "event_ts": [moment + timedelta(minutes=1) + offset for moment in opened],
            "open_ts": [moment + offset for moment in opened],
            "symbol": symbol,
            "timeframe": "1Min",
            "seq": 0,
            "session": sessions,
            "open": np.array(opens, dtype=float),
            "close": np.array(closes, dtype=float),
            "volume": np.full(n, volume, dtype=float) if np.isscalar(volume) else np.array(volume, dtype=float),
            "half_spread_bps": half_spread_bps,
            "rsi14": _spread(signals, n),
            "ema12": _spread(fractions, n, default=1.0),
        },
        schema_overrides={"event_ts": pl.Datetime("us", "UTC"), "open_ts": pl.Datetime("us", "UTC")},
    )


def run(
    *frames: pl.DataFrame,
    strategies: Sequence[BoundStrategy] | None = None,
    cash: float = 100_000.0,
    close_out: bool = True,
    **settings: object,
) -> SimulationResult:
    """Simulate the whole of the given frames; without costs unless ``costs`` are given."""
    frame = pl.concat(frames).sort("event_ts", "symbol", "seq")
    market = prepare_market(frame)
    window = Window(market.sessions[0], market.sessions[-1])
    chosen = ResearchSettings.model_validate({"costs": FREE, **settings})
    return simulate(market, strategies or [scripted()], chosen, window, cash, 0, close_out=close_out)


def _spread(values: Sequence[float] | Mapping[int, float], n: int, default: float = 0.0) -> np.ndarray:
    spread = np.full(n, default)
    for index, value in values.items() if isinstance(values, Mapping) else enumerate(values):
        spread[index] = value
    return spread
