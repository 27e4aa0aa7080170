"""Bar files: what is refused and where, how bars are placed in sessions, adjusted and told apart."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from torghut_runtime.errors import InputError
from torghut_runtime.market.bars import bars_from_frame, read_bars
from torghut_runtime.market.features import compute_features
from torghut_runtime.market.frame import BASE_SCHEMA
from torghut_runtime.market.signals import features_of_bars, signals_from_bars

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
HEADER = "symbol,ts,open,high,low,close,volume"
ROWS = (
    "AAPL,2024-01-02T14:30:00Z,10,11,9,10,100",
    "AAPL,2024-01-02T14:31:00Z,10,11,9,10,100",
    "AAPL,2024-01-02T14:32:00Z,10,11,9,10,100",
)

Writer = Callable[..., Path]


@pytest.fixture
def csv(tmp_path: Path) -> Writer:
    def write(*rows: str, header: str = HEADER) -> Path:
        path = tmp_path / "bars.csv"
        path.write_text("\n".join((header, *rows)) + "\n")
        return path

    return write


def refusal(path: Path, timeframe: str | None = None) -> InputError:
    with pytest.raises(InputError) as raised:
        read_bars(path, timeframe)
    assert raised.value.file == str(path)
    return raised.value


def daily(days: list[object], symbol: str = "AAPL", **columns: object) -> pl.DataFrame:
    n = len(days)
    values = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.0, "volume": 100.0, **columns}
    return pl.DataFrame(
        {"symbol": symbol, "ts": days, **{k: v if isinstance(v, list) else [v] * n for k, v in values.items()}}
    )


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        ("AAPL,2024-01-02T14:33:00Z,10,11,9,,100", "close", "is missing"),
        ("AAPL,2024-01-02T14:33:00Z,10,11,9,  ,100", "close", "is missing"),
        ("AAPL,2024-01-02T14:33:00Z,10,11,9,ten,100", "close", "must be a number, was 'ten'"),
        ("AAPL,2024-01-02T14:33:00Z,10,11,9,NaN,100", "close", "must be a finite number"),
        ("AAPL,2024-01-02T14:33:00Z,10,inf,9,10,100", "high", "must be a finite number"),
        ("AAPL,2024-01-02T14:33:00Z,10,1e999,9,10,100", "high", "must be a finite number"),
        ("AAPL,2024-01-02T14:33:00Z,0,11,9,10,100", "open", "a price must be above 0"),
        ("AAPL,2024-01-02T14:33:00Z,10,11,-9,10,100", "low", "a price must be above 0"),
        ("AAPL,2024-01-02T14:33:00Z,10,9.99,9,10,100", "high", "9.99 is below another price of the bar"),
        ("AAPL,2024-01-02T14:33:00Z,10,11,10.01,10,100", "low", "10.01 is above another price of the bar"),
        ("AAPL,2024-01-02T14:33:00Z,10,11,9,10,-1", "volume", "must not be negative"),
        ("AAPL,2024-01-02T14:33:00Z,10,11,9,10,", "volume", "is missing"),
        (",2024-01-02T14:33:00Z,10,11,9,10,100", "symbol", "is missing"),
        ("A APL,2024-01-02T14:33:00Z,10,11,9,10,100", "symbol", "not a symbol"),
        ("AAPL,,10,11,9,10,100", "ts", "is missing"),
        ("AAPL,2024-01-02T14:33:00,10,11,9,10,100", "ts", "needs a time zone"),
        ("AAPL,2024-01-02 14:33,10,11,9,10,100", "ts", "needs a time zone"),
        ("AAPL,yesterday,10,11,9,10,100", "ts", "not an RFC 3339 time"),
        ("AAPL,2024-02-30,10,11,9,10,100", "ts", "was '2024-02-30'"),
        ("AAPL,2024-01-02T14:32:00Z,10,11,9,10,100", "ts", "must increase from row to row"),
        ("AAPL,2024-01-02T14:29:00Z,10,11,9,10,100", "ts", "goes back to"),
    ],
)
def test_a_row_that_cannot_be_a_bar_is_named_with_file_row_and_field(
    csv: Writer, row: str, field: str, message: str
) -> None:
    error = refusal(csv(*ROWS, row))
    assert (error.row, error.field) == (4, field)
    assert message in str(error)


def test_the_first_fault_of_a_column_is_told(csv: Writer) -> None:
    bad = "AAPL,2024-01-02T14:3{}:00Z,10,11,9,x,100"
    assert refusal(csv(ROWS[0], bad.format(1), bad.format(2))).row == 2


@pytest.mark.parametrize("column", ["symbol", "ts", "open", "high", "low", "close", "volume"])
def test_a_missing_column_is_named(csv: Writer, column: str) -> None:
    error = refusal(csv("AAPL,2024-01-02T14:33:00Z,10,11,9,10,100", header=HEADER.replace(column, "other", 1)))
    assert error.field == column
    assert "column is missing" in error.message


@pytest.mark.parametrize("column", ["bid", "ask", "vwap", "trade_count", "adjusted_close"])
def test_optional_columns_are_checked_where_they_are(csv: Writer, column: str) -> None:
    error = refusal(csv("AAPL,2024-01-02T14:33:00Z,10,11,9,10,100,x", header=f"{HEADER},{column}"), "1Min")
    assert (error.row, error.field) == (1, column)


def test_a_missing_quote_is_no_fault_but_a_missing_adjustment_is(csv: Writer) -> None:
    quoted = read_bars(csv("AAPL,2024-01-02T14:33:00Z,10,11,9,10,100,", header=f"{HEADER},bid"), "1Min")
    assert np.isnan(quoted.frame["bid"][0])
    error = refusal(csv("AAPL,2024-01-02T14:33:00Z,10,11,9,10,100,", header=f"{HEADER},adjusted_close"), "1Min")
    assert (error.row, error.field, error.message) == (1, "adjusted_close", "is missing")


def test_files_that_are_none(tmp_path: Path, csv: Writer) -> None:
    assert "does not exist" in str(refusal(tmp_path / "absent.csv"))
    assert "read from .csv or .parquet" in str(refusal(tmp_path / "bars.xlsx"))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 not")
    assert "cannot be read" in str(refusal(tmp_path / "torn.parquet"))
    assert "holds no bars" in str(refusal(csv()))


def test_columns_may_have_other_names_and_any_order(csv: Writer) -> None:
    header = "volume,close,symbol,low,high,open,date,adj_close,n"
    one = read_bars(csv("100,10,AAPL,9,11,10,2024-01-02,10,x", header=header), "1Day")
    other = bars_from_frame(daily([date(2024, 1, 2)], adjusted_close=10.0), "1Day")
    assert one.frame.equals(other.frame, null_equal=True)
    assert one.adjusted


def test_symbols_are_upper_cased_and_rows_of_several_symbols_may_be_mixed_or_not(csv: Writer) -> None:
    msft = [row.replace("AAPL", "msft") for row in ROWS]
    mixed = read_bars(csv(*(row for pair in zip(ROWS, msft, strict=True) for row in pair)))
    sorted_by_symbol = read_bars(csv(*msft, *ROWS))
    assert mixed.frame["symbol"].to_list() == ["AAPL", "MSFT"] * 3
    assert mixed.frame.equals(sorted_by_symbol.frame, null_equal=True)


def test_parquet_and_csv_of_the_same_bars_have_one_identity(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    closes = (100 + rng.random(50)).tolist()
    table = pl.DataFrame(
        {
            "symbol": "AAPL",
            "ts": [datetime(2024, 1, 2, 14, 30, tzinfo=UTC) + timedelta(minutes=index) for index in range(50)],
            "open": closes,
            "high": [value + 1 / 3 for value in closes],
            "low": [value - 1 / 3 for value in closes],
            "close": closes,
            "volume": rng.integers(0, 10**9, 50),
            "bid": [None, *closes[1:]],
        }
    )
    table.write_parquet(tmp_path / "a.parquet")
    table.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(tmp_path / "a.csv")
    table.with_columns(pl.col("ts").dt.convert_time_zone("Europe/Berlin")).write_parquet(tmp_path / "b.parquet")
    first, *others = (signals_from_bars(read_bars(tmp_path / name)) for name in ("a.parquet", "a.csv", "b.parquet"))
    for other in others:
        assert other.frame.equals(first.frame, null_equal=True)
        assert other.dataset_id == first.dataset_id
    changed = table.with_columns(close=pl.Series([*closes[:-1], closes[-1] + 1e-9]))
    assert signals_from_bars(bars_from_frame(changed)).dataset_id != first.dataset_id


@pytest.mark.parametrize(
    ("days"),
    [
        [date(2024, 7, 2), date(2024, 7, 3)],
        [datetime(2024, 7, 2), datetime(2024, 7, 3)],  # noqa: DTZ001
        ["2024-07-02", "2024-07-03"],
        ["2024-07-02T00:00:00Z", "2024-07-03T00:00:00+00:00"],
        ["2024-07-02T04:00:00Z", "2024-07-03T00:00:00-04:00"],
        ["2024-07-02T13:30:00Z", "2024-07-03T13:30:00Z"],
    ],
)
def test_a_daily_bar_belongs_to_the_session_of_its_date_however_it_is_written(days: list[object]) -> None:
    frame = bars_from_frame(daily(days)).frame
    assert frame["session"].to_list() == [date(2024, 7, 2), date(2024, 7, 3)]
    assert frame["open_ts"].to_list() == [datetime(2024, 7, day, 13, 30, tzinfo=UTC) for day in (2, 3)]
    assert frame["event_ts"].to_list() == [
        datetime(2024, 7, 2, 20, tzinfo=UTC),
        datetime(2024, 7, 3, 17, tzinfo=UTC),  # closes early before Independence Day
    ]


def test_an_hour_without_a_zone_is_no_date() -> None:
    with pytest.raises(InputError, match="needs a time zone"):
        bars_from_frame(daily([datetime(2024, 7, 2), datetime(2024, 7, 3, 4)]))  # noqa: DTZ001


def test_a_daily_bar_on_a_day_without_a_session_is_kept_outside() -> None:
    frame = bars_from_frame(daily([date(2024, 7, 3), date(2024, 7, 4), date(2024, 7, 5)])).frame
    assert frame["session"].to_list() == [date(2024, 7, 3), None, date(2024, 7, 5)]


def test_intraday_bars_end_with_the_session_on_half_days_and_full_ones() -> None:
    hours = [datetime(2024, 7, 3, 13, 30, tzinfo=UTC) + timedelta(hours=index) for index in range(5)]
    frame = bars_from_frame(daily(hours)).frame
    assert frame["event_ts"].to_list() == [
        *hours[1:4],
        datetime(2024, 7, 3, 17, tzinfo=UTC),
        datetime(2024, 7, 3, 18, 30, tzinfo=UTC),
    ]
    assert frame["session"].to_list() == [date(2024, 7, 3)] * 4 + [None]


def test_bars_of_real_minutes_lie_in_their_sessions_and_the_print_after_the_close_outside() -> None:
    source = SHARED / "stockindicators_intraday.csv"
    assert source.is_file(), f"this test needs {source}"
    table = pl.read_csv(source).with_columns(
        symbol=pl.lit("SPY"),
        ts=pl.col("date").str.to_datetime("%Y-%m-%d %H:%M").dt.replace_time_zone("America/New_York"),
    )
    bars = bars_from_frame(table.drop("date"))
    assert bars.timeframe == "1Min"
    per_session = bars.frame.group_by("session").len().sort("session", nulls_last=True)
    assert per_session["len"].to_list() == [390] * 4 + [4]


def test_pairs_have_the_utc_date_as_session_also_at_weekends() -> None:
    frame = bars_from_frame(daily([date(2024, 7, 6), date(2024, 7, 7)], symbol="btc/usd")).frame
    assert frame["session"].to_list() == [date(2024, 7, 6), date(2024, 7, 7)]
    assert frame["event_ts"][0] == datetime(2024, 7, 7, tzinfo=UTC)


def test_adjusted_closes_scale_prices_and_quotes_and_divide_volume() -> None:
    split = daily(
        [date(2014, 6, 6), date(2014, 6, 9)],
        open=[700.0, 94.0],
        high=[707.0, 95.0],
        low=[693.0, 93.0],
        close=[700.0, 94.0],
        volume=[1000.0, 7000.0],
        bid=[699.3, 93.9],
        ask=[700.7, 94.1],
        adjusted_close=[100.0, 94.0],
    )
    bars = bars_from_frame(split)
    assert bars.adjusted
    first = bars.frame.row(0, named=True)
    assert first["adjustment_factor"] == pytest.approx(1 / 7)
    for name, value in {"open": 100, "high": 101, "low": 99, "close": 100, "bid": 99.9, "ask": 100.1}.items():
        assert first[name] == pytest.approx(value)
    assert first["volume"] == pytest.approx(7000)
    assert first["close"] / first["adjustment_factor"] == pytest.approx(700)
    assert bars.frame.row(1, named=True)["adjustment_factor"] == 1.0


def test_without_adjusted_closes_the_factor_is_one() -> None:
    bars = bars_from_frame(daily([date(2024, 1, 2), date(2024, 1, 3)]))
    assert (bars.adjusted, bars.frame["adjustment_factor"].to_list()) == (False, [1.0, 1.0])
    assert dict(bars.frame.schema) == BASE_SCHEMA


@pytest.mark.parametrize(
    ("seconds", "timeframe"),
    [(1, "1Sec"), (60, "1Min"), (300, "5Min"), (900, "15Min"), (3600, "1Hour"), (86_400, "1Day"), (3 * 86_400, "1Day")],
)
def test_the_timeframe_is_the_shortest_distance(seconds: int, timeframe: str) -> None:
    start = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    times = [start, start + timedelta(seconds=seconds), start + timedelta(days=30)]
    assert bars_from_frame(daily(times)).timeframe == timeframe


@pytest.mark.parametrize("seconds", [2, 59, 120, 7200, 19 * 3600, 7 * 86_400, 28 * 86_400])
def test_a_distance_that_is_no_timeframe_is_refused(seconds: int) -> None:
    start = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    with pytest.raises(InputError, match="give --timeframe") as raised:
        bars_from_frame(daily([start + timedelta(seconds=seconds * index) for index in range(4)]))
    assert raised.value.field == "ts"


def test_two_timeframes_in_a_file_are_refused_and_one_bar_needs_a_word() -> None:
    start = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    minutes = daily([start + timedelta(minutes=index) for index in range(5)])
    fives = daily([start + timedelta(minutes=5 * index) for index in range(5)], symbol="MSFT")
    with pytest.raises(InputError, match="more than one timeframe: AAPL has 1Min, MSFT has 5Min"):
        bars_from_frame(pl.concat([minutes, fives]))
    assert bars_from_frame(pl.concat([minutes, fives]), "1Min").timeframe == "1Min"
    with pytest.raises(InputError, match="cannot be inferred from one bar"):
        bars_from_frame(minutes.head(1))
    assert bars_from_frame(minutes.head(1), "5Min").frame["event_ts"][0] == start + timedelta(minutes=5)


def test_bars_that_overlap_in_the_given_timeframe_are_refused_with_their_row() -> None:
    start = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    table = daily([start, start + timedelta(minutes=5), start + timedelta(minutes=9)])
    with pytest.raises(InputError, match="overlap: this one begins 240 s after") as raised:
        bars_from_frame(table, "5Min")
    assert (raised.value.row, raised.value.field) == (3, "ts")
    with pytest.raises(InputError, match="unknown timeframe '2Min'"):
        bars_from_frame(table, "2Min")


def test_columns_of_another_kind_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="must hold times or dates, holds Int64") as raised:
        bars_from_frame(daily([1, 2]))
    assert raised.value.field == "ts"
    with pytest.raises(InputError, match="must hold numbers, holds Boolean") as raised:
        bars_from_frame(daily([date(2024, 1, 2)], volume=True), "1Day")
    assert raised.value.field == "volume"


def test_a_pipeline_of_features_must_return_the_rows_it_was_given() -> None:
    bars = bars_from_frame(daily([date(2024, 1, 2), date(2024, 1, 3)]))
    with pytest.raises(InputError, match="must return the 2 rows it was given"):
        signals_from_bars(bars, lambda frame: compute_features(frame).head(1))
    with pytest.raises(InputError, match="without rsi14"):
        signals_from_bars(bars, lambda frame: compute_features(frame).drop("rsi14"))


def test_features_of_truncated_bars_are_those_of_the_past_alone() -> None:
    bars = bars_from_frame(daily([date(2024, 1, 2), date(2024, 1, 3)]))
    first = bars.frame["event_ts"][0]
    assert features_of_bars(bars, first).height == 1
    assert features_of_bars(bars, first - timedelta(seconds=1)).height == 0
    assert features_of_bars(bars, None).height == 2
