"""Money and positions: what each fill does to them, and the values that follow from prices.

Two identities hold after every change: cash is what was put in less the signed cost of all fills, and a position is
the sum of its signed fills (times the splits since). Who may trade is the admission's business.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(slots=True)
class Position:
    """Signed shares of one symbol and their mean entry price in dollars."""

    symbol: str
    qty: Decimal = ZERO
    average_entry: Decimal = ZERO
    realized: Decimal = ZERO

    @property
    def cost(self) -> Decimal:
        """Signed cost of what is held."""
        return self.qty * self.average_entry

    def trade(self, signed_qty: Decimal, price: Decimal) -> None:
        """Add signed shares at a price; what they close realizes its result."""
        held = self.qty
        after = held + signed_qty
        if held == 0 or (held > 0) == (signed_qty > 0):
            self.average_entry = (abs(held) * self.average_entry + abs(signed_qty) * price) / abs(after)
        else:
            closed = min(abs(held), abs(signed_qty))
            direction = 1 if held > 0 else -1
            self.realized += direction * closed * (price - self.average_entry)
            if after == 0:
                self.average_entry = ZERO
            elif (after > 0) != (held > 0):
                self.average_entry = price
        self.qty = after


@dataclass(frozen=True)
class Entry:
    """One change of a position: signed shares at a price."""

    key: str
    signed_qty: Decimal
    price: Decimal


@dataclass
class Account:
    """Cash, positions and what they are worth.

    Attributes:
        multiplier: buying power per dollar of equity (1 cash account, 2 margin account overnight).
        deposited: cash put in less cash taken out, from the beginning.
        last_equity: equity at the last session close.
    """

    cash: Decimal
    multiplier: Decimal
    positions: dict[str, Position] = field(default_factory=dict[str, Position])
    deposited: Decimal = ZERO
    last_equity: Decimal = ZERO
    buying_power_override: Decimal | None = None
    blocked: bool = False
    entries: dict[str, list[Entry]] = field(default_factory=dict[str, list[Entry]])

    def __post_init__(self) -> None:
        self.deposited = self.cash
        self.last_equity = self.cash

    def position(self, symbol: str) -> Decimal:
        """Signed shares held."""
        held = self.positions.get(symbol)
        return ZERO if held is None else held.qty

    def trade(self, key: str, symbol: str, signed_qty: Decimal, price: Decimal) -> None:
        """Book a fill under a key by which it can be taken back."""
        self.cash -= signed_qty * price
        self.positions.setdefault(symbol, Position(symbol)).trade(signed_qty, price)
        self.entries.setdefault(symbol, []).append(Entry(key, signed_qty, price))

    def untrade(self, key: str, symbol: str) -> None:
        """Take a fill back: the position is what it had been without it."""
        entries = self.entries[symbol]
        entry = next(entry for entry in entries if entry.key == key)
        entries.remove(entry)
        self.cash += entry.signed_qty * entry.price
        position = Position(symbol)
        for kept in entries:
            position.trade(kept.signed_qty, kept.price)
        self.positions[symbol] = position

    def split(self, symbol: str, ratio: Decimal) -> None:
        """``ratio`` new shares for one old share; the cost of the position stays."""
        position = self.positions.get(symbol)
        self.entries[symbol] = [
            Entry(entry.key, entry.signed_qty * ratio, entry.price / ratio) for entry in self.entries.get(symbol, [])
        ]
        if position is not None:
            position.qty *= ratio
            position.average_entry /= ratio

    def transfer(self, amount: Decimal) -> None:
        """Cash put in (or taken out, negative)."""
        self.cash += amount
        self.deposited += amount

    def market_values(self, price_of: Callable[[str], Decimal]) -> tuple[Decimal, Decimal]:
        """Value of the long and (not positive) of the short positions, dollars."""
        long = short = ZERO
        for symbol, position in self.positions.items():
            if position.qty > 0:
                long += position.qty * price_of(symbol)
            elif position.qty < 0:
                short += position.qty * price_of(symbol)
        return long, short

    def equity(self, price_of: Callable[[str], Decimal]) -> Decimal:
        """Cash and positions at market."""
        long, short = self.market_values(price_of)
        return self.cash + long + short

    def buying_power(self, price_of: Callable[[str], Decimal], reserved: Decimal) -> Decimal:
        """Dollars that new positions may still cost: multiplier × equity less gross positions and open orders."""
        if self.buying_power_override is not None:
            return self.buying_power_override
        long, short = self.market_values(price_of)
        equity = self.cash + long + short
        return max(ZERO, self.multiplier * equity - (long - short) - reserved)
