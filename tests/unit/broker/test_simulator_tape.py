"""Tapes: from files of every kind, at traded prices, made up from a seed; and driving the engine by quotes."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from simulated_days import MINUTE, OPEN, Watched, flat, minute_bars

from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.instants import SECOND, parse_moment, rfc3339
from torghut_runtime.broker.simulator.market_event import MarketQuote
from torghut_runtime.broker.simulator.refusals import Refusal
from torghut_runtime.broker.simulator.tape import Tape, read_tape, synthetic_tape
from torghut_runtime.errors import InputError

ROWS = pl.DataFrame(
    {
        "symbol": ["AAPL", "MSFT", "AAPL", "MSFT"],
        "ts": [datetime(2026, 1, 5, 14, 30 + minute, tzinfo=UTC) for minute in (0, 0, 1, 1)],
        "open": [100.0, 50.0, 101.0, 51.0],
        "high": [102.0, 52.0, 103.0, 53.0],
        "low": [99.0, 49.0, 100.0, 50.0],
        "close": [101.0, 51.0, 102.0, 52.0],
        "volume": [1000, 2000, 1100, 2100],
    }
)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_bars_are_read_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bars.{kind}"
    text = ROWS.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if kind == "parquet":
        ROWS.write_parquet(path)
    elif kind == "csv":
        text.write_csv(path)
    else:
        text.write_ndjson(path)
    tape = read_tape(path)
    assert (tape.timeframe, tape.symbols, tape.starts_at) == ("1Min", ["AAPL", "MSFT"], OPEN)
    assert [(bar.symbol, (bar.closes_at - OPEN) // MINUTE, bar.close, bar.volume) for bar in tape.bars] == [
        ("AAPL", 1, 101.0, 1000.0),
        ("MSFT", 1, 51.0, 2000.0),
        ("AAPL", 2, 102.0, 1100.0),
        ("MSFT", 2, 52.0, 2100.0),
    ]


def test_adjusted_files_are_played_at_the_prices_that_were_traded(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    ROWS.filter(pl.col("symbol") == "AAPL").with_columns(adjusted_close=pl.col("close") / 4).write_parquet(path)
    first = read_tape(path).bars[0]
    assert (first.open, first.high, first.low, first.close, first.volume) == (100.0, 102.0, 99.0, 101.0, 1000.0)


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.csv"])
def test_a_missing_file_is_bad_input(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_tape(tmp_path / name)


def test_a_bad_row_of_a_jsonl_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bars.jsonl"
    ROWS.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ"), low=pl.lit(500.0)).write_ndjson(path)
    with pytest.raises(InputError) as caught:
        read_tape(path)
    assert (caught.value.file, caught.value.row, caught.value.field) == (str(path), 1, "low")


def test_made_up_bars_are_a_function_of_their_arguments() -> None:
    tape = synthetic_tape(["AAPL", "MSFT"], seed=1, first=date(2025, 11, 28), sessions=2)
    assert tape == synthetic_tape(["AAPL", "MSFT"], seed=1, first=date(2025, 11, 28), sessions=2)
    assert tape.bars != synthetic_tape(["AAPL", "MSFT"], seed=2, first=date(2025, 11, 28), sessions=2).bars
    assert len(tape.bars) == 2 * (210 + 390)  # the Friday after Thanksgiving ends at 13:00
    assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in tape.bars)


def test_earlier_bars_are_history_and_are_not_played() -> None:
    broker = SimulatedBroker(Tape(tuple(minute_bars(flat(50, 5))), "1Min"), BrokerSettings(start=OPEN + 2 * MINUTE))
    assert len(broker.market.bars("AAPL", 0, broker.now)) == 2
    assert broker.step(10).delivered == 3


def test_quotes_fill_market_orders_at_bid_and_ask_up_to_their_size() -> None:
    quotes = [MarketQuote("AAPL", OPEN + at * SECOND, 99.5, 100.5, 3, 4) for at in range(1, 5)]
    day = Watched(Tape((), "1Min", tuple(quotes)), start=OPEN)
    day.broker.step()
    day.order("buy", qty="6")
    day.broker.step(2)
    day.order("sell", qty="2")
    day.broker.step()
    assert day.fills() == [
        (Decimal(4), Decimal("100.5")),
        (Decimal(2), Decimal("100.5")),
        (Decimal(2), Decimal("99.5")),
    ]


def test_quotes_reach_limits_and_stops() -> None:
    prices = [(99.5, 100.5), (98.5, 99.0), (101.0, 102.0)]
    quotes = [MarketQuote("AAPL", OPEN + at * SECOND, bid, ask) for at, (bid, ask) in enumerate(prices, 1)]
    day = Watched(Tape((), "1Min", tuple(quotes)), start=OPEN)
    day.broker.step()
    day.order("buy", qty="1", type="limit", limit_price="99")
    day.order("buy", qty="1", type="stop", stop_price="102")
    day.broker.step()
    assert day.fills() == [(Decimal(1), Decimal(99))]
    day.broker.step()
    assert day.fills()[1:] == [(Decimal(1), Decimal(102))]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-05T14:30:00Z", "2026-01-05T14:30:00Z"),
        ("2026-01-05T09:30:00.123456789-05:00", "2026-01-05T14:30:00.123456789Z"),
        ("2026-01-05T14:30:00.5Z", "2026-01-05T14:30:00.5Z"),
        ("2026-01-05", "2026-01-05T00:00:00Z"),
        ("2026-01-05T14:30:00 00:00", "2026-01-05T14:30:00Z"),  # a plus sign that a query string lost
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, same: str) -> None:
    assert rfc3339(parse_moment(text)) == same


@pytest.mark.parametrize("text", ["yesterday", "2026-01-05T14:30:00", "2026-13-01"])
def test_other_times_are_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_moment(text)


def test_pairs_trade_around_the_clock_with_their_own_times_in_force() -> None:
    night = OPEN - 300 * MINUTE
    quotes = [MarketQuote("BTC/USD", night + at * SECOND, 99.0, 101.0) for at in range(1, 4)]
    day = Watched(Tape((), "1Min", tuple(quotes)), start=night)
    day.broker.step()
    with pytest.raises(Refusal, match="invalid crypto time_in_force"):
        day.order("buy", symbol="BTC/USD", qty="0.5")
    document = day.order("buy", symbol="BTC/USD", qty="0.5", time_in_force="gtc")
    assert (document["asset_class"], document["status"]) == ("crypto", "pending_new")
    day.broker.step()
    assert day.fills() == [(Decimal("0.5"), Decimal(101))]
