"""Compiled: how strategies are asked at the close of a bar and how what they say becomes orders.

Exits come first, then entries as far as caps, the gross limit and other strategies' opposite entries leave room.
"""

import numpy as np

from torghut_assets.research.simulation_account import (
    AVERAGE,
    BARS_HELD,
    BOOK,
    CASH,
    GROSS,
    NET,
    QTY,
    RESERVED,
    Book,
    cancel,
    place,
    waiting_qty,
)
from torghut_assets.research.simulation_tables import (
    ALLOW_SHORTS,
    BAR_NO,
    CLOSE,
    D_PRICE,
    D_REASON,
    D_ROW,
    D_SIGNAL,
    D_STRATEGY,
    D_TARGET,
    FEATURE_AT,
    FEATURES_N,
    FIXED_QTY,
    FRACTIONAL,
    GROSS_LIMIT,
    LATENCY,
    MARKET,
    NOTIONAL_CAP,
    PARAM_AT,
    PARAMS_N,
    POSITION_PCT,
    PYRAMID,
    R_CONFLICT,
    R_ENTRY,
    R_EXIT,
    R_HOLD,
    R_NO_ROOM,
    R_NO_SHORTS,
    R_TARGET,
    R_TOO_SMALL,
    REQUIRED_N,
    RULES,
    S_TIMEFRAME,
    SECONDS_TO_CLOSE,
    STATE_AT,
    STATE_N,
    TIMEFRAME,
    Market,
    Rules,
    Step,
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
from torghut_runtime.risk.sizing import entry_quantity, net_entries, target_quantity
from torghut_runtime.strategies.decide import STEP_TYPE, decide


@kernel(boolean(MARKET, RULES, int64, int64, int64))
def concerns(market: Market, rules: Rules, strategy: int, row: int, symbol: int) -> bool:
    """Whether a strategy decides on this row: its timeframe, its symbol, and every feature that it requires."""
    if rules.layout[strategy, S_TIMEFRAME] != market.ids[row, TIMEFRAME] or rules.universe[strategy, symbol] == 0:
        return False
    at = rules.layout[strategy, FEATURE_AT]
    for index in range(at, at + rules.layout[strategy, REQUIRED_N]):
        if np.isnan(market.features[row, index]):
            return False
    return True


@kernel(int64(STEP_TYPE, MARKET, RULES, int64, int64, int64, vector, vector, vector))
def ask(
    step: Step,
    market: Market,
    rules: Rules,
    strategy: int,
    row: int,
    symbol: int,
    pos: Vector,
    memory: Vector,
    out: Vector,
) -> int:
    """What a strategy says to one bar of one symbol: the reason code, and ``out`` as the strategy contract has it."""
    layout = rules.layout[strategy]
    state_at = layout[STATE_AT] + symbol * layout[STATE_N]
    return decide(
        step,
        market.features[row][layout[FEATURE_AT] : layout[FEATURE_AT] + layout[FEATURES_N]],
        rules.parameters[layout[PARAM_AT] : layout[PARAM_AT] + layout[PARAMS_N]],
        rules.exits[strategy],
        pos,
        market.rows[row, SECONDS_TO_CLOSE],
        rules.limits[strategy, PYRAMID] != 0.0,
        memory[state_at : state_at + layout[STATE_N]],
        out,
    )


@kernel(void(BOOK, int64, float64, vector))
def read_position(book: Book, slot: int, price: float, pos: Vector) -> None:
    """The position vector of the strategy contract."""
    qty = book.positions[slot, QTY]
    average = book.positions[slot, AVERAGE]
    pos[0] = qty
    pos[1] = average
    pos[2] = book.positions[slot, BARS_HELD]
    pos[3] = 0.0 if qty == 0.0 else (price / average - 1.0) * (1.0 if qty > 0.0 else -1.0)
    pos[4] = waiting_qty(book, slot, False) + waiting_qty(book, slot, True)


@kernel(void(matrix, int64, int64, int64, float64, float64, float64, int64))
def _write_decision(
    decisions: Matrix, at: int, strategy: int, row: int, signal: float, target: float, price: float, reason: int
) -> None:
    decisions[at, D_STRATEGY] = strategy
    decisions[at, D_ROW] = row
    decisions[at, D_SIGNAL] = signal
    decisions[at, D_TARGET] = target
    decisions[at, D_PRICE] = price
    decisions[at, D_REASON] = reason


@kernel(float64(BOOK, RULES, int64, int64, float64, float64, float64))
def _entry_qty(
    book: Book, rules: Rules, strategy: int, slot: int, fraction: float, price: float, reserved: float
) -> float:
    """Shares that an entry may buy or sell short, at most; 0 when nothing fits."""
    limits = rules.limits[strategy]
    equity = book.account[CASH] + book.account[NET]
    qty = entry_quantity(
        price,
        equity,
        limits[NOTIONAL_CAP],
        limits[POSITION_PCT],
        limits[FIXED_QTY],
        abs(fraction),
        book.account[GROSS],
        reserved,
        rules.settings[GROSS_LIMIT],
        rules.settings[FRACTIONAL] != 0.0,
    )
    held = abs(book.positions[slot, QTY]) + abs(waiting_qty(book, slot, False))
    if held > 0.0 and not np.isnan(limits[POSITION_PCT]):
        room = max(equity * limits[POSITION_PCT] / price - held, 0.0)
        qty = min(qty, room if rules.settings[FRACTIONAL] != 0.0 else np.floor(room))
    return qty


@kernel(void(integers, vector))
def _net(codes: Integers, wanted: Vector) -> None:
    """Net the entries of one bar; what that leaves nothing of is a conflict."""
    before = wanted.copy()
    net_entries(wanted)
    for strategy in range(len(wanted)):
        if before[strategy] != 0.0 and wanted[strategy] == 0.0:
            codes[strategy] = R_CONFLICT


@kernel(float64(BOOK, RULES, float64, float64))
def _room(book: Book, rules: Rules, price: float, reserved: float) -> float:
    """Shares that fit under the gross limit beside positions and reservations."""
    equity = book.account[CASH] + book.account[NET]
    room = max(rules.settings[GROSS_LIMIT] * equity - book.account[GROSS] - reserved, 0.0) / price
    return room if rules.settings[FRACTIONAL] != 0.0 else np.floor(room)


@kernel(void(BOOK, MARKET, RULES, int64, int64, int64, integers, matrix, vector, matrix, integers))
def _act_on_exit(
    book: Book,
    market: Market,
    rules: Rules,
    strategy: int,
    row: int,
    slot: int,
    codes: Integers,
    said: Matrix,
    wanted: Vector,
    decisions: Matrix,
    counts: Integers,
) -> None:
    """Exits and targets: what waits is cancelled, a smaller position is sold down to, a larger one left in ``wanted``.

    An exit of nothing, and a second exit while one waits, are no decisions.
    """
    code = codes[strategy]
    price = market.rows[row, CLOSE]
    qty = book.positions[slot, QTY]
    signal = said[strategy, 0]
    goal = 0.0
    leaving = waiting_qty(book, slot, True) != 0.0
    entering = waiting_qty(book, slot, False) != 0.0
    if code == R_TARGET:
        fraction = said[strategy, 1]
        if fraction < 0.0 and rules.settings[ALLOW_SHORTS] == 0.0:
            fraction = 0.0
        limits = rules.limits[strategy]
        goal = target_quantity(
            price,
            book.account[CASH] + book.account[NET],
            limits[NOTIONAL_CAP],
            limits[POSITION_PCT],
            limits[FIXED_QTY],
            fraction,
            rules.settings[GROSS_LIMIT],
            rules.settings[FRACTIONAL] != 0.0,
        )
        if goal * qty < 0.0:
            goal = 0.0
        cancel(book, slot, False)
        if abs(goal) > abs(qty):
            wanted[strategy] = goal - qty
            return
    else:
        codes[strategy] = R_HOLD
        if leaving or (qty == 0.0 and not entering):
            return
        cancel(book, slot, True)
    codes[strategy] = R_HOLD
    if goal != qty:
        first = market.ids[row, BAR_NO] + 1 + int(rules.settings[LATENCY])
        place(book, counts[1], strategy, slot, goal - qty, True, row, first, price)
        counts[1] += 1
    _write_decision(decisions, counts[0], strategy, row, signal, goal, price, code)
    counts[0] += 1


@kernel(void(BOOK, MARKET, RULES, int64, int64, integers, matrix, vector, matrix, integers))
def act(
    book: Book,
    market: Market,
    rules: Rules,
    row: int,
    symbol: int,
    codes: Integers,
    said: Matrix,
    wanted: Vector,
    decisions: Matrix,
    counts: Integers,
) -> None:
    """Turn what the strategies said about one bar into orders: exits first, then entries as far as there is room.

    ``counts`` holds the number of decisions and of orders; both tables must have room for one more per strategy.
    """
    n_symbols = book.symbols.shape[0]
    price = market.rows[row, CLOSE]
    first = market.ids[row, BAR_NO] + 1 + int(rules.settings[LATENCY])
    wanted[:] = 0.0
    for strategy in range(len(codes)):
        slot = strategy * n_symbols + symbol
        if codes[strategy] == R_ENTRY and said[strategy, 0] * book.positions[slot, QTY] < 0.0:
            codes[strategy] = R_EXIT
        if codes[strategy] >= R_EXIT:
            _act_on_exit(book, market, rules, strategy, row, slot, codes, said, wanted, decisions, counts)
    reserved = book.account[RESERVED]
    for strategy in range(len(codes)):
        if codes[strategy] == R_HOLD:
            continue
        slot = strategy * n_symbols + symbol
        room = _room(book, rules, price, reserved)
        if codes[strategy] == R_TARGET:
            side = 1.0 if wanted[strategy] > 0.0 else -1.0
            qty = min(abs(wanted[strategy]), room)
        else:
            side = said[strategy, 0]
            qty = _entry_qty(book, rules, strategy, slot, said[strategy, 1], price, reserved)
        if side < 0.0 and rules.settings[ALLOW_SHORTS] == 0.0:
            qty = 0.0
            codes[strategy] = R_NO_SHORTS
        elif qty <= 0.0:
            codes[strategy] = R_NO_ROOM if room <= 0.0 else R_TOO_SMALL
        wanted[strategy] = side * qty
        reserved += qty * price
    _net(codes, wanted)
    for strategy in range(len(codes)):
        if codes[strategy] == R_HOLD:
            continue
        slot = strategy * n_symbols + symbol
        if wanted[strategy] != 0.0:
            place(book, counts[1], strategy, slot, wanted[strategy], False, row, first, price)
            counts[1] += 1
        goal = book.positions[slot, QTY] + wanted[strategy]
        _write_decision(decisions, counts[0], strategy, row, said[strategy, 0], goal, price, codes[strategy])
        counts[0] += 1
