"""Signal files: every form of a payload, what is refused and where, order, duplicates and identity."""

import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from torghut_runtime.errors import InputError
from torghut_runtime.market.features import FEATURES, REGIME_LABELS
from torghut_runtime.market.signal_file import CHUNK_ROWS
from torghut_runtime.market.signals import SIGNAL_SCHEMA, SignalSet, read_signals

Reader = Callable[..., SignalSet]


def signal(
    minute: int = 1, symbol: str = "AAPL", *, payload: dict[str, Any] | None = None, **keys: Any
) -> dict[str, Any]:
    """One signal at 14:30 and ``minute`` minutes (UTC) of 2024-01-03."""
    at = datetime(2024, 1, 3, 14 + (30 + minute) // 60, (30 + minute) % 60, tzinfo=UTC)
    return {
        "event_ts": at.isoformat().replace("+00:00", "Z"),
        "symbol": symbol,
        "timeframe": "1Min",
        "payload": {"price": 100.0, "macd": {"macd": 0.5, "signal": 0.2}, "rsi14": 40} | (payload or {}),
        **keys,
    }


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def read_them(*rows: Any, text: str | None = None) -> SignalSet:
        path = tmp_path / "signals.json"
        path.write_text(json.dumps(rows) if text is None else text)
        return read_signals(path)

    return read_them


def refusal(read: Reader, *rows: Any, text: str | None = None) -> InputError:
    with pytest.raises(InputError) as raised:
        read(*rows, text=text)
    assert raised.value.file is not None
    assert raised.value.file.endswith("signals.json")
    return raised.value


def without(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}


@pytest.mark.parametrize(
    ("payload", "column", "value"),
    [
        ({"macd": {"macd": 1.5, "signal": 1, "hist": 0.25}}, "macd", 1.5),
        ({"macd": {"macd": 1.5, "signal": 1, "hist": 0.25}}, "macd_signal", 1.0),
        ({"macd": {"macd": 1.5, "signal": 1, "hist": 0.25}}, "macd_hist", 0.25),
        ({"macd": {"macd": 1.5, "signal": 1.25}}, "macd_hist", 0.25),
        ({"macd": 1.5, "macd_signal": 1.25, "macd_hist": 0.5}, "macd", 1.5),
        ({"macd": 1.5, "macd_signal": 1.25, "macd_hist": 0.5}, "macd_signal", 1.25),
        ({"macd": 1.5, "macd_signal": 1.25, "macd_hist": 0.5}, "macd_hist", 0.5),
        ({"macd": "1.5", "macd_signal": "1.25"}, "macd_hist", 0.25),
        ({"macd": {"macd": "1.5", "signal": " 1.25 "}}, "macd_signal", 1.25),
        ({"rsi14": 30, "rsi": 50}, "rsi14", 30.0),
        ({"rsi14": None, "rsi": "50.5"}, "rsi14", 50.5),
        ({"price": 101, "close": 102, "c": 103, "last": 104}, "close", 101.0),
        ({"price": None, "close": 102, "c": 103, "last": 104}, "close", 102.0),
        ({"price": None, "c": 103, "last": 104}, "close", 103.0),
        ({"price": None, "last": "104.5"}, "price", 104.5),
        ({"ema12": 1, "ema26": "2"}, "ema12", 1.0),
        ({"ema12": 1, "ema26": "2"}, "ema26", 2.0),
        ({"vwap": {"session": 99, "w5m": "98.5"}}, "vwap_session", 99.0),
        ({"vwap": {"session": 99, "w5m": "98.5"}}, "vwap_w5m", 98.5),
        ({"boll": {"mid": 1, "upper": 2, "lower": 0.5}}, "boll_mid", 1.0),
        ({"boll": {"mid": 1, "upper": 2, "lower": 0.5}}, "boll_upper", 2.0),
        ({"boll": {"mid": 1, "upper": 2, "lower": 0.5}}, "boll_lower", 0.5),
        ({"vol_realized": {"w60s": "0.004"}}, "vol_realized_w60s", 0.004),
        ({"imbalance": {"spread": 0.02, "bid_px": 99.99, "ask_px": 100.01}}, "imbalance_spread", 0.02),
        ({"imbalance": {"spread": 0.02, "bid_px": 99.99, "ask_px": 100.01}}, "spread", 0.02),
        ({"imbalance": {"bid_px": 99.5, "ask_px": 100.5}}, "spread", 1.0),
        ({"imbalance": {"bid_px": 99.5, "ask_px": 100.5}}, "imbalance_bid_px", 99.5),
        ({"imbalance": {"bid_px": 99.5, "ask_px": 100.5}}, "ask", 100.5),
        ({"imbalance": {"bid_px": 99.5, "ask_px": 100.5}}, "half_spread_bps", 50.0),
        ({"spread": 5}, "half_spread_bps", 250.0),
        ({"spread": -1}, "half_spread_bps", None),
        ({"imbalance": {"bid_px": 101, "ask_px": 100}}, "half_spread_bps", None),
        ({"open": 99, "high": 101, "low": "98", "volume": 5000}, "open", 99.0),
        ({"open": 99, "high": 101, "low": "98", "volume": 5000}, "low", 98.0),
        ({"open": 99, "high": 101, "low": "98", "volume": 5000}, "volume", 5000.0),
        ({}, "open", 100.0),
        ({}, "high", 100.0),
        ({}, "low", 100.0),
        ({}, "volume", None),
        ({}, "ema12", None),
        ({"regime_label": "range"}, "route_regime_label", REGIME_LABELS["range"]),
        ({"macd": 0.0, "macd_signal": 0.02}, "route_regime_label", REGIME_LABELS["mean_revert"]),
        ({"macd": None}, "route_regime_label", REGIME_LABELS["unknown"]),
        ({"signal_quality_flag": "late"}, "signal_quality_flag", 2.0),
    ],
)
def test_every_form_of_a_payload(read: Reader, payload: dict[str, Any], column: str, value: float | None) -> None:
    found = read(signal(payload=payload)).frame
    assert dict(found.schema) == SIGNAL_SCHEMA
    if value is None:
        assert found[column].is_nan()[0]
    else:
        assert found[column][0] == pytest.approx(value, abs=1e-12)


def test_a_row_becomes_a_bar_that_ends_at_its_time(read: Reader) -> None:
    row = read(signal(ingest_ts="2024-01-03T14:31:02.5Z", seq=3, source="x")).frame.row(0, named=True)
    assert row["event_ts"] == datetime(2024, 1, 3, 14, 31, tzinfo=UTC)
    assert row["open_ts"] == datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
    assert (row["session"], row["seq"], row["staleness_ms"]) == (date(2024, 1, 3), 3, 2500.0)
    assert row["adjustment_factor"] == 1.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-03T14:31:00Z", datetime(2024, 1, 3, 14, 31, tzinfo=UTC)),
        ("2024-01-03T14:31:00.5z", datetime(2024, 1, 3, 14, 31, 0, 500_000, tzinfo=UTC)),
        ("2024-01-03t14:31:00+00:00", datetime(2024, 1, 3, 14, 31, tzinfo=UTC)),
        ("2024-01-03 09:31:00-05:00", datetime(2024, 1, 3, 14, 31, tzinfo=UTC)),
        ("2024-01-03T14:31:00.123456789Z", datetime(2024, 1, 3, 14, 31, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339(read: Reader, text: str, moment: datetime) -> None:
    assert read(signal(event_ts=text)).frame["event_ts"][0] == moment


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        (signal(event_ts="2024-01-03T14:31:00"), "event_ts", "needs a time zone"),
        (signal(event_ts="2024-01-03"), "event_ts", "needs a time zone"),
        (signal(event_ts="now"), "event_ts", "not an RFC 3339 time"),
        (signal(event_ts="2024-13-03T14:31:00Z"), "event_ts", "not an RFC 3339 time"),
        (signal(event_ts=""), "event_ts", "not an RFC 3339 time"),
        (signal(event_ts=5), "event_ts", "expected `str`"),
        (signal(ingest_ts="2024-01-03T14:31:00"), "ingest_ts", "needs a time zone"),
        (signal(symbol="A B"), "symbol", "not a symbol"),
        (signal(symbol=""), "symbol", "not a symbol"),
        (signal(symbol=None), "symbol", "expected `str`"),
        (signal(timeframe="1min"), "timeframe", "unknown timeframe '1min', known are 1Sec"),
        (signal(seq=-1), "seq", ">= 0"),
        (signal(seq="1"), "seq", "expected `int"),
        (signal(payload={"price": "NaN"}), "payload.price", "must be a finite number"),
        (signal(payload={"price": "-inf"}), "payload.price", "must be a finite number"),
        (signal(payload={"price": "1e999"}), "payload.price", "must be a finite number"),
        (signal(payload={"price": "ten"}), "payload.price", "must be a finite number"),
        (signal(payload={"price": ""}), "payload.price", "must be a finite number"),
        (signal(payload={"price": 0}), "payload.price", "a price must be above 0"),
        (signal(payload={"price": -1}), "payload.price", "a price must be above 0"),
        (signal(payload={"price": None}), "payload.price", "is missing, and so are close, c and last"),
        (signal(payload={"price": True}), "payload.price", "expected"),
        (signal(payload={"high": 99}), "payload.high", "is below another price"),
        (signal(payload={"low": 101}), "payload.low", "is above another price"),
        (signal(payload={"volume": -1}), "payload.volume", "must not be negative"),
        (signal(payload={"macd": {"macd": "nan"}}), "payload.macd.macd", "must be a finite number"),
        (signal(payload={"macd": [1]}), "payload.macd", "expected"),
        (signal(payload={"boll": 5}), "payload.boll", "expected"),
        (signal(payload={"feature_schema_version": "three"}), "payload.feature_schema_version", "no version"),
        (without(signal(), "event_ts"), "event_ts", "is missing"),
        (without(signal(), "symbol"), "symbol", "is missing"),
        (without(signal(), "timeframe"), "timeframe", "is missing"),
        (without(signal(), "payload"), "payload", "is missing"),
        ("a text", None, "expected `object`"),
    ],
)
def test_a_row_that_cannot_be_a_signal_is_named_with_file_row_and_field(
    read: Reader, row: Any, field: str | None, message: str
) -> None:
    error = refusal(read, signal(1), signal(2), row)
    assert (error.row, error.field) == (3, field)
    assert message in error.message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("lines", [False, True])
def test_json_that_holds_no_number_is_refused_with_its_place(read: Reader, number: str, lines: bool) -> None:
    texts = [json.dumps(signal(index)) for index in (1, 2, 3)]
    texts[1] = texts[1].replace('"rsi14": 40', f'"rsi14": {number}')
    error = refusal(read, text="\n".join(texts) if lines else f"[{','.join(texts)}]")
    assert (error.row, error.field) == (2, "payload.rsi14")
    assert ("out of range" if number == "1e999" else "NaN and infinities") in error.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no signals"),
        ("[]", "holds no signals"),
        ("  \n ", "holds no signals"),
        ("[{]", "is not JSON"),
        ('{"a": 1', "is not JSON"),
        ("[1, 2", "is not JSON"),
    ],
)
def test_files_that_hold_no_signals(read: Reader, text: str, message: str) -> None:
    assert message in refusal(read, text=text).message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json: does not exist"):
        read_signals(tmp_path / "absent.json")


def rows(n: int = 12) -> list[dict[str, Any]]:
    return [
        signal(minute, symbol, payload={"price": 100 + minute / 7, "rsi14": 30 + minute})
        for minute in range(1, n // 2 + 1)
        for symbol in ("AAPL", "MSFT")
    ]


def test_a_list_and_lines_of_the_same_rows_are_equal(read: Reader) -> None:
    listed = read(*rows())
    lines = read(text="\n".join(json.dumps(row) for row in rows()) + "\n\n")
    assert lines.frame.equals(listed.frame, null_equal=True)
    assert lines.quality == listed.quality
    assert lines.dataset_id == listed.dataset_id


def _white_space(data: list[dict[str, Any]]) -> str:
    return json.dumps(data, indent=4)


def _key_order(data: list[dict[str, Any]]) -> str:
    return json.dumps([dict(reversed(row.items())) for row in data])


def _row_order(data: list[dict[str, Any]]) -> str:
    return json.dumps(random.Random(3).sample(data, len(data)))


def _other_forms(data: list[dict[str, Any]]) -> str:
    changed = [
        {
            **row,
            "symbol": row["symbol"].lower(),
            "event_ts": row["event_ts"].replace("Z", "+00:00"),
            "payload": {
                "c": str(row["payload"]["price"]),
                "macd": 0.5,
                "macd_signal": "0.2",
                "rsi": row["payload"]["rsi14"],
                "something_else": 1,
            },
            "seq": 0,
        }
        for row in data
    ]
    return json.dumps(changed)


def _repeated(data: list[dict[str, Any]]) -> str:
    return json.dumps([*data, *data[3:7]])


@pytest.mark.parametrize("form", [_white_space, _key_order, _row_order, _other_forms, _repeated])
def test_the_identity_depends_on_content_alone(read: Reader, form: Callable[[Any], str]) -> None:
    plain, other = read(*rows()), read(text=form(rows()))
    assert other.dataset_id == plain.dataset_id
    assert other.frame.equals(plain.frame, null_equal=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row["payload"].update(price=row["payload"]["price"] + 1e-9),
        lambda row: row["payload"].update(rsi14=31.0001),
        lambda row: row["payload"].update(volume=1),
        lambda row: row.update(event_ts="2024-01-03T14:31:00.000001Z"),
        lambda row: row.update(seq=1),
        lambda row: row.update(ingest_ts="2024-01-03T14:32:00Z"),
        lambda row: row.update(timeframe="5Min"),
        lambda row: row["payload"].update(feature_schema_version="3.1.0"),
    ],
)
def test_one_changed_value_is_another_identity(read: Reader, change: Callable[[dict[str, Any]], None]) -> None:
    changed = rows()
    change(changed[0])
    assert read(*changed).dataset_id != read(*rows()).dataset_id


def test_duplicates_are_kept_once_and_counted_whatever_their_order(read: Reader) -> None:
    early = signal(1, ingest_ts="2024-01-03T14:31:01Z", payload={"price": 105})
    late = signal(1, ingest_ts="2024-01-03T14:31:09Z", payload={"price": 90})
    unknown = signal(1, payload={"price": 80})
    for order in ([early, late, unknown], [unknown, late, early], [late, unknown, early]):
        found = read(*order, signal(2))
        assert found.frame["close"].to_list() == [105, 100]
        assert (found.quality.duplicate_count, found.quality.duplicate_ratio) == (2, 0.5)
    others = read(signal(1), signal(1, seq=1), signal(1, timeframe="5Min"), signal(1, "MSFT"))
    assert (others.frame.height, others.quality.duplicate_count) == (4, 0)


def test_rows_out_of_order_give_the_same_frame_and_are_measured_in_the_file(read: Reader) -> None:
    ordered = [signal(minute) for minute in range(1, 6)]
    swapped = [ordered[0], ordered[2], ordered[1], ordered[4], ordered[3]]
    assert read(*swapped).frame.equals(read(*ordered).frame, null_equal=True)
    assert read(*ordered).quality.backward_steps == 0
    assert read(*swapped).quality.backward_steps == 2


def test_symbols_one_after_the_other_are_not_out_of_order(read: Reader) -> None:
    found = read(signal(1), signal(2), signal(1, "MSFT"), signal(2, "MSFT"))
    assert found.quality.backward_steps == 0
    assert found.frame.select("symbol").to_series().to_list() == ["AAPL", "MSFT", "AAPL", "MSFT"]


def test_rows_of_one_time_stand_by_symbol_and_sequence(read: Reader) -> None:
    found = read(signal(1, "MSFT"), signal(1, seq=2), signal(1, seq=1), signal(1))
    assert found.frame.select("symbol", "seq").rows() == [("AAPL", 0), ("AAPL", 1), ("AAPL", 2), ("MSFT", 0)]


@pytest.mark.parametrize(
    ("versions", "version"),
    [
        ([None, None], "3.0.0"),
        (["3.2.0", None], "3.2.0"),
        (["3.10.0", "3.9.0"], "3.9.0"),
        (["3.0.0", "2.9.0"], "2.9.0"),
        (["4.0", "3.0.0"], "4.0"),
        ([3, None], "3"),
    ],
)
def test_the_schema_version_that_counts_is_the_worst(read: Reader, versions: list[Any], version: str) -> None:
    data = [
        signal(index, payload={} if each is None else {"feature_schema_version": each})
        for index, each in enumerate(versions, start=1)
    ]
    assert read(*data).quality.feature_schema_version == version


def test_daily_signals_belong_to_the_session_that_their_time_lies_in(read: Reader) -> None:
    found = read(
        signal(event_ts="2024-07-03T17:00:00Z", timeframe="1Day"),
        signal(event_ts="2024-07-03T18:00:00Z", timeframe="1Day", symbol="MSFT"),
    ).frame
    assert found["session"].to_list() == [date(2024, 7, 3), None]
    assert found["open_ts"][0] == datetime(2024, 7, 3, 13, 30, tzinfo=UTC)


def test_available_features_are_those_that_some_row_has(read: Reader) -> None:
    found = read(signal(1), signal(2, payload={"ema12": 5}))
    assert found.available_features == {
        "price",
        "macd",
        "macd_signal",
        "macd_hist",
        "rsi14",
        "ema12",
        "route_regime_label",
    }
    assert found.source == "signals"
    assert set(FEATURES) >= found.available_features


def test_truncation_keeps_what_was_known(read: Reader) -> None:
    found = read(*(signal(minute) for minute in range(1, 6)))
    at = datetime(2024, 1, 3, 14, 33, tzinfo=UTC)
    cut = found.truncated(at)
    assert cut.frame["event_ts"].max() == at
    assert (cut.frame.height, cut.dataset_id, cut.quality) == (3, found.dataset_id, found.quality)


def test_a_fault_behind_the_first_chunk_has_its_row_in_the_file(read: Reader) -> None:
    line = json.dumps(signal(1))
    lines = [line] * CHUNK_ROWS
    error = refusal(read, text="\n".join([*lines, line, line.replace("100.0", '"x"')]))
    assert (error.row, error.field) == (CHUNK_ROWS + 2, "payload.price")
    error = refusal(read, text="\n".join([*lines, line[:-1]]))
    assert error.row == CHUNK_ROWS + 1
    many = read(text="\n".join([*lines, json.dumps(signal(2))]))
    assert (many.frame.height, many.quality.rows_read) == (2, CHUNK_ROWS + 1)


def test_an_hourly_signal_never_begins_before_the_one_before_has_ended(read: Reader) -> None:
    found = read(
        signal(event_ts="2024-01-03T20:30:00Z", timeframe="1Hour"),
        signal(event_ts="2024-01-03T21:00:00Z", timeframe="1Hour"),
    ).frame
    assert found["open_ts"].to_list() == [
        datetime(2024, 1, 3, 19, 30, tzinfo=UTC),
        datetime(2024, 1, 3, 20, 30, tzinfo=UTC),
    ]
    assert found.select(pl.col("session").n_unique()).item() == 1
