"""What the stream says, in the stream's thread: bars go to the feed, quotes, trades and halts to the board.

Here is also known since when a connection stands, when it last brought anything, and how far the source's time has
come. What follows from bars, or from silence, is the feed's to know.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from torghut_runtime.clock import Clock
from torghut_runtime.market.aggregation import Minute
from torghut_runtime.market.hours import MINUTE
from torghut_runtime.market_data.board import Board
from torghut_runtime.market_data.stream import Message, StreamEvents
from torghut_runtime.market_data.wire import (
    BAR,
    DAILY_BAR,
    QUOTE,
    STATUS,
    TRADE,
    UPDATED_BAR,
    bar_of,
    halt_of,
    quote_of,
    trade_of,
)


@dataclass(frozen=True, slots=True)
class HeardBars:
    """Bars of one frame."""

    minutes: list[Minute] = field(default_factory=list[Minute])
    corrected: list[Minute] = field(default_factory=list[Minute])
    daily: list[Minute] = field(default_factory=list[Minute])


class Hearing:
    """Takes the stream's messages; one writer, any reader."""

    def __init__(
        self,
        board: Board,
        clock: Clock,
        *,
        put: Callable[[HeardBars], None],
        heard: Callable[[], None],
        hear_time: Callable[[datetime], None],
        tell: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            board: where quotes, trades and halts are noted.
            clock: that messages are dated by.
            put: takes the bars of a frame; may wait.
            heard: told that the connection is not mute.
            hear_time: told the times of what the source sends.
            tell: told how the connection stands.
        """
        self.events = StreamEvents(self._heard, self._subscribed, self._gone, self._refused)
        self.connected_at: datetime | None = None
        """When the connection that stands was confirmed; None without one."""
        self.heard_at: datetime | None = None
        self.source_time: datetime | None = None
        """The newest time that the source has told of anything."""
        self.connections = self.unreadable = 0
        self._board = board
        self._clock = clock
        self._put = put
        self._told = heard
        self._hear_time = hear_time
        self._tell = tell

    def _subscribed(self) -> None:
        self.connections += 1
        self.connected_at = self._clock.now()
        self._board.connected(self.connected_at)
        self._tell("connected")

    def give_up(self) -> None:
        """The connection stands and is mute: what it might still bring is not waited for."""
        self._tell("mute")
        self.connected_at = None
        self._board.disconnected()

    def _gone(self) -> None:
        if self.connected_at is not None:
            self._tell("disconnected")
        self.connected_at = None
        self._board.disconnected()

    def _refused(self, code: int, text: str) -> None:
        self._tell(f"refused: {code} {text}")

    def _heard(self, frame: Sequence[Message]) -> None:
        self.heard_at = self._clock.now()
        self._told()
        bars = HeardBars()
        places = {BAR: bars.minutes, UPDATED_BAR: bars.corrected, DAILY_BAR: bars.daily}
        for message in frame:
            kind, symbol = message.get("T"), message.get("S")
            place = places.get(str(kind))
            if not isinstance(symbol, str):
                self.unreadable += 1
            elif place is not None:
                bar = bar_of(message)
                if bar is None:
                    self.unreadable += 1
                else:
                    place.append(bar)
                    if kind == BAR:
                        self._board.minute_traded(symbol, bar.opens_at)
                        self._tell_time(bar.opens_at + MINUTE)
            else:
                self._note(str(kind), symbol, message)
        if bars.minutes or bars.corrected or bars.daily:
            self._put(bars)

    def _note(self, kind: str, symbol: str, message: Message) -> None:
        if kind == QUOTE:
            quote = quote_of(message)
            if quote is not None:
                self._board.quoted(symbol, quote)
                self._tell_time(quote.at)
        elif kind == TRADE:
            trade = trade_of(message)
            if trade is not None:
                self._board.traded(symbol, trade)
                self._tell_time(trade.at)
        elif kind == STATUS:
            halted = halt_of(message)
            if halted is not None:
                self._board.halt(symbol, halted=halted)

    def _tell_time(self, moment: datetime) -> None:
        """The source is at least so far; nobody's clock is a minute ahead of ours without being wrong."""
        known = self.source_time
        if known is None or moment > known:
            self._hear_time(moment)
        if (known is None or moment > known) and moment <= self._clock.now() + MINUTE:
            self.source_time = moment
