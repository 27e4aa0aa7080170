"""Questions to history, one after the other in a thread of their own: missing bars, and the past of a symbol anew.

Answers go back to the feed; whether to ask again is for whoever keeps the bars in order.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from torghut_runtime.clock import Clock
from torghut_runtime.market.aggregation import MINUTES, Minute
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.market_data.closed_bars import FillRequest, Renewal
from torghut_runtime.market_data.history import History, HistoryError

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of requests for missing bars; None where nobody answered."""

    requests: Sequence[FillRequest]
    found: Mapping[str, list[Minute]] | None
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Pasts:
    """The minutes of symbols up to where each was asked for; None where nobody answered."""

    renewals: Sequence[Renewal]
    minutes: Sequence[Minute] | None


class Asking:
    """Asks in the background, one thing at a time."""

    def __init__(
        self,
        history: History,
        clock: Clock,
        *,
        put: Callable[[Answers | Pasts], None],
        past_of: Callable[[Mapping[str, datetime]], list[Minute]],
        tell: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            history: whom to ask.
            clock: that questions are dated by.
            put: takes answers, in the asking thread; may wait.
            past_of: the minutes that symbols need before a moment each; may raise :class:`HistoryError`.
            tell: told why history does not answer.
        """
        self.is_busy = False
        self._history = history
        self._clock = clock
        self._put = put
        self._past_of = past_of
        self._tell = tell
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="market-history")

    def ask(self, missing: Sequence[FillRequest], renewals: Sequence[Renewal]) -> None:
        """Ask for what is missing, then for the past of a few symbols; only while not busy."""
        self.is_busy = True
        self._pool.submit(self._ask, missing, renewals)

    def stop(self) -> None:
        """Ask nothing more; what is under way ends by its deadline."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, missing: Sequence[FillRequest], renewals: Sequence[Renewal]) -> None:
        try:
            for timeframe in (MINUTES, DAILY):
                requests = [request for request in missing if request.timeframe == timeframe]
                if requests:
                    self._fill(requests, timeframe)
            if renewals:
                until = {each.symbol: each.until for each in renewals}
                self._put(Pasts(renewals, self._found(lambda: self._past_of(until))))
        finally:
            self.is_busy = False

    def _fill(self, requests: Sequence[FillRequest], timeframe: str) -> None:
        asked_at = self._clock.now()
        start, end = min(each.start for each in requests), max(each.end for each in requests)
        symbols = [each.symbol for each in requests]
        found = self._found(lambda: self._history.bars(symbols, timeframe, start, end))
        self._put(Answers(requests, found, asked_at))

    def _found(self, question: Callable[[], Found]) -> Found | None:
        try:
            return question()
        except HistoryError as error:
            self._tell(f"history: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it was, it is asked again
            self._tell(f"history: {type(error).__name__}")
        return None
