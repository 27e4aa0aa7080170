from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.features import (
    FEATURE_WARMUP_BARS,
    FEATURES,
    QUALITY_FLAGS,
    REGIME_LABELS,
    Bar,
    FeatureStream,
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
    return signals_from_bars(bars_from_frame(bars_of(prices, volumes, start), "1Min")).frame


def bars_of(
    prices: list[float], volumes: list[float], start: datetime = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
) -> pl.DataFrame:
    return pl.DataFrame(
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
    assert FEATURE_WARMUP_BARS[feature] == first_bar - 1


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


@pytest.fixture(scope="module")
def reference() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features of SPY 2017 to 2018, and what Stock.Indicators (Apache-2.0) computes for the same bars."""
    for name in ("stockindicators_default.csv", "stockindicators_default_expected.csv"):
        assert (SHARED / name).is_file(), f"this test needs the known answers in {SHARED / name}"
    bars = pl.read_csv(SHARED / "stockindicators_default.csv", infer_schema=False).with_columns(symbol=pl.lit("SPY"))
    expected = pl.read_csv(SHARED / "stockindicators_default_expected.csv")
    return signals_from_bars(bars_from_frame(bars)).frame, expected


@pytest.mark.parametrize(
    ("feature", "column"),
    [
        ("rsi14", "rsi14"),
        ("macd", "macd_12_26_9"),
        ("macd_signal", "macd_signal"),
        ("boll_mid", "sma20"),
        ("boll_upper", "bb20_2_upper"),
        ("boll_lower", "bb20_2_lower"),
    ],
)
def test_features_agree_with_an_independent_library(
    reference: tuple[pl.DataFrame, pl.DataFrame], feature: str, column: str
) -> None:
    ours, expected = reference
    assert ours["session"].to_list() == [date.fromisoformat(day) for day in expected["date"]]
    values, known = ours[feature].to_numpy(), expected[column].to_numpy()
    assert np.isfinite(known).sum() > 400
    np.testing.assert_allclose(values, known, rtol=0, atol=1e-9, equal_nan=True)


def test_weighted_prices_restart_with_the_session_and_look_back_five_minutes() -> None:
    frame = minutes([10.0, 20, 30, 40, 50, 60, 70], [1.0] * 7)
    assert frame["vwap_session"].to_list() == [10, 15, 20, 25, 30, 35, 40]
    assert frame["vwap_w5m"].to_list() == [10, 15, 20, 25, 30, 40, 50]
    next_day = datetime(2024, 1, 4, 14, 30, tzinfo=UTC)
    both = pl.concat([bars_of([10.0, 20], [1.0, 3.0]), bars_of([70.0, 90], [1.0, 1.0], next_day)])
    frame = signals_from_bars(bars_from_frame(both, "1Min")).frame
    assert frame["vwap_session"].to_list() == [10, 17.5, 70, 80]


def test_weighted_prices_without_volume_are_missing_and_daily_bars_have_none() -> None:
    frame = minutes([10.0, 20], [0.0, 0.0])
    assert frame["vwap_session"].is_nan().all()
    assert frame["vwap_w5m"].is_nan().all()
    assert daily([100.0] * 3)["vwap_session"].is_nan().all()


def test_a_bar_outside_every_session_neither_gets_nor_changes_a_feature() -> None:
    closes = [100.0 + index % 5 for index in range(30)]
    inside = minutes(closes, [10.0] * 30)
    early = datetime(2024, 1, 3, 14, 20, tzinfo=UTC)
    with_early = signals_from_bars(
        bars_from_frame(pl.concat([bars_of([500.0] * 10, [9.0] * 10, early), bars_of(closes, [10.0] * 30)]), "1Min")
    ).frame
    assert with_early["session"].null_count() == 10
    assert with_early.head(10).select("ema12", "rsi14", "vwap_session").to_numpy().size == 30
    assert np.isnan(with_early.head(10).select("ema12", "rsi14", "vwap_session").to_numpy()).all()
    assert with_early.tail(30).select(FEATURES).equals(inside.select(FEATURES), null_equal=True)


@pytest.mark.parametrize(
    ("distance", "label"),
    [(0.0199, "range"), (0.02, "trend"), (-0.0199, "range"), (-0.02, "mean_revert"), (float("nan"), "unknown")],
)
def test_the_regime_label_follows_the_distance_of_macd_from_its_signal(distance: float, label: str) -> None:
    assert regime_label(distance, 0.0) == REGIME_LABELS[label]


def test_a_stream_carries_given_values_of_the_bar() -> None:
    bar = Bar(
        symbol="AAPL",
        timeframe="1Min",
        open_ts=datetime(2024, 1, 3, 14, 30, tzinfo=UTC),
        event_ts=datetime(2024, 1, 3, 14, 31, tzinfo=UTC),
        session=date(2024, 1, 3),
        high=11.0,
        low=9.0,
        close=10.0,
        volume=5.0,
        bid=9.99,
        ask=10.01,
        vol_realized_w60s=0.003,
        staleness_ms=12.5,
        signal_quality_flag=QUALITY_FLAGS["late"],
    )
    row = dict(zip(FEATURES, FeatureStream().push(bar), strict=True))
    assert (row["price"], row["vwap_session"], row["imbalance_bid_px"], row["imbalance_ask_px"]) == (
        10,
        10,
        9.99,
        10.01,
    )
    assert row["spread"] == row["imbalance_spread"] == 10.01 - 9.99
    assert (row["vol_realized_w60s"], row["staleness_ms"], row["signal_quality_flag"]) == (0.003, 12.5, 2.0)
