"""The compiled event loop of the simulation: opens fill orders, closes mark the account and decide.

Two streams of events are merged by time: the open of every bar, at which waiting orders may fill, and the close of
every bar, at which the account is marked and strategies decide. At the same instant closes come first, so a decision
at the close of one bar can fill at the open of the next and never at a price that it has seen.

Only arrays come in and go out; frames, names and time zones are :mod:`torghut_assets.research.simulation`'s business.
The order of everything is fixed: symbols by index, strategies as they are given (priority, then strategy_id).
"""

from typing import Any

import numpy as np

from torghut_assets.research.simulation_account import (
    BARS_HELD,
    CASH,
    GROSS,
    LAST_ROW,
    NET,
    QTY,
    WAITING,
    Book,
    mark,
    sum_again,
    with_room,
)
from torghut_assets.research.simulation_decisions import act, ask, concerns, read_position
from torghut_assets.research.simulation_fills import close_out, fill_opens
from torghut_assets.research.simulation_tables import (
    CLOSE,
    CLOSE_AT,
    CLOSE_OUT,
    E_CASH,
    E_EQUITY,
    E_GROSS,
    E_NET,
    E_ROW,
    END_ROW,
    MARKET,
    OPEN_AT,
    OPENING_CASH,
    R_HOLD,
    RULES,
    S_TIMEFRAME,
    SESSION,
    START_ROW,
    STATE_N,
    SYMBOL,
    TIMEFRAME,
    WARMUP,
    Market,
    Rules,
    Step,
)
from torghut_runtime.compiled import (
    Integers,
    Matrix,
    Vector,
    float64,
    int64,
    integers,
    kernel,
    matrix,
    part_of_kernel,
    tuple_of,
)
from torghut_runtime.strategies.decide import STEP_TYPE


@part_of_kernel
def _warm_up(
    market: Market,
    rules: Rules,
    steps: tuple[Step, ...],
    start: int,
    pos: Vector,
    memory: Vector,
    out: Vector,
) -> None:
    """Show each strategy its last valid bars before the window, without a position; what it says is ignored.

    A bar that lacks a required feature is none of them, so a gap before the window does not shorten the warm-up.
    """
    n = len(steps)
    shown = np.zeros(rules.universe.shape, dtype=np.int64)
    begins = np.full(rules.universe.shape, start, dtype=np.int64)
    open_ended = 0
    for k in range(n):
        if rules.layout[k, WARMUP] > 0:
            open_ended += int(np.sum(rules.universe[k]))
    first = start
    while first > 0 and open_ended > 0:
        first -= 1
        symbol = market.ids[first, SYMBOL]
        for k in range(n):
            if shown[k, symbol] < rules.layout[k, WARMUP] and concerns(market, rules, k, first, symbol):
                shown[k, symbol] += 1
                begins[k, symbol] = first
                if shown[k, symbol] == rules.layout[k, WARMUP]:
                    open_ended -= 1
    for row in range(first, start):
        symbol = market.ids[row, SYMBOL]
        for k in range(n):
            if begins[k, symbol] <= row and concerns(market, rules, k, row, symbol):
                ask(steps[k], market, rules, k, row, symbol, pos, memory, out)


@part_of_kernel
def _ask_all(
    book: Book,
    market: Market,
    rules: Rules,
    steps: tuple[Step, ...],
    bar: int,
    symbol: int,
    pos: Vector,
    memory: Vector,
    out: Vector,
    codes: Integers,
    said: Matrix,
    errors: Integers,
) -> bool:
    """Ask every strategy about one bar; true when one of them wants something."""
    acting = False
    for k in range(len(steps)):
        slot = k * book.symbols.shape[0] + symbol
        codes[k] = R_HOLD
        if rules.layout[k, S_TIMEFRAME] == market.ids[bar, TIMEFRAME] and book.positions[slot, QTY] != 0.0:
            book.positions[slot, BARS_HELD] += 1.0
        if not concerns(market, rules, k, bar, symbol):
            continue
        read_position(book, slot, market.rows[bar, CLOSE], pos)
        code = ask(steps[k], market, rules, k, bar, symbol, pos, memory, out)
        if code < 0:
            errors[k] += 1
        elif code > 0:
            acting = True
            codes[k] = code
            said[k, 0] = out[0]
            said[k, 1] = out[1]
    return acting


def _run(
    market: Market,
    rules: Rules,
    steps: tuple[Step, ...],
    opens: Integers,
    window: Integers,
) -> tuple[Matrix, Matrix, Matrix, Integers, int, float]:
    n = len(steps)
    n_symbols = rules.universe.shape[1]
    book = Book(
        np.zeros(6),
        np.zeros((n * n_symbols, 3)),
        np.zeros((n_symbols, 5)),
        np.zeros((64, 10)),
        np.full(n * n_symbols, -1, dtype=np.int64),
    )
    book.account[CASH] = rules.settings[OPENING_CASH]
    book.symbols[:, LAST_ROW] = -1.0
    memory = np.zeros(max(int(np.sum(rules.layout[:, STATE_N])) * n_symbols, 1))
    pos = np.zeros(5)
    out = np.zeros(4)
    said = np.zeros((n, 2))
    codes = np.zeros(n, dtype=np.int64)
    wanted = np.zeros(n)
    errors = np.zeros(n, dtype=np.int64)
    counts = np.zeros(2, dtype=np.int64)
    decisions = np.zeros((64, 6))
    fills = np.zeros((64, 13))
    marks = np.zeros((64, 5))
    n_fills = 0
    n_marks = 0

    _warm_up(market, rules, steps, window[START_ROW], pos, memory, out)
    next_open = 0
    row = window[START_ROW]
    session = -1
    while row < window[END_ROW]:
        now = market.ids[row, CLOSE_AT]
        while next_open < len(opens) and market.ids[opens[next_open], OPEN_AT] < now:
            begin = next_open
            at = market.ids[opens[begin], OPEN_AT]
            while next_open < len(opens) and market.ids[opens[next_open], OPEN_AT] == at:
                next_open += 1
            if book.account[WAITING] > 0.0:
                fills = with_room(fills, n_fills + int(book.account[WAITING]))
                n_fills = fill_opens(book, market, rules, fills, n_fills, opens, begin, next_open)
        if market.ids[row, SESSION] != session:
            session = market.ids[row, SESSION]
            sum_again(book)
        end = row
        while end < window[END_ROW] and market.ids[end, CLOSE_AT] == now:
            symbol = market.ids[end, SYMBOL]
            mark(book, symbol, market.rows[end, CLOSE])
            book.symbols[symbol, LAST_ROW] = end
            end += 1
        for bar in range(row, end):
            symbol = market.ids[bar, SYMBOL]
            if _ask_all(book, market, rules, steps, bar, symbol, pos, memory, out, codes, said, errors):
                if counts[1] + n > book.orders.shape[0]:
                    orders = with_room(book.orders, counts[1] + n)
                    book = Book(book.account, book.positions, book.symbols, orders, book.heads)
                decisions = with_room(decisions, counts[0] + n)
                act(book, market, rules, bar, symbol, codes, said, wanted, decisions, counts)
        if end == window[END_ROW] and rules.settings[CLOSE_OUT] != 0.0:
            slots = n * n_symbols
            orders = with_room(book.orders, counts[1] + slots)
            book = Book(book.account, book.positions, book.symbols, orders, book.heads)
            fills = with_room(fills, n_fills + slots)
            before = n_fills
            n_fills = close_out(book, market, rules, fills, n_fills, counts[1])
            counts[1] += n_fills - before
        marks = with_room(marks, n_marks + 1)
        marks[n_marks, E_ROW] = end - 1
        marks[n_marks, E_EQUITY] = book.account[CASH] + book.account[NET]
        marks[n_marks, E_CASH] = book.account[CASH]
        marks[n_marks, E_GROSS] = book.account[GROSS]
        marks[n_marks, E_NET] = book.account[NET]
        n_marks += 1
        row = end
    return decisions[: counts[0]], fills[:n_fills], marks[:n_marks], errors, counts[1], book.account[CASH]


_LOOPS: dict[int, Any] = {}


def simulation_loop(strategies: int) -> Any:
    """The event loop for a number of strategies; compiled once for each number and cached on disk.

    It takes a :class:`Market`, :class:`Rules`, the step functions as a tuple, the window's row indices by time of open
    and the window (first row, end row). It returns the tables of decisions, fills and marks, per strategy the number of
    invalid step outputs, the number of orders and the closing cash.
    """
    if strategies not in _LOOPS:
        result = tuple_of(matrix, matrix, matrix, integers, int64, float64)
        steps = tuple_of(*[STEP_TYPE] * strategies)
        _LOOPS[strategies] = kernel(result(MARKET, RULES, steps, integers, integers))(_run)
    return _LOOPS[strategies]
