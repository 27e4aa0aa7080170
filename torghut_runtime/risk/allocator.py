"""How many shares a strategy's wish becomes: budget, room under the caps, whole lots, opposite wishes netted.

The arithmetic is that of :mod:`torghut_runtime.risk.sizing`, which research runs compiled; here are the caps that only
a running account has. Whether the order may go at all is :mod:`torghut_runtime.risk.limits`' question.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np

from torghut_runtime.risk.limits import Exposure, Limits, Side, smallest
from torghut_runtime.risk.sizing import net_entries, target_quantity, to_lots, wanted_quantity

_SHARE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a strategy wants of one symbol: its signed share of the budget, and the caps that its entry has."""

    fraction: float
    fixed_qty: float | None = None
    notional_cap: Decimal | None = None
    position_pct: Decimal | None = None
    lot: Decimal = _SHARE
    """What its quantity is a multiple of, shares."""


@dataclass(frozen=True, slots=True)
class Sized:
    """Shares (not negative), the caps that made them fewer, and the reasons where none is left."""

    qty: Decimal
    clipped_by: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Budget:
    notional_cap: float
    position_pct: float
    fixed_qty: float


def _budget(wish: Wish, limits: Limits) -> _Budget:
    """The smallest of the caps that are set; without any, and without a fixed quantity, the default quantity."""
    cap = smallest(wish.notional_cap, limits.max_notional_per_trade, limits.notional_per_position)
    pct = smallest(wish.position_pct, limits.max_position_pct)
    fixed = wish.fixed_qty
    if fixed is None and cap is None and pct is None:
        fixed = float(limits.default_qty)
    return _Budget(_number(cap), _number(pct), math.nan if fixed is None else fixed)


def _number(value: Decimal | None) -> float:
    return math.nan if value is None else float(value)


def size_entry(wish: Wish, side: Side, price: float, exposure: Exposure, limits: Limits) -> Sized:
    """Shares of an entry at ``price`` (the worst it may cost), within the budget and the room that is left."""
    budget = _budget(wish, limits)
    wanted = wanted_quantity(
        price,
        float(exposure.equity),
        budget.notional_cap,
        budget.position_pct,
        budget.fixed_qty,
        math.inf,
        abs(wish.fraction),
    )
    if wanted <= 0.0:
        return Sized(Decimal(0), (), (_why_nothing(budget),))
    return _clipped(wanted, price, _rooms(wish, side, exposure, limits), wish.lot)


def size_target(wish: Wish, price: float, equity: Decimal, limits: Limits) -> Decimal:
    """Signed shares that a position should have; what it takes to get there is for :func:`size_step` to clip."""
    budget = _budget(wish, limits)
    gross_cap = limits.gross_cap(equity)
    multiple = math.inf if gross_cap is None or equity <= 0 else float(gross_cap / equity)
    qty = target_quantity(
        price,
        float(equity),
        budget.notional_cap,
        budget.position_pct,
        budget.fixed_qty,
        wish.fraction,
        multiple,
        True,
    )
    return _lots(abs(qty), wish.lot) * (-1 if qty < 0.0 else 1)


def size_step(wish: Wish, qty: Decimal, side: Side, price: float, exposure: Exposure, limits: Limits) -> Sized:
    """The part of ``qty`` shares that fits into the room that is left: how a position grows towards its target."""
    return _clipped(float(qty), price, _rooms(wish, side, exposure, limits), wish.lot)


def net(wanted: Sequence[Decimal], lot: Decimal = _SHARE) -> list[Decimal]:
    """Entries of several strategies in one symbol at one bar, signed multiples of ``lot``, in order of priority.

    The smaller side goes, the larger is reduced by it from the last strategy on; of equal sides nothing is left.
    """
    table = np.array([float(qty / lot) for qty in wanted], dtype=np.float64)
    net_entries(table)
    return [int(lots) * lot for lots in table.tolist()]


def _lots(qty: float, lot: Decimal) -> Decimal:
    """A quantity (not negative) floored to lots.

    Whole shares as research floors them; of finer lots the next one up would cost more than what it was divided from.
    """
    if lot >= _SHARE:
        return int(to_lots(qty / float(lot), False)) * lot
    return Decimal(repr(qty)) // lot * lot


def _why_nothing(budget: _Budget) -> str:
    if budget.notional_cap == 0.0:
        return "max_notional_exceeded"
    return "max_position_pct_exceeded" if budget.position_pct == 0.0 else "qty_below_min"


def _rooms(wish: Wish, side: Side, exposure: Exposure, limits: Limits) -> dict[str, Decimal]:
    """Currency that is left under each cap that is set, by the reason of the cap."""
    sign = 1 if side == "buy" else -1
    rooms: dict[str, Decimal | None] = {
        "max_notional_exceeded": _left(smallest(wish.notional_cap, limits.notional_per_position), exposure),
        "max_position_pct_exceeded": _left(
            _of(smallest(wish.position_pct, limits.max_position_pct), exposure.equity), exposure
        ),
        "symbol_notional_exceeded": None
        if limits.max_notional_per_symbol is None
        else limits.max_notional_per_symbol - sign * exposure.symbol_net,
        "gross_exposure_exceeded": _minus(limits.gross_cap(exposure.equity), exposure.gross),
        "net_exposure_exceeded": _minus(limits.net_cap(exposure.equity), sign * exposure.net),
        "insufficient_buying_power": exposure.buying_power,
    }
    return {reason: max(room, Decimal(0)) for reason, room in rooms.items() if room is not None}


def _left(cap: Decimal | None, exposure: Exposure) -> Decimal | None:
    return _minus(cap, exposure.strategy_symbol)


def _of(fraction: Decimal | None, equity: Decimal) -> Decimal | None:
    return None if fraction is None else fraction * equity


def _minus(cap: Decimal | None, taken: Decimal) -> Decimal | None:
    return None if cap is None else cap - taken


def _clipped(wanted: float, price: float, rooms: dict[str, Decimal], lot: Decimal) -> Sized:
    fits = {reason: float(room) / price for reason, room in rooms.items()}
    clipped = tuple(reason for reason, most in fits.items() if most < wanted)
    qty = _lots(min([wanted, *fits.values()]), lot)
    if qty > 0:
        return Sized(qty, clipped)
    reasons = tuple(reason for reason, most in fits.items() if most < lot and most < wanted)
    return Sized(Decimal(0), clipped, reasons or ("qty_below_min",))
