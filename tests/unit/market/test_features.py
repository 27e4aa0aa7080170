from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.features import (
    FEATURES,
    QUALITY_FLAGS,
    REGIME_LABELS,
    Bar,
    FeatureStream,
    compute_features,
    regime_label,
)
from torghut_runtime.market.signals import signals_from_bars

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


def daily(closes: list[float]) -> pl.DataFrame:
    """Features of daily bars with the given closes, on consecutive sessions from 2017-01-03."""
    from torghut_runtime.market.calendar import TradingCalendar

    days = TradingCalendar().sessions(date(2017, 1, 3), date(2030, 1, 1))[: len(closes)]
    table = pl.DataFrame({"symbol": "SPY", "ts": days, "close": closes}).with_columns(
        open="close", high="close", low="close", volume=pl.lit(100.0)
    )
    return signals_from_bars(bars_from_frame(table, "1Day")).frame


def minutes(
    prices: list[float], volumes: list[float], start: datetime = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
) -> pl.DataFrame:
    """Features of one-minute bars of AAPL, by default from the opening bell of 2024-01-03."""
    table = pl.DataFrame(
        {
            "symbol": "AAPL",
            "ts": [start + timedelta(minutes=index) for index in range(len(prices))],
            "open": prices,
            "high": prices,
            "low": prices,
            "close": prices,
            "volume": volumes,
        }
    )
    return signals_from_bars(bars_from_frame(table, "1Min")).frame


@pytest.mark.parametrize(
    ("feature", "first_bar"),
    [
        ("ema12", 12),
        ("ema26", 26),
        ("macd", 26),
        ("macd_signal", 34),
        ("macd_hist", 34),
        ("rsi14", 15),
        ("boll_mid", 20),
    ],
)
def test_a_feature_begins_at_the_bar_that_completes_its_window(feature: str, first_bar: int) -> None:
    values = daily([100.0 + index % 7 for index in range(40)])[feature].to_numpy()
    assert np.isnan(values[: first_bar - 1]).all()
    assert np.isfinite(values[first_bar - 1 :]).all()


def test_averages_are_seeded_with_the_simple_mean() -> None:
    frame = daily([float(value) for value in range(1, 28)])
    assert frame["ema12"][11] == pytest.approx(6.5, abs=1e-12)
    assert frame["ema12"][12] == pytest.approx(6.5 + (13 - 6.5) * 2 / 13, abs=1e-12)
    assert frame["ema26"][25] == pytest.approx(13.5, abs=1e-12)
    assert frame["macd"][25] == pytest.approx(frame["ema12"][25] - 13.5, abs=1e-12)


def test_relative_strength_without_losses_is_100_and_without_movement_50() -> None:
    assert daily([float(value) for value in range(100, 120)])["rsi14"][-1] == 100.0
    assert daily([100.0] * 20)["rsi14"][-1] == 50.0
    assert daily([float(value) for value in range(120, 100, -1)])["rsi14"][-1] == 0.0


# SPY 2017-03-01 to 2017-03-08: Stock.Indicators, tests/indicators (Apache-2.0), typed in.
SPY_CLOSES = [
    212.8, 214.06, 213.89, 214.66, 213.95, 213.95, 214.55, 214.02, 214.51, 213.75, 214.22, 213.43, 214.21, 213.66,
    215.03, 216.89, 216.66, 216.32, 214.98, 214.96, 215.05, 215.19, 216.67, 216.28, 216.29, 216.58, 217.86, 218.72,
    219.91, 220.79, 220.94, 220.77, 221.75, 221.74,
]  # fmt: skip
