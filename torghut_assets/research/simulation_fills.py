"""Compiled: how waiting orders meet the open of a bar, and how a window is closed out.

Which orders exist is decided in :mod:`torghut_assets.research.simulation_decisions`.
"""

import numpy as np

from torghut_assets.research.simulation_account import (
    BOOK,
    LAST_ROW,
    MARK,
    O_EXIT,
    O_FILLED_NOTIONAL,
    O_FILLED_QTY,
    O_FIRST,
    O_LEFT,
    O_NEXT,
    O_PRICE,
    O_ROW,
    O_SIDE,
    O_STRATEGY,
    QTY,
    RESERVED,
    TAKEN,
    Book,
    affordable,
    book_fill,
    cancel,
    drop_order,
    place,
)
from torghut_assets.research.simulation_tables import (
    BAR_NO,
    CLOSE_AT,
    COST_ENTRIES,
    F_AT,
    F_DECIDED,
    F_HALF_SPREAD,
    F_ORDER,
    F_PRICE,
    F_QTY,
    F_SIDE,
    F_STRATEGY,
    F_SYMBOL,
    FRACTIONAL,
    HALF_SPREAD,
    MARKET,
    MAX_ORDER_BARS,
    MAX_PARTICIPATION,
    OPEN,
    OPEN_AT,
    RULES,
    S_TIMEFRAME,
    SYMBOL,
    TIMEFRAME,
    VOLUME,
    Market,
    Rules,
)
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
    vector,
    void,
)
from torghut_runtime.risk.costs import fill_costs


@kernel(void(matrix, int64, BOOK, int64, int64, int64, float64, float64, vector))
def _write_fill(
    fills: Matrix, at: int, book: Book, order: int, symbol: int, moment: int, qty: float, price: float, cost: Vector
) -> None:
    fills[at, F_ORDER] = order
    fills[at, F_STRATEGY] = book.orders[order, O_STRATEGY]
    fills[at, F_SYMBOL] = symbol
    fills[at, F_DECIDED] = book.orders[order, O_ROW]
    fills[at, F_AT] = moment
    fills[at, F_SIDE] = book.orders[order, O_SIDE]
    fills[at, F_QTY] = qty
    fills[at, F_PRICE] = price
    for part in range(COST_ENTRIES):
        fills[at, F_HALF_SPREAD + part] = cost[part]


@kernel(int64(BOOK, MARKET, RULES, matrix, int64, int64, int64, int64, boolean))
def _fill_slot(
    book: Book,
    market: Market,
    rules: Rules,
    fills: Matrix,
    n_fills: int,
    bar: int,
    symbol: int,
    slot: int,
    exits: bool,
) -> int:
    """Let the waiting exits, or entries, of one slot meet the open of ``bar``; returns the number of fills after it.

    A fill takes what is left of the bar's share of volume, and a buy what the cash at hand covers; an entry that cash
    has cut is done, whatever else is left waits for the next bar.
    """
    settings = rules.settings
    whole = settings[FRACTIONAL] == 0.0
    price = market.rows[bar, OPEN]
    volume = market.rows[bar, VOLUME]
    cost = np.zeros(COST_ENTRIES)
    previous = -1
    order = book.heads[slot]
    while order >= 0:
        follower = int(book.orders[order, O_NEXT])
        waited = market.ids[bar, BAR_NO] - int(book.orders[order, O_FIRST])
        if (book.orders[order, O_EXIT] != 0.0) != exits or waited < 0:
            previous = order
            order = follower
            continue
        if not exits and waited >= settings[MAX_ORDER_BARS]:
            drop_order(book, slot, previous, order)
            order = follower
            continue
        wanted = book.orders[order, O_LEFT]
        if not np.isnan(volume):
            free = max(volume * settings[MAX_PARTICIPATION] - book.symbols[symbol, TAKEN], 0.0)
            wanted = min(wanted, np.floor(free) if whole else free)
        half_spread = market.rows[int(book.orders[order, O_ROW]), HALF_SPREAD]
        qty = affordable(
            book, order, wanted, price, half_spread, volume, settings[MAX_PARTICIPATION], rules.costs,
            1.0 if whole else 0.0, cost,
        )  # fmt: skip
        if qty > 0.0:
            book_fill(book, slot, symbol, book.orders[order, O_SIDE] * qty, price, cost)
            book.symbols[symbol, TAKEN] += qty
            book.orders[order, O_LEFT] -= qty
            book.orders[order, O_FILLED_QTY] += qty
            book.orders[order, O_FILLED_NOTIONAL] += qty * price
            if not exits:
                book.account[RESERVED] -= qty * book.orders[order, O_PRICE]
            _write_fill(fills, n_fills, book, order, symbol, market.ids[bar, OPEN_AT], qty, price, cost)
            n_fills += 1
        if book.orders[order, O_LEFT] <= 0.0 or (qty < wanted and not exits):
            drop_order(book, slot, previous, order)
        else:
            previous = order
        order = follower
    return n_fills


@kernel(int64(BOOK, MARKET, RULES, matrix, int64, integers, int64, int64))
def fill_opens(
    book: Book,
    market: Market,
    rules: Rules,
    fills: Matrix,
    n_fills: int,
    opens: Integers,
    begin: int,
    end: int,
) -> int:
    """The bars ``opens[begin:end]`` open at the same instant: exits first, since entries may use the cash they make."""
    n_symbols = book.symbols.shape[0]
    for index in range(begin, end):
        book.symbols[market.ids[opens[index], SYMBOL], TAKEN] = 0.0
    for turn in range(2):
        for strategy in range(rules.limits.shape[0]):
            for index in range(begin, end):
                bar = opens[index]
                symbol = market.ids[bar, SYMBOL]
                slot = strategy * n_symbols + symbol
                if book.heads[slot] >= 0 and rules.layout[strategy, S_TIMEFRAME] == market.ids[bar, TIMEFRAME]:
                    n_fills = _fill_slot(book, market, rules, fills, n_fills, bar, symbol, slot, turn == 0)
    return n_fills


@kernel(int64(BOOK, MARKET, RULES, matrix, int64, int64))
def close_out(book: Book, market: Market, rules: Rules, fills: Matrix, n_fills: int, n_orders: int) -> int:
    """End of the window: cancel what waits and close every position at its last mark, with full costs.

    Returns the number of fills after it; as many orders were added.
    """
    cost = np.zeros(COST_ENTRIES)
    n_symbols = book.symbols.shape[0]
    now = 0
    for symbol in range(n_symbols):
        if book.symbols[symbol, LAST_ROW] >= 0.0:
            now = max(now, market.ids[int(book.symbols[symbol, LAST_ROW]), CLOSE_AT])
    for slot in range(len(book.heads)):
        cancel(book, slot, False)
        qty = book.positions[slot, QTY]
        if qty == 0.0:
            continue
        symbol = slot % n_symbols
        row = int(book.symbols[symbol, LAST_ROW])
        price = book.symbols[symbol, MARK]
        place(book, n_orders, slot // n_symbols, slot, -qty, True, row, 0, price)
        fill_costs(
            rules.costs, abs(qty), price, qty > 0.0, market.rows[row, HALF_SPREAD], market.rows[row, VOLUME],
            rules.settings[MAX_PARTICIPATION], 0.0, 0.0, cost,
        )  # fmt: skip
        book_fill(book, slot, symbol, -qty, price, cost)
        _write_fill(fills, n_fills, book, n_orders, symbol, now, abs(qty), price, cost)
        drop_order(book, slot, -1, n_orders)
        n_fills += 1
        n_orders += 1
    return n_fills
