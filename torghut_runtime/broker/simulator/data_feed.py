"""The market-data stream's messages, made from bars and quotes as they come, with the stream's faults.

Messages are plain fields in Alpaca's spelling with ``t`` in nanoseconds; how they are written to a socket is the
server's business. Nothing is made that nobody listens to.
"""

import math
from collections.abc import Callable
from typing import Any, Final, Protocol

from torghut_runtime.broker.simulator.controls import Controls
from torghut_runtime.broker.simulator.instants import MILLISECOND, in_new_york
from torghut_runtime.broker.simulator.market import Market
from torghut_runtime.broker.simulator.market_event import MarketBar, MarketQuote
from torghut_runtime.broker.simulator.timetable import Sessions, Timetable
from torghut_runtime.market.timeframe import DAILY

BAR: Final = "b"
UPDATED_BAR: Final = "u"
DAILY_BAR: Final = "d"
QUOTE: Final = "q"
TRADE: Final = "t"
STATUS: Final = "s"
EXCHANGE: Final = "V"
TAPE: Final = "C"
LOT: Final = 100


class MarketListener(Protocol):
    """Somebody who listens to market data."""

    def wants(self, kind: str, symbol: str) -> bool:
        """Whether a message of this kind is wanted."""
        ...

    def hear(self, message: dict[str, Any]) -> None:
        """Take a message."""
        ...


def bar_fields(bar: MarketBar, ratio: float = 1.0) -> dict[str, Any]:
    """The fields of a bar (``t`` in nanoseconds), its prices divided by ``ratio``."""
    volume = 0 if math.isnan(bar.volume) else int(bar.volume * ratio)
    typical = (bar.high + bar.low + bar.close) / 3
    prices = {"o": bar.open, "h": bar.high, "l": bar.low, "c": bar.close}
    scaled = {name: round(price / ratio, 6) for name, price in prices.items()}
    trades = max(1, volume // LOT)
    return {"t": bar.opens_at, **scaled, "v": volume, "n": trades, "vw": round(typical / ratio, 6)}


def quote_fields(at: int, bid: float, ask: float) -> dict[str, Any]:
    """The fields of a quote (``t`` in nanoseconds)."""
    return {
        "t": at,
        "bx": EXCHANGE,
        "bp": bid,
        "bs": 1,
        "ax": EXCHANGE,
        "ap": ask,
        "as": 1,
        "c": ["R"],
        "z": TAPE,
    }


def trade_fields(at: int, price: float, size: float, number: int) -> dict[str, Any]:
    """The fields of a trade (``t`` in nanoseconds)."""
    return {"t": at, "x": EXCHANGE, "p": price, "s": max(1, int(size)), "i": number, "c": ["@"], "z": TAPE}


class DataFeed:
    """Turns what the market does into messages for everybody who wants them."""

    def __init__(self, market: Market, sessions: Sessions, timetable: Timetable, controls: Controls) -> None:
        self.listeners: list[MarketListener] = []
        self.silent_until = 0
        self.refused_until = 0
        self.on_disconnect: list[Callable[[], None]] = []
        self._market = market
        self._sessions = sessions
        self._timetable = timetable
        self._controls = controls
        self._days: dict[str, tuple[int, MarketBar]] = {}
        self._trades = 0

    def opened(self, bar: MarketBar) -> None:
        """The opening print."""
        self._say(
            TRADE, bar.symbol, lambda: trade_fields(bar.opens_at, bar.open, _share(bar.volume), self._trade_number())
        )

    def closed(self, bar: MarketBar) -> None:
        """A bar is complete: quote, last trade, bar, the day so far."""
        if not math.isnan(bar.bid) and not math.isnan(bar.ask):
            self._say(QUOTE, bar.symbol, lambda: quote_fields(bar.closes_at, bar.bid, bar.ask))
        self._say(
            TRADE, bar.symbol, lambda: trade_fields(bar.closes_at, bar.close, _share(bar.volume), self._trade_number())
        )
        controls = self._controls
        dropped = controls.take_bar_fault("drop_bars", bar.symbol)
        late = None if dropped else controls.take_bar_fault("late_bars", bar.symbol)
        twice = None if dropped else controls.take_bar_fault("duplicate_bars", bar.symbol)
        times = 0 if dropped else 2 if twice else 1
        for _ in range(times):
            if late is None:
                self._send_bar(bar)
            else:
                delay = int(late.delay_ms * MILLISECOND)
                self._timetable.schedule(self._timetable.now + delay, lambda: self._send_bar(bar))

    def quoted(self, quote: MarketQuote) -> None:
        """A quote."""
        self._say(QUOTE, quote.symbol, lambda: quote_fields(quote.at, quote.bid, quote.ask))

    def corrected(self, bar: MarketBar) -> None:
        """A bar was corrected after the fact."""
        self._say(UPDATED_BAR, bar.symbol, lambda: bar_fields(bar))

    def halted(self, symbol: str, halted: bool) -> None:
        """Trading in a symbol was halted or goes on."""
        fields = (
            {"sc": "H", "sm": "Trading Halt", "rc": "T12", "rm": "Trading Halted; For information requested by NASDAQ"}
            if halted
            else {"sc": "T", "sm": "Trading Resumption", "rc": "C11", "rm": ""}
        )
        self._say(STATUS, symbol, lambda: {**fields, "t": self._timetable.now, "z": TAPE})

    def _send_bar(self, bar: MarketBar) -> None:
        if self._market.timeframe == DAILY:
            self._say(DAILY_BAR, bar.symbol, lambda: bar_fields(self._dated(bar)))
            return
        self._say(BAR, bar.symbol, lambda: bar_fields(bar))
        day = self._day_so_far(bar)
        self._say(DAILY_BAR, bar.symbol, lambda: bar_fields(self._dated(day)))

    def _day_so_far(self, bar: MarketBar) -> MarketBar:
        session = self._sessions.date_of(bar.opens_at).toordinal()
        known = self._days.get(bar.symbol)
        if known is None or known[0] != session:
            day = bar
        else:
            so_far = known[1]
            day = MarketBar(
                bar.symbol,
                so_far.opens_at,
                bar.closes_at,
                so_far.open,
                max(so_far.high, bar.high),
                min(so_far.low, bar.low),
                bar.close,
                so_far.volume + bar.volume,
            )
        self._days[bar.symbol] = (session, day)
        return day

    def _dated(self, bar: MarketBar) -> MarketBar:
        midnight = in_new_york(self._sessions.date_of(bar.opens_at), 0, 0)
        return MarketBar(bar.symbol, midnight, bar.closes_at, bar.open, bar.high, bar.low, bar.close, bar.volume)

    def _trade_number(self) -> int:
        self._trades += 1
        return self._trades

    def _say(self, kind: str, symbol: str, fields: Callable[[], dict[str, Any]]) -> None:
        if not self.listeners or self._timetable.now < self.silent_until:
            return
        wanting = [listener for listener in self.listeners if listener.wants(kind, symbol)]
        if wanting:
            message = {"T": kind, "S": symbol, **fields()}
            for listener in wanting:
                listener.hear(message)


def _share(volume: float) -> float:
    return 1 if math.isnan(volume) else max(1, volume // LOT)
