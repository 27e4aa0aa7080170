"""The streaming driver of the features gives the same bits as the batch driver, whatever the bars are."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.features import FEATURES, Bar, FeatureStream, compute_features
from torghut_runtime.market.timeframe import TIMEFRAMES

OPEN = datetime(2024, 11, 27, 14, 30, tzinfo=UTC)
"""The Wednesday before Thanksgiving: a session, a holiday, and a session of half a day follow."""

price = st.floats(0.01, 1e5, allow_nan=False, width=64)


@st.composite
def series(draw: st.DrawFn) -> tuple[str, str, pl.DataFrame]:
    """Bars of one symbol and timeframe, with gaps, quotes here and there, in and out of sessions."""
    symbol = draw(st.sampled_from(["AAPL", "MSFT", "BTC/USD"]))
    timeframe = draw(st.sampled_from(list(TIMEFRAMES)))
    step = timedelta(seconds=TIMEFRAMES[timeframe])
    begin = OPEN - draw(st.sampled_from([timedelta(0), timedelta(minutes=10), timedelta(hours=15)]))
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    moments: list[datetime] = []
    at = begin
    for _ in range(n):
        moments.append(at)
        at += step * int(rng.choice([1, 1, 1, 1, 2, 30, 400]))
    level = draw(price)
    closes = level * np.exp(np.cumsum(rng.normal(0, draw(st.sampled_from([0.0, 1e-4, 0.02])), n)))
    highs, lows = closes * (1 + rng.random(n) * 0.01), closes * (1 - rng.random(n) * 0.01)
    table = pl.DataFrame(
        {
            "symbol": symbol,
            "ts": moments,
            "open": closes,
            "high": highs,
            "low": lows,
            "close": closes,
            "volume": np.where(rng.random(n) < 0.2, 0.0, np.round(rng.random(n) * 1e6)),
            "bid": np.where(rng.random(n) < 0.3, np.nan, closes * 0.999),
            "ask": np.where(rng.random(n) < 0.3, np.nan, closes * 1.001),
        }
    ).with_columns(pl.col("bid", "ask").fill_nan(None))
    return symbol, timeframe, table


def frames(drawn: list[tuple[str, str, pl.DataFrame]]) -> pl.DataFrame:
    tables = [bars_from_frame(table, timeframe).frame for _, timeframe, table in drawn]
    return pl.concat(tables).sort("event_ts", "symbol", "seq", "timeframe")


@settings(max_examples=60, deadline=None)
@given(st.lists(series(), min_size=1, max_size=4, unique_by=lambda each: each[:2]))
def test_streaming_and_batch_are_bitwise_equal(drawn: list[tuple[str, str, pl.DataFrame]]) -> None:
    frame = frames(drawn)
    batch = compute_features(frame).select(FEATURES).to_numpy()
    stream = FeatureStream()
    rows = [
        stream.push(
            Bar(
                symbol=row["symbol"],
                timeframe=row["timeframe"],
                open_ts=row["open_ts"],
                event_ts=row["event_ts"],
                session=row["session"],
                high=row["high"],
                low=row["low"],
                close=row["close"],
                volume=row["volume"],
                bid=row["bid"],
                ask=row["ask"],
            )
        )
        for row in frame.iter_rows(named=True)
    ]
    assert np.array(rows).tobytes() == np.ascontiguousarray(batch).tobytes()


@settings(max_examples=40, deadline=None)
@given(st.lists(series(), min_size=1, max_size=4, unique_by=lambda each: each[:2]), st.data())
def test_the_past_does_not_depend_on_the_future(
    drawn: list[tuple[str, str, pl.DataFrame]], data: st.DataObject
) -> None:
    frame = frames(drawn)
    cut = data.draw(st.integers(0, frame.height))
    whole = compute_features(frame).select(FEATURES).head(cut).to_numpy()
    part = compute_features(frame.head(cut)).select(FEATURES).to_numpy()
    assert np.ascontiguousarray(whole).tobytes() == np.ascontiguousarray(part).tobytes()


@settings(max_examples=40, deadline=None)
@given(st.lists(series(), min_size=2, max_size=4, unique_by=lambda each: each[:2]))
def test_a_series_does_not_depend_on_the_others(drawn: list[tuple[str, str, pl.DataFrame]]) -> None:
    symbol, timeframe, _ = drawn[0]
    together = compute_features(frames(drawn)).filter(symbol=symbol, timeframe=timeframe)
    alone = compute_features(frames(drawn[:1]))
    assert together.equals(alone, null_equal=True)
