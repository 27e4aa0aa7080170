"""What a strategy decides at the close of one bar: common exits first, then its own step, checked.

One compiled function, called by the simulation and by the runtime alike, so that both follow the same rules. Sizing,
orders and everything that knows more than one strategy and one symbol is not its business.
"""

from collections.abc import Callable

import numpy as np

from torghut_runtime.compiled import Vector, boolean, float64, function_type, int64, kernel, vector, void
from torghut_runtime.strategies.contract import FIRST_COMMON_TAG

STEP_SIGNATURE = void(vector, vector, vector, vector, vector)
"""Signature that every step is compiled for: f, p, pos, state, out."""
STEP_TYPE = function_type(STEP_SIGNATURE)
"""Type of a compiled step as an argument of a kernel."""

REASON_HOLD, REASON_ENTRY, REASON_EXIT, REASON_TARGET = 0, 1, 2, 3
REASON_STOP_LOSS, REASON_TAKE_PROFIT, REASON_TIME_STOP, REASON_FLATTEN = 4, 5, 6, 7
REASON_INVALID = -1

REASONS: dict[int, str] = {
    REASON_HOLD: "hold",
    REASON_ENTRY: "entry",
    REASON_EXIT: "exit_signal",
    REASON_TARGET: "target",
    REASON_STOP_LOSS: "stop_loss",
    REASON_TAKE_PROFIT: "take_profit",
    REASON_TIME_STOP: "time_stop",
    REASON_FLATTEN: "flatten_before_close",
    REASON_INVALID: "invalid_output",
}
"""Codes that :func:`decide` returns."""

_TAG_LIMIT = 2.0**FIRST_COMMON_TAG


@kernel(boolean(vector))
def is_valid_output(out: Vector) -> bool:
    """Whether a step's output is in range: no NaN, a known signal, target, confidence and tags that fit it."""
    signal, target, confidence, tags = out[0], out[1], out[2], out[3]
    if not (-1.0 <= target <= 1.0 and 0.0 <= confidence <= 1.0 and 0.0 <= tags < _TAG_LIMIT):
        return False
    if tags != np.floor(tags):
        return False
    if signal == 1.0:
        return target > 0.0
    if signal == -1.0:
        return target != 0.0
    return signal == 0.0 or signal == 2.0 or signal == 3.0


@kernel(int64(vector, vector, boolean))
def common_exit(exits: Vector, pos: Vector, closing: bool) -> int:
    """Reason code of the first common exit that applies, else 0; an exit that waits to be filled is not repeated."""
    qty, pending = pos[0], pos[4]
    if qty == 0.0:
        return 7 if closing and pending != 0.0 else 0
    if qty + pending == 0.0:
        return 0
    if pos[3] <= -exits[0]:
        return 4
    if pos[3] >= exits[1]:
        return 5
    if pos[2] >= exits[2]:
        return 6
    return 7 if closing else 0


@kernel(int64(vector, boolean, boolean, vector))
def strategy_decision(pos: Vector, closing: bool, pyramid: bool, out: Vector) -> int:
    """Reason code of a valid step output, given the position and what is pending."""
    signal = out[0]
    qty, pending = pos[0], pos[4]
    direction = qty if qty != 0.0 else pending
    leaving = qty != 0.0 and qty + pending == 0.0
    if signal == 0.0:
        return 0
    if signal == 3.0:
        if out[1] == 0.0:
            return 0 if direction == 0.0 or leaving else 3
        return 0 if closing else 3
    if signal == 2.0 or signal * direction < 0.0:
        return 0 if direction == 0.0 or leaving else 2
    if closing or (direction != 0.0 and (leaving or not pyramid)):
        return 0
    return 1


@kernel(int64(STEP_TYPE, vector, vector, vector, vector, float64, boolean, vector, vector))
def decide(
    step: Callable[[Vector, Vector, Vector, Vector, Vector], None],
    f: Vector,
    p: Vector,
    exits: Vector,
    pos: Vector,
    seconds_to_close: float,
    pyramid: bool,
    state: Vector,
    out: Vector,
) -> int:
    """Judge one closed bar of one symbol; returns a code of :data:`REASONS` and fills ``out``.

    ``f``: features of the bar, none of the required ones NaN (the caller skips such a bar); ``p``: own parameters;
    ``exits``: see :meth:`~torghut_runtime.strategies.contract.Exits.vector`; ``pos``: see
    :data:`~torghut_runtime.strategies.contract.POSITION`; ``seconds_to_close``: from the bar's close to the session's
    close, NaN where there is none; ``state``: the strategy's memory of this symbol; ``out``: four entries.

    * The step sees every bar, also those at which a common exit decides, so its memory never has a gap.
    * Order of the exits: stop loss, take profit, time stop, flatten before close. They need a position, only
      flattening also drops a waiting entry. They hold even when the step's own output is invalid.
    * From ``flatten_before_close_seconds`` before the close nothing is entered.
    * The direction held is that of the position, or without one that of the waiting entry. A signal in that direction
      is a hold unless ``pyramid``; one against it is an exit; an exit of nothing, or while the whole position is
      already being sold, is a hold.
    * On code -1 ``out`` must not be used; on code 0 it holds what the step said.
    """
    out[:] = 0.0
    step(f, p, pos, state, out)
    closing = seconds_to_close <= exits[3]
    code = common_exit(exits, pos, closing)
    if code != 0:
        out[0] = 2.0
        out[1] = 0.0
        out[2] = 1.0
        out[3] = _TAG_LIMIT * 2.0 ** (code - 4)
        return code
    if not is_valid_output(out):
        return -1
    return strategy_decision(pos, closing, pyramid, out)
