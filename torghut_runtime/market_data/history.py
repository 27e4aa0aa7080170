"""Bars of the past, over alpaca-py's ``StockHistoricalDataClient``: gaps and warm-up. Nothing is kept.

Prices are adjusted for splits and dividends to the basis of the day of the request, because that is what live bars are
in. A request has a deadline and is not repeated here; who asks decides when to ask again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

from torghut_runtime.broker.alpaca import bound
from torghut_runtime.market.aggregation import MINUTES, Minute
from torghut_runtime.market_data.wire import bar_of

_SYMBOLS_PER_REQUEST: Final = 100
_TICK: Final = timedelta(microseconds=1)


class HistoryError(Exception):
    """Nobody answered, or not with bars; the text names no key."""


class History:
    """Reads bars; may be called from any thread, one call at a time."""

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        feed: str,
        url: str | None,
    ) -> None:
        self._feed = feed
        self._bars: Any = StockHistoricalDataClient(key, secret, raw_data=True, url_override=url)
        bound(self._bars)

    def bars(self, symbols: Collection[str], timeframe: str, start: datetime, end: datetime) -> dict[str, list[Minute]]:
        """Bars that begin in [start, end), by symbol and time; ``timeframe`` is 1Min or 1Day.

        Raises:
            HistoryError: no answer, or one that holds something else.
        """
        wanted = sorted(symbols)
        unit: Any = TimeFrameUnit.Minute if timeframe == MINUTES else TimeFrameUnit.Day
        found: dict[str, list[Minute]] = {symbol: [] for symbol in wanted}
        for begin in range(0, len(wanted), _SYMBOLS_PER_REQUEST):
            request = StockBarsRequest(
                symbol_or_symbols=wanted[begin : begin + _SYMBOLS_PER_REQUEST],
                timeframe=TimeFrame(1, unit),
                start=start,
                end=end - _TICK,
                feed=DataFeed(self._feed),
                adjustment=Adjustment.ALL,
            )
            answer = _called(lambda asked=request: self._bars.get_stock_bars(asked))
            for symbol, rows in _rows(answer):
                bars = [bar_of(row, symbol) for row in rows]
                if None in bars:
                    raise HistoryError(f"an answer holds a bar of {symbol} that cannot be one")
                found[symbol] = sorted(cast("list[Minute]", bars), key=lambda bar: bar.opens_at)
        return found


def _rows(answer: object) -> Iterable[tuple[str, Sequence[Mapping[str, Any]]]]:
    if not isinstance(answer, Mapping):
        raise HistoryError("an answer holds no bars")
    for symbol, rows in cast("Mapping[str, Any]", answer).items():
        if rows:
            yield symbol, rows


def _called(request: Any) -> Any:
    try:
        return request()
    except APIError as error:
        raise HistoryError(f"HTTP {cast('Any', error).status_code}") from None
    except (requests.RequestException, OSError, ValueError) as error:
        raise HistoryError(f"no answer: {type(error).__name__}") from None
