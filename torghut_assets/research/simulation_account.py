"""The simulated account as arrays: cash, positions, marks and waiting orders, and the functions that change them.

Cash, exposure and reservations stand in one vector; positions in one row per (strategy, symbol), called a slot; waiting
orders in one table, chained per slot in the order in which they were placed. Which orders are placed and when they
fill is the event loop's business (:mod:`torghut_assets.research.simulation_loop`).
"""

from typing import NamedTuple

import numpy as np

from torghut_runtime.compiled import (
    Integers,
    Matrix,
    Vector,
    boolean,
    float64,
    int64,
    integers,
    kernel,
    matrix,
    record_type,
    vector,
    void,
)
from torghut_runtime.risk.costs import fill_costs

# the account
CASH, GROSS, NET, RESERVED, WAITING_ENTRIES, WAITING = range(6)
# positions, one row per slot
QTY, AVERAGE, BARS_HELD = range(3)
# symbols: price of the last mark, sum of absolute and of signed quantities over the strategies, volume taken of the
# current bar, last row seen
MARK, HELD, NET_HELD, TAKEN, LAST_ROW = range(5)
# orders: strategy, side (1, -1), quantity left, exit flag, deciding row, number of the first bar that may fill it,
# reference price, next order of the slot, quantity and notional of earlier fills
O_STRATEGY, O_SIDE, O_LEFT, O_EXIT, O_ROW, O_FIRST, O_PRICE, O_NEXT, O_FILLED_QTY, O_FILLED_NOTIONAL = range(10)

_HALVINGS = 64
"""More than a float64 has bits, so that the last share and the last cent are found."""


class Book(NamedTuple):
    """Everything that belongs to the account."""

    account: Vector
    positions: Matrix
    symbols: Matrix
    orders: Matrix
    heads: Integers


BOOK = record_type(Book, vector, matrix, matrix, matrix, integers)


@kernel(matrix(matrix, int64))
def with_room(table: Matrix, needed: int) -> Matrix:
    """The table itself, or a longer copy where it has fewer than ``needed`` rows."""
    if needed <= table.shape[0]:
        return table
    grown = np.zeros((max(needed, table.shape[0] * 2), table.shape[1]))
    grown[: table.shape[0]] = table
    return grown


@kernel(void(BOOK, int64, float64))
def mark(book: Book, symbol: int, price: float) -> None:
    """Move a symbol's mark; exposures follow."""
    step = price - book.symbols[symbol, MARK]
    if book.symbols[symbol, HELD] != 0.0:
        book.account[GROSS] += book.symbols[symbol, HELD] * step
        book.account[NET] += book.symbols[symbol, NET_HELD] * step
    book.symbols[symbol, MARK] = price


@kernel(void(BOOK))
def sum_again(book: Book) -> None:
    """Recompute the exposures from scratch, so that rounding neither accumulates nor outlives a position."""
    gross = 0.0
    net = 0.0
    for symbol in range(book.symbols.shape[0]):
        if book.symbols[symbol, HELD] != 0.0:
            gross += book.symbols[symbol, HELD] * book.symbols[symbol, MARK]
            net += book.symbols[symbol, NET_HELD] * book.symbols[symbol, MARK]
    book.account[GROSS] = gross
    book.account[NET] = net


@kernel(void(BOOK, int64, int64, float64, float64, vector))
def book_fill(book: Book, slot: int, symbol: int, signed_qty: float, price: float, cost: Vector) -> None:
    """Book a fill of ``signed_qty`` (not 0) at ``price`` and take its costs from the cash."""
    mark(book, symbol, price)
    position = book.positions[slot]
    before = position[QTY]
    after = before + signed_qty
    if before * signed_qty >= 0.0:
        position[AVERAGE] = (abs(before) * position[AVERAGE] + abs(signed_qty) * price) / abs(after)
    elif before * after < 0.0:
        position[AVERAGE] = price
        position[BARS_HELD] = 0.0
    if before == 0.0 or after == 0.0:
        position[BARS_HELD] = 0.0
    if after == 0.0:
        position[AVERAGE] = 0.0
    position[QTY] = after
    grown = abs(after) - abs(before)
    book.symbols[symbol, HELD] += grown
    book.symbols[symbol, NET_HELD] += signed_qty
    book.account[GROSS] += grown * price
    book.account[NET] += signed_qty * price
    book.account[CASH] -= signed_qty * price + cost[0] + cost[1] + cost[2] + cost[3]
    if book.symbols[symbol, HELD] == 0.0:
        sum_again(book)  # a flat account has no exposure, not even one of rounding


@kernel(void(BOOK, int64, int64, int64))
def drop_order(book: Book, slot: int, previous: int, order: int) -> None:
    """Take a finished or cancelled order out of its chain; an entry gives its reservation back."""
    follower = int(book.orders[order, O_NEXT])
    if previous < 0:
        book.heads[slot] = follower
    else:
        book.orders[previous, O_NEXT] = follower
    book.account[WAITING] -= 1.0
    if book.orders[order, O_EXIT] == 0.0:
        book.account[RESERVED] -= book.orders[order, O_LEFT] * book.orders[order, O_PRICE]
        book.account[WAITING_ENTRIES] -= 1.0
        if book.account[WAITING_ENTRIES] == 0.0:
            book.account[RESERVED] = 0.0


@kernel(void(BOOK, int64, boolean))
def cancel(book: Book, slot: int, entries_only: bool) -> None:
    """Cancel the waiting orders of a slot, or its entries."""
    previous = -1
    order = book.heads[slot]
    while order >= 0:
        follower = int(book.orders[order, O_NEXT])
        if entries_only and book.orders[order, O_EXIT] != 0.0:
            previous = order
        else:
            drop_order(book, slot, previous, order)
        order = follower


@kernel(float64(BOOK, int64, boolean))
def waiting_qty(book: Book, slot: int, exits: bool) -> float:
    """Signed quantity of the waiting exits, or of the waiting entries, of a slot."""
    total = 0.0
    order = book.heads[slot]
    while order >= 0:
        if (book.orders[order, O_EXIT] != 0.0) == exits:
            total += book.orders[order, O_SIDE] * book.orders[order, O_LEFT]
        order = int(book.orders[order, O_NEXT])
    return total


@kernel(void(BOOK, int64, int64, int64, float64, boolean, int64, int64, float64))
def place(
    book: Book,
    order: int,
    strategy: int,
    slot: int,
    signed_qty: float,
    is_exit: bool,
    row: int,
    first_bar: int,
    price: float,
) -> None:
    """Write an order at the end of its slot's chain; an entry reserves its notional at ``price``."""
    book.orders[order, O_STRATEGY] = strategy
    book.orders[order, O_SIDE] = 1.0 if signed_qty > 0.0 else -1.0
    book.orders[order, O_LEFT] = abs(signed_qty)
    book.orders[order, O_EXIT] = 1.0 if is_exit else 0.0
    book.orders[order, O_ROW] = row
    book.orders[order, O_FIRST] = first_bar
    book.orders[order, O_PRICE] = price
    book.orders[order, O_NEXT] = -1.0
    book.orders[order, O_FILLED_QTY] = 0.0
    book.orders[order, O_FILLED_NOTIONAL] = 0.0
    book.account[WAITING] += 1.0
    if not is_exit:
        book.account[RESERVED] += abs(signed_qty) * price
        book.account[WAITING_ENTRIES] += 1.0
    last = book.heads[slot]
    if last < 0:
        book.heads[slot] = order
        return
    while book.orders[last, O_NEXT] >= 0.0:
        last = int(book.orders[last, O_NEXT])
    book.orders[last, O_NEXT] = order


@kernel(float64(BOOK, int64, float64, float64, float64, float64, float64, vector, float64, vector))
def affordable(
    book: Book,
    order: int,
    wanted: float,
    price: float,
    half_spread: float,
    volume: float,
    max_participation: float,
    costs: Vector,
    lot: float,
    cost: Vector,
) -> float:
    """The quantity up to ``wanted`` that the cash at hand pays for, costs included; ``cost`` holds its costs.

    Sales need no cash. ``lot`` is 1 for whole shares and 0 for fractions. What an order costs grows with the quantity,
    but not in proportion (minimum commission, impact), so the most that is affordable is found by halving.
    """
    if wanted <= 0.0:
        return 0.0
    is_sell = book.orders[order, O_SIDE] < 0.0
    filled_qty = book.orders[order, O_FILLED_QTY]
    filled_notional = book.orders[order, O_FILLED_NOTIONAL]
    enough, too_much, qty = 0.0, wanted, wanted
    for _ in range(_HALVINGS):
        fill_costs(
            costs, qty, price, is_sell, half_spread, volume, max_participation, filled_qty, filled_notional, cost
        )  # fmt: skip
        if is_sell or qty * price + cost[0] + cost[1] + cost[2] + cost[3] <= book.account[CASH]:
            enough = qty
            if qty == wanted:
                return qty
        else:
            too_much = qty
        qty = (enough + too_much) / 2.0
        if lot != 0.0:
            qty = np.floor(qty)
        if qty <= enough or qty >= too_much:
            break
    if enough > 0.0:
        fill_costs(
            costs, enough, price, is_sell, half_spread, volume, max_participation, filled_qty, filled_notional, cost
        )  # fmt: skip
    return enough
