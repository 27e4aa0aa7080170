"""The tape: the market events of a simulation in one fixed order, from a file or made up.

Adjusted files are played at the prices that were traded. What the broker does with the events is not this module's
business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from torghut_runtime.broker.simulator.instants import MICROSECOND, SECOND, nanoseconds
from torghut_runtime.broker.simulator.market_event import PRICE_DECIMALS, MarketBar, MarketQuote
from torghut_runtime.errors import InputError
from torghut_runtime.market.bars import bars_from_frame, read_bars
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market.timeframe import DAILY, timeframe_seconds

OPEN: Final = "open"
CLOSE: Final = "close"
QUOTE: Final = "quote"
MomentKind = Literal["open", "close", "quote"]

_RANK: Final[dict[str, int]] = {QUOTE: 0, CLOSE: 1, OPEN: 2}
"""At one time what is known comes before what begins: quotes, then closing bars, then opening prints."""


@dataclass(frozen=True, slots=True)
class TapeMoment:
    """One moment of the tape: a bar opens or closes, or a quote arrives."""

    at: int
    kind: MomentKind
    event: MarketBar | MarketQuote


@dataclass(frozen=True)
class Tape:
    """Market events of one simulation.

    Attributes:
        bars: ordered by (close, symbol).
        quotes: ordered by (time, symbol).
        timeframe: of the bars.
    """

    bars: tuple[MarketBar, ...]
    timeframe: str
    quotes: tuple[MarketQuote, ...] = ()

    @property
    def symbols(self) -> list[str]:
        """Every symbol with an event, sorted."""
        return sorted({bar.symbol for bar in self.bars} | {quote.symbol for quote in self.quotes})

    @property
    def starts_at(self) -> int:
        """Nanoseconds of the first moment."""
        return min([bar.opens_at for bar in self.bars] + [quote.at for quote in self.quotes])

    def moments(self, start: int) -> Iterator[TapeMoment]:
        """Every moment of what is not over at ``start``, in order."""
        later = [bar for bar in self.bars if bar.closes_at > start]
        closes = [TapeMoment(bar.closes_at, CLOSE, bar) for bar in later]
        opens = [TapeMoment(bar.opens_at, OPEN, bar) for bar in later if bar.opens_at >= start]
        quotes = [TapeMoment(quote.at, QUOTE, quote) for quote in self.quotes if quote.at > start]
        everything = closes + opens + quotes
        everything.sort(key=lambda moment: (moment.at, _RANK[moment.kind], moment.event.symbol))
        return iter(everything)

    def history(self, start: int) -> list[MarketBar]:
        """Bars that are over at ``start``."""
        return [bar for bar in self.bars if bar.closes_at <= start]


def read_tape(path: Path, timeframe: str | None = None) -> Tape:
    """Read bars from a Parquet, CSV or JSONL file (columns: see :func:`torghut_runtime.market.bars.read_bars`).

    Raises:
        InputError: see ``read_bars``; names file, row and field.
    """
    if path.suffix.lower() not in {".jsonl", ".ndjson"}:
        found = read_bars(path, timeframe)
    else:
        try:
            found = bars_from_frame(_read_lines(path), timeframe)
        except InputError as error:
            raise error.located(file=path) from error
    return tape_from_frame(found.frame, found.timeframe)


def _read_lines(path: Path) -> pl.DataFrame:
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except FileNotFoundError as error:
        raise InputError("does not exist") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot be read: {' '.join(str(error).split())}") from error


def tape_from_frame(frame: pl.DataFrame, timeframe: str) -> Tape:
    """A tape from normalised bars (:data:`torghut_runtime.market.frame.BASE_SCHEMA`), at traded prices."""
    prices = ("open", "high", "low", "close", "bid", "ask")
    traded = frame.select(
        "symbol",
        pl.col("open_ts").dt.epoch("us") * MICROSECOND,
        pl.col("event_ts").dt.epoch("us") * MICROSECOND,
        *((pl.col(name) / pl.col("adjustment_factor")).round(PRICE_DECIMALS) for name in prices),
        (pl.col("volume") * pl.col("adjustment_factor")).round(PRICE_DECIMALS),
        pl.col("session").is_not_null().alias("in_session"),
    ).sort("event_ts", "symbol", maintain_order=True)
    bars = tuple(
        MarketBar(symbol, opens_at, closes_at, open_, high, low, close, volume, bid, ask, in_session)
        for symbol, opens_at, closes_at, open_, high, low, close, bid, ask, volume, in_session in traded.iter_rows()
    )
    return Tape(bars, timeframe)


def synthetic_tape(
    symbols: Sequence[str], *, seed: int, first: date, sessions: int = 1, timeframe: str = "1Min"
) -> Tape:
    """Made-up bars: a random walk per symbol through ``sessions`` sessions from ``first`` on.

    Equal arguments give equal bars. Volatility is 20 % a year, volume 10,000 to 100,000 shares a minute, spread 2 bps
    of the price and one cent at least.

    Raises:
        InputError: an unknown timeframe, or no session from ``first`` on.
    """
    seconds = timeframe_seconds(timeframe)
    calendar = TradingCalendar()
    days = calendar.sessions(first, date(first.year + 1 + sessions // 250, 12, 31))[:sessions]
    if not days:
        raise InputError(f"no trading session from {first} on", field="first")
    spans: list[tuple[int, int]] = []
    for day in days:
        opens_at = nanoseconds(_some(calendar.session_open(day)))
        closes_at = nanoseconds(_some(calendar.session_close(day)))
        length = closes_at - opens_at if timeframe == DAILY else seconds * SECOND
        spans.extend((at, min(at + length, closes_at)) for at in range(opens_at, closes_at, length))
    bars = [bar for symbol in symbols for bar in _walk(symbol, seed, spans)]
    bars.sort(key=lambda bar: (bar.closes_at, bar.symbol))
    return Tape(tuple(bars), timeframe)


def _some(value: Any) -> Any:
    assert value is not None
    return value


def _walk(symbol: str, seed: int, spans: Sequence[tuple[int, int]]) -> Iterator[MarketBar]:
    generator = np.random.default_rng([seed, *symbol.encode()])
    minutes = np.array([(closes_at - opens_at) / (60 * SECOND) for opens_at, closes_at in spans])
    sigma = 0.2 / np.sqrt(252 * 390) * np.sqrt(minutes)
    start = float(generator.uniform(20, 400))
    moves = generator.normal(0, 1, (len(spans), 4)) * (sigma / 2)[:, None]
    closes = start * np.exp(np.cumsum(moves.sum(axis=1)))
    opens = np.concatenate([[start], closes[:-1]])
    paths = np.exp(np.cumsum(moves, axis=1)) * opens[:, None]
    highs = np.maximum(opens, paths.max(axis=1))
    lows = np.minimum(opens, paths.min(axis=1))
    volumes = generator.integers(10_000, 100_000, len(spans)) * minutes
    for index, (opens_at, closes_at) in enumerate(spans):
        open_, high, low, close = (round(float(values[index]), 2) for values in (opens, highs, lows, closes))
        half = max(0.005, close * 0.0001)
        yield MarketBar(
            symbol,
            opens_at,
            closes_at,
            open_,
            max(high, open_, close),
            min(low, open_, close),
            close,
            float(int(volumes[index])),
            round(close - half, 2),
            round(close + half, 2),
        )
