"""What is measured about a data set, each number against a count by hand."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.frame import content_digest
from torghut_runtime.market.quality import required_null_rate, staleness_ms_p95, symbol_coverage
from torghut_runtime.market.signals import SignalSet, signals_from_bars


def signals(*days: date, symbol: str = "AAPL") -> pl.DataFrame:
    return pl.DataFrame(
        {"symbol": symbol, "ts": days, "open": 10.0, "high": 11.0, "low": 9.0, "close": 10.0, "volume": 1.0}
    )


def measured(*tables: pl.DataFrame) -> SignalSet:
    return signals_from_bars(bars_from_frame(pl.concat(tables), "1Day"))


def test_missing_sessions_are_counted_between_first_and_last_of_each_symbol() -> None:
    # 2024-01-01 is a holiday and 2024-01-15 another; MSFT begins later and is not charged for what lies before.
    aapl = signals(date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 5), date(2024, 1, 16))
    msft = signals(date(2024, 1, 5), date(2024, 1, 16), symbol="MSFT")
    quality = measured(aapl, msft).quality
    assert quality.missing_sessions == (10 - 4) + (7 - 2)
    assert quality.missing_session_ratio == pytest.approx(11 / 17)
    assert (quality.outside_session_rows, quality.outside_session_ratio) == (0, 0.0)


def test_rows_outside_sessions_are_counted() -> None:
    quality = measured(signals(date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 6))).quality
    assert (quality.outside_session_rows, quality.missing_sessions) == (1, 0)
    assert quality.outside_session_ratio == pytest.approx(1 / 3)


def test_pairs_have_no_sessions_to_miss() -> None:
    quality = measured(signals(date(2024, 1, 6), date(2024, 1, 9), symbol="BTC/USD")).quality
    assert quality.missing_sessions is None
    assert quality.missing_session_ratio is None
    assert quality.outside_session_rows is None
    assert quality.outside_session_ratio is None


def test_what_no_one_has_measured_is_none() -> None:
    quality = measured(signals(date(2024, 1, 2), date(2024, 1, 3))).quality
    assert quality.staleness_ms_p95 is None
    assert quality.required_feature_null_rate is None
    assert quality.symbol_coverage is None
    assert quality.unused_timeframe_rows is None
    assert quality.feature_schema_version == "3.0.0"


def test_staleness_is_the_interpolated_95th_percentile() -> None:
    at = datetime(2024, 1, 3, 15, tzinfo=UTC)
    delays = [timedelta(milliseconds=index) for index in range(101)]
    frame = pl.DataFrame(
        {"event_ts": [at] * 102, "ingest_ts": [*(at + delay for delay in delays), None]},
        schema_overrides={"ingest_ts": pl.Datetime("us", "UTC")},
    )
    assert staleness_ms_p95(frame) == pytest.approx(95.0)
    assert staleness_ms_p95(frame.tail(1)) is None


def frame_of(values: list[float | None], session: bool = True) -> pl.DataFrame:
    n = len(values)
    return pl.DataFrame(
        {
            "symbol": ["AAPL"] * n,
            "timeframe": ["1Min"] * n,
            "session": pl.Series([date(2024, 1, 3) if session else None] * n, dtype=pl.Date),
            "macd": pl.Series(values, dtype=pl.Float64).fill_null(float("nan")),
            "rsi14": [1.0] * n,
        }
    )


def test_one_incomplete_row_in_two_hundred_is_half_a_percent() -> None:
    frame = frame_of([1.0] * 199 + [None])
    assert required_null_rate(frame, ["macd", "rsi14"], 0) == 0.005
    assert required_null_rate(frame, ["rsi14"], 0) == 0.0
    assert required_null_rate(frame, [], 0) == 0.0


def test_the_warm_up_of_each_series_is_not_counted() -> None:
    frame = frame_of([None] * 3 + [1.0] * 7)
    both = pl.concat([frame, frame.with_columns(symbol=pl.lit("MSFT"))])
    assert required_null_rate(both, ["macd"], 0) == 0.3
    assert required_null_rate(both, ["macd"], 2) == pytest.approx(2 / 16)
    assert required_null_rate(both, ["macd"], 3) == 0.0
    assert required_null_rate(both, ["macd"], 10) is None


def test_rows_outside_sessions_cannot_lack_a_feature() -> None:
    assert required_null_rate(frame_of([None] * 5, session=False), ["macd"], 0) is None


def test_coverage_is_the_share_of_wanted_symbols_that_are_there() -> None:
    frame = frame_of([1.0])
    assert symbol_coverage(frame, ["AAPL", "MSFT", "IBM", "AAPL"]) == pytest.approx(1 / 3)
    assert symbol_coverage(frame, []) is None


def test_a_candidate_sees_its_own_symbols_and_timeframes() -> None:
    found = measured(signals(date(2024, 1, 2), date(2024, 1, 3)), signals(date(2024, 1, 2), symbol="MSFT"))
    quality = found.quality.for_candidate(
        found.frame, required_features=["price"], warmup=0, symbols=["AAPL", "IBM"], timeframes=["1Day"]
    )
    assert (quality.required_feature_null_rate, quality.symbol_coverage, quality.unused_timeframe_rows) == (0.0, 0.5, 0)
    none = found.quality.for_candidate(
        found.frame, required_features=["price"], warmup=0, symbols=[], timeframes=["1Min"]
    )
    assert (none.required_feature_null_rate, none.symbol_coverage, none.unused_timeframe_rows) == (None, 0.0, 3)


def test_the_digest_of_a_frame_knows_names_values_gaps_and_nothing_else() -> None:
    frame = pl.DataFrame({"a": [1.0, float("nan"), 0.0], "b": ["x", None, "y"], "c": [1, None, 3]})
    same = pl.DataFrame({"a": [1.0, -float("nan"), -0.0], "b": ["x", None, "y"], "c": [1, None, 3]})
    assert content_digest(frame) == content_digest(same)
    assert content_digest(frame) == content_digest(pl.concat([frame.head(1), frame.tail(2)]))
    others = [
        frame.rename({"a": "z"}),
        frame.select("b", "a", "c"),
        frame.head(2),
        frame.with_columns(a=pl.Series([1.0, float("nan"), 5e-324])),
        frame.with_columns(b=pl.Series(["x", "y", None])),
        frame.with_columns(b=pl.Series(["x", "", "y"])),
        frame.with_columns(c=pl.Series([1, 0, 3])),
        frame.with_columns(c=pl.Series([None, 1, 3], dtype=pl.Int64)),
    ]
    digests = [content_digest(each) for each in others]
    assert len({content_digest(frame), *digests}) == 1 + len(others)


def test_names_that_only_differ_in_where_one_ends_have_different_digests() -> None:
    assert content_digest(pl.DataFrame({"s": ["ab", "c"]})) != content_digest(pl.DataFrame({"s": ["a", "bc"]}))
    assert content_digest(pl.DataFrame({"s": ["a", "b"]})) != content_digest(pl.DataFrame({"s": ["b", "a"]}))
