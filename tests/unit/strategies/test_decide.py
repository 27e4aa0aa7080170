"""What becomes of a step's output: validity, common exits, holds, exits and pyramids."""

import numpy as np
import pytest

from torghut_runtime.compiled import Vector, functions_as_arguments, kernel
from torghut_runtime.strategies.contract import COMMON_TAGS, Exits, tag_names
from torghut_runtime.strategies.decide import REASONS, STEP_SIGNATURE, decide

NAN = np.nan
LONG = (10.0, 100.0, 3.0, 0.0, 0.0)
SHORT = (-10.0, 100.0, 3.0, 0.0, 0.0)
FLAT = (0.0, 0.0, 0.0, 0.0, 0.0)
WAITING_TO_BUY = (0.0, 0.0, 0.0, 0.0, 10.0)
LEAVING = (10.0, 100.0, 3.0, 0.0, -10.0)
PARTLY_LEAVING = (10.0, 100.0, 3.0, 0.0, -4.0)


@kernel(STEP_SIGNATURE, cache=False)
def echo(f: Vector, p: Vector, pos: Vector, state: Vector, out: Vector) -> None:
    """Say what the features say; count the bars."""
    for index in range(4):
        out[index] = f[index]
    state[0] += 1.0


def said(
    signal: float,
    target: float = 1.0,
    confidence: float = 1.0,
    tags: float = 0.0,
    *,
    pos: tuple[float, ...] = FLAT,
    exits: Exits | None = None,
    seconds_to_close: float = NAN,
    pyramid: bool = False,
) -> tuple[str, Vector]:
    out, state = np.empty(4), np.zeros(1)
    with functions_as_arguments():
        code = decide(
            echo,
            np.array([signal, target, confidence, tags]),
            np.zeros(0),
            (exits or Exits()).vector(),
            np.array(pos),
            seconds_to_close,
            pyramid,
            state,
            out,
        )
    assert state[0] == 1.0, "the step sees every bar"
    return REASONS[code], out


@pytest.mark.parametrize(
    ("output", "valid"),
    [
        ((0.0, 0.0, 0.0, 0.0), True),
        ((1.0, 1.0, 1.0, 3.0), True),
        ((1.0, 1e-9, 0.0, 0.0), True),
        ((1.0, 0.0, 0.5, 0.0), False),
        ((1.0, -0.5, 0.5, 0.0), False),
        ((-1.0, -1.0, 0.5, 0.0), True),
        ((-1.0, 1.0, 0.5, 0.0), True),
        ((-1.0, 0.0, 0.5, 0.0), False),
        ((2.0, 0.0, 1.0, 0.0), True),
        ((3.0, -1.0, 1.0, 0.0), True),
        ((3.0, 1.0000001, 1.0, 0.0), False),
        ((0.5, 1.0, 1.0, 0.0), False),
        ((4.0, 1.0, 1.0, 0.0), False),
        ((NAN, 1.0, 1.0, 0.0), False),
        ((1.0, NAN, 1.0, 0.0), False),
        ((1.0, 1.0, NAN, 0.0), False),
        ((1.0, 1.0, 1.1, 0.0), False),
        ((1.0, 1.0, -0.1, 0.0), False),
        ((1.0, 1.0, 1.0, NAN), False),
        ((1.0, 1.0, 1.0, 0.5), False),
        ((1.0, 1.0, 1.0, -1.0), False),
        ((1.0, 1.0, 1.0, 2.0**40 - 1), True),
        ((1.0, 1.0, 1.0, 2.0**40), False),
        ((np.inf, 1.0, 1.0, 0.0), False),
    ],
)
def test_an_output_that_is_not_a_number_or_out_of_range_is_invalid(output: tuple[float, ...], valid: bool) -> None:
    assert (said(*output)[0] != "invalid_output") is valid


@pytest.mark.parametrize(
    ("signal", "target", "pos", "pyramid", "reason"),
    [
        (0.0, 0.0, LONG, False, "hold"),
        (1.0, 1.0, FLAT, False, "entry"),
        (1.0, 1.0, LONG, False, "hold"),
        (1.0, 1.0, LONG, True, "entry"),
        (1.0, 1.0, WAITING_TO_BUY, False, "hold"),
        (1.0, 1.0, WAITING_TO_BUY, True, "entry"),
        (1.0, 1.0, LEAVING, True, "hold"),
        (1.0, 1.0, SHORT, False, "exit_signal"),
        (-1.0, -1.0, FLAT, False, "entry"),
        (-1.0, -1.0, LONG, False, "exit_signal"),
        (-1.0, -1.0, LONG, True, "exit_signal"),
        (-1.0, -1.0, SHORT, False, "hold"),
        (-1.0, -1.0, WAITING_TO_BUY, False, "exit_signal"),
        (-1.0, -1.0, LEAVING, False, "hold"),
        (2.0, 0.0, FLAT, False, "hold"),
        (2.0, 0.0, LONG, False, "exit_signal"),
        (2.0, 0.0, SHORT, False, "exit_signal"),
        (2.0, 0.0, WAITING_TO_BUY, False, "exit_signal"),
        (2.0, 0.0, LEAVING, False, "hold"),
        (2.0, 0.0, PARTLY_LEAVING, False, "exit_signal"),
        (3.0, 0.5, FLAT, False, "target"),
        (3.0, 0.5, LONG, False, "target"),
        (3.0, 0.0, LONG, False, "target"),
        (3.0, 0.0, FLAT, False, "hold"),
        (3.0, 0.0, LEAVING, False, "hold"),
        (3.0, 0.5, LEAVING, False, "target"),
    ],
)
def test_what_a_signal_means_depends_on_what_is_held_and_pending(
    signal: float, target: float, pos: tuple[float, ...], pyramid: bool, reason: str
) -> None:
    assert said(signal, target, pos=pos, pyramid=pyramid)[0] == reason


def holding(*, bars: float = 3.0, gain: float = 0.0, qty: float = 10.0) -> tuple[float, ...]:
    return (qty, 100.0, bars, gain, 0.0)


@pytest.mark.parametrize(
    ("exits", "pos", "reason"),
    [
        ({"stop_pct": 0.05}, holding(gain=-0.05), "stop_loss"),
        ({"stop_pct": 0.05}, holding(gain=-0.0499), "hold"),
        ({"stop_pct": 0.05}, holding(gain=-0.06, qty=-10.0), "stop_loss"),
        ({"stop_pct": 0.0}, holding(gain=0.0), "stop_loss"),
        ({"take_profit_pct": 0.05}, holding(gain=0.05), "take_profit"),
        ({"take_profit_pct": 0.05}, holding(gain=0.0499), "hold"),
        ({"max_bars": 3}, holding(bars=3.0), "time_stop"),
        ({"max_bars": 3}, holding(bars=2.0), "hold"),
        ({"stop_pct": 0.05, "max_bars": 1}, holding(gain=-0.1), "stop_loss"),
        ({"take_profit_pct": 0.05, "max_bars": 1}, holding(gain=0.1), "take_profit"),
        ({"stop_pct": 0.05, "max_bars": 1}, FLAT, "hold"),
        ({"stop_pct": 0.05}, (10.0, 100.0, 3.0, -0.5, -10.0), "hold"),
        ({"stop_pct": 0.05}, (10.0, 100.0, 3.0, -0.5, -4.0), "stop_loss"),
        ({}, holding(gain=-0.99, bars=1e6), "hold"),
    ],
)
def test_common_exits_hold_on_both_sides_of_their_limits(
    exits: dict[str, float], pos: tuple[float, ...], reason: str
) -> None:
    found, out = said(0.0, pos=pos, exits=Exits.model_validate(exits))
    assert found == reason
    if reason in COMMON_TAGS:
        assert out[:3].tolist() == [2.0, 0.0, 1.0]
        assert tag_names((), out[3]) == (reason,)


@pytest.mark.parametrize(
    ("signal", "target", "pos", "seconds", "reason"),
    [
        (0.0, 0.0, LONG, 300.0, "flatten_before_close"),
        (0.0, 0.0, LONG, 300.1, "hold"),
        (0.0, 0.0, LONG, NAN, "hold"),
        (0.0, 0.0, WAITING_TO_BUY, 300.0, "flatten_before_close"),
        (0.0, 0.0, LEAVING, 300.0, "hold"),
        (1.0, 1.0, FLAT, 300.0, "hold"),
        (1.0, 1.0, FLAT, 300.1, "entry"),
        (-1.0, -1.0, FLAT, 0.0, "hold"),
        (3.0, 0.5, FLAT, 10.0, "hold"),
    ],
)
def test_before_the_close_positions_are_flattened_and_nothing_is_entered(
    signal: float, target: float, pos: tuple[float, ...], seconds: float, reason: str
) -> None:
    exits = Exits(flatten_before_close_seconds=300)
    assert said(signal, target, pos=pos, exits=exits, seconds_to_close=seconds)[0] == reason


def test_a_common_exit_holds_even_when_the_step_talks_nonsense() -> None:
    assert said(NAN, pos=holding(gain=-0.1), exits=Exits(stop_pct=0.05))[0] == "stop_loss"
    assert said(NAN, pos=holding(gain=0.0), exits=Exits(stop_pct=0.05))[0] == "invalid_output"
