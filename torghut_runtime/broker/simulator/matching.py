"""At what price an order trades at a moment of the market, if it does: pure functions of terms and moment.

A bar has two moments. At its *open* the opening print is known, and a quote around it. At its *close* the whole bar is
known: an order that worked all through it trades where the price touched it; one that came in the middle is judged by
the closing quote only, because what came before it cannot fill it. No price lies outside the bar's range.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from torghut_runtime.broker.simulator.market_event import MarketBar, MarketQuote, price_of
from torghut_runtime.broker.simulator.order_request import OrderTerms


class Phase(Enum):
    """What is known at a moment."""

    OPEN = "open"
    """The opening print and the quote around it."""
    WHOLE = "whole"
    """A whole bar, for an order that worked all through it."""
    LAST = "last"
    """The newest quote and price, for an order that came within the bar."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One view of the market; prices are dollars per share.

    Attributes:
        price: the opening print at the open, else the last price.
        bid: where a sale trades at once.
        ask: where a purchase trades at once.
        low, high: the range of the bar; equal to ``price`` where nothing else is known.
    """

    phase: Phase
    price: Decimal
    bid: Decimal
    ask: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Match:
    """The outcome: a price or none, and whether a stop has been set off by now."""

    price: Decimal | None
    triggered: bool


def opening(bar: MarketBar, spread: Decimal) -> Moment:
    """The moment of the opening print; ``spread`` is ask less bid in dollars."""
    low, high, print_ = price_of(bar.low), price_of(bar.high), price_of(bar.open)
    half = spread / 2
    return Moment(Phase.OPEN, print_, max(low, print_ - half), min(high, print_ + half), low, high)


def closing(bar: MarketBar, spread: Decimal) -> Moment:
    """The moment of the close, with the bar's own quote where it has one, within the bar's range."""
    low, high, last = price_of(bar.low), price_of(bar.high), price_of(bar.close)
    half = spread / 2
    bid = last - half if math.isnan(bar.bid) else price_of(bar.bid)
    ask = last + half if math.isnan(bar.ask) else price_of(bar.ask)
    return Moment(Phase.WHOLE, last, _within(low, bid, high), _within(low, ask, high), low, high)


def quoted(quote: MarketQuote) -> Moment:
    """The moment of a quote."""
    bid, ask = price_of(quote.bid), price_of(quote.ask)
    return Moment(Phase.LAST, (bid + ask) / 2, bid, ask, bid, ask)


def _within(low: Decimal, value: Decimal, high: Decimal) -> Decimal:
    return min(high, max(low, value))


def match(terms: OrderTerms, triggered: bool, moment: Moment) -> Match:
    """Where the order trades at this moment.

    Args:
        terms: of the order.
        triggered: whether its stop was set off before.
        moment: with phase ``LAST`` in place of ``WHOLE`` for an order that came within the bar.
    """
    buys = terms.side == "buy"
    at_once = moment.ask if buys else moment.bid
    stop, limit = terms.stop_price, terms.limit_price
    within_bar = False
    if stop is not None and not triggered:
        if _reached(buys, stop, _trigger_price(buys, moment)):
            triggered = True
        elif moment.phase is Phase.WHOLE and _reached(buys, stop, moment.high if buys else moment.low):
            # The price crossed the stop inside the bar: it trades there.
            triggered = within_bar = True
            at_once = _within(moment.low, stop, moment.high)
        else:
            return Match(None, triggered=False)
    if terms.time_in_force == "opg":
        return Match(moment.price if limit is None or _acceptable(buys, limit, moment.price) else None, triggered)
    if limit is None:
        return Match(at_once, triggered)
    if _acceptable(buys, limit, at_once) and not (moment.phase is Phase.WHOLE and not within_bar):
        return Match(at_once, triggered)
    if moment.phase is Phase.WHOLE and not within_bar:
        return Match(_touched(buys, limit, at_once, moment), triggered)
    return Match(None, triggered)


def _trigger_price(buys: bool, moment: Moment) -> Decimal:
    if moment.phase is Phase.OPEN:
        return moment.price
    if moment.phase is Phase.LAST:
        return moment.ask if buys else moment.bid
    # Within a whole bar the way to the close matters, not the close.
    return moment.low if buys else moment.high


def _reached(buys: bool, stop: Decimal, price: Decimal) -> bool:
    return price >= stop if buys else price <= stop


def _acceptable(buys: bool, limit: Decimal, price: Decimal) -> bool:
    return price <= limit if buys else price >= limit


def _touched(buys: bool, limit: Decimal, at_once: Decimal, moment: Moment) -> Decimal | None:
    """A resting limit trades at its price once the market came to it; one beyond the range at the closing quote."""
    if not _acceptable(buys, limit, moment.low if buys else moment.high):
        return None
    return limit if moment.low <= limit <= moment.high else at_once
