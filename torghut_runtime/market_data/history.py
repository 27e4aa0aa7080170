"""Bars of the past, over alpaca-py's ``StockHistoricalDataClient``: gaps, warm-up, corporate actions. Nothing is kept.

Prices are adjusted for splits and dividends to the basis of the day of the request, because that is what live bars are
in. A request has a deadline and is not repeated here; who asks decides when to ask again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, cast

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.data.requests import CorporateActionsRequest, StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from requests.adapters import HTTPAdapter

from torghut_runtime.market.aggregation import MINUTES, Minute
from torghut_runtime.market_data.wire import bar_of

DEADLINE_SECONDS: Final = 5.0
_SYMBOLS_PER_REQUEST: Final = 100
_TICK: Final = timedelta(microseconds=1)


class HistoryError(Exception):
    """Nobody answered, or not with bars; the text names no key."""


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """An announced split: from ``day`` on there are ``ratio`` shares for one before."""

    symbol: str
    day: date
    ratio: float


class _Transport(HTTPAdapter):
    def __init__(self, deadline_seconds: float) -> None:
        super().__init__(max_retries=0)
        self._deadline_seconds = deadline_seconds

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        options["timeout"] = self._deadline_seconds
        return super().send(request, *arguments, **options)


class History:
    """Reads bars; may be called from any thread, one call at a time."""

    def __init__(
        self,
        key: str,
        secret: str,
        *,
        feed: str,
        url: str | None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._feed = feed
        self._bars: Any = StockHistoricalDataClient(key, secret, raw_data=True, url_override=url)
        self._actions: Any = CorporateActionsClient(key, secret, raw_data=True, url_override=url)
        for client in (self._bars, self._actions):
            client._retry, client._retry_codes = 0, []  # noqa: SLF001 - alpaca-py cannot be asked otherwise
            for scheme in ("https://", "http://"):
                client._session.mount(scheme, _Transport(deadline_seconds))  # noqa: SLF001

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

    def splits(self, symbols: Collection[str], first: date, last: date) -> list[CorporateAction]:
        """Announced splits with a day from ``first`` to ``last``, both included.

        Raises:
            HistoryError: no answer.
        """
        request = CorporateActionsRequest(symbols=sorted(symbols), start=first, end=last)
        answer: object = _called(lambda: self._actions.get_corporate_actions(request))
        if not isinstance(answer, Mapping):
            raise HistoryError("an answer holds no corporate actions")
        groups = cast("Mapping[str, Any]", answer)
        groups = cast("Mapping[str, Any]", groups.get("corporate_actions", groups))
        found: list[CorporateAction] = []
        for kind in ("forward_splits", "reverse_splits"):
            rows: list[Mapping[str, Any]] = groups.get(kind) or []
            for row in rows:
                ratio = float(row["new_rate"]) / float(row["old_rate"])
                found.append(CorporateAction(str(row["symbol"]), date.fromisoformat(str(row["ex_date"])), ratio))
        return sorted(found, key=lambda action: (action.day, action.symbol))


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
