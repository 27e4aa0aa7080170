"""How many shares: compiled functions from budget, caps and room to a quantity.

The same functions size in research and in the runtime. All amounts are in account currency, NaN means "not set", an
explicit 0 means zero. Which caps exist and what an order is are other modules' business.
"""

import numpy as np

from torghut_runtime.compiled import Vector, boolean, float64, kernel, vector, void

_ROUNDING = 1.0 + 1e-12
"""A quantity this close below a whole number is that number: 0.29 of 100,000 buys 1,000 shares at 29."""


@kernel(float64(float64, boolean))
def to_lots(qty: float, fractional: bool) -> float:
    """A non-negative quantity, floored to whole shares unless fractions are allowed."""
    return qty if fractional else np.floor(qty * _ROUNDING)


@kernel(float64(float64, float64, float64, float64, float64))
def budget_notional(
    equity: float, notional_cap: float, position_pct: float, gross_limit: float, fraction: float
) -> float:
    """``fraction`` of the budget: the smallest of the notional cap and equity x ``position_pct`` or ``gross_limit``."""
    budget = equity * gross_limit
    if not np.isnan(notional_cap):
        budget = min(budget, notional_cap)
    if not np.isnan(position_pct):
        budget = min(budget, equity * position_pct)
    return budget * fraction


@kernel(float64(float64, float64, float64, float64, float64, float64, float64))
def wanted_quantity(
    price: float,
    equity: float,
    notional_cap: float,
    position_pct: float,
    fixed_qty: float,
    gross_limit: float,
    fraction: float,
) -> float:
    """Unrounded shares: ``fixed_qty`` within the caps, or ``fraction`` of the budget where it is NaN."""
    if not (price > 0.0 and equity > 0.0 and fraction > 0.0):
        return 0.0
    if np.isnan(fixed_qty):
        return max(budget_notional(equity, notional_cap, position_pct, gross_limit, fraction), 0.0) / price
    most = budget_notional(equity, notional_cap, position_pct, gross_limit, 1.0) / price
    return max(min(fixed_qty, most), 0.0)


@kernel(float64(float64, float64, float64, float64, float64, float64, float64, float64, float64, boolean))
def entry_quantity(
    price: float,
    equity: float,
    notional_cap: float,
    position_pct: float,
    fixed_qty: float,
    target_fraction: float,
    gross_exposure: float,
    reserved: float,
    gross_limit: float,
    fractional: bool,
) -> float:
    """Shares (>= 0) that an entry may have at the decision's close.

    ``notional_cap``: the strategy's cap in currency; ``position_pct``: its cap as a fraction of equity; ``fixed_qty``:
    ``params.qty``, which obeys the same caps; each NaN when not set. ``target_fraction``: share of the budget, its
    sign does not matter. ``gross_exposure``: of the whole account; ``reserved``: notional of waiting entries;
    ``gross_limit``: gross exposure allowed as a multiple of equity.
    """
    qty = wanted_quantity(price, equity, notional_cap, position_pct, fixed_qty, gross_limit, abs(target_fraction))
    if qty == 0.0:
        return 0.0
    room = max(gross_limit * equity - gross_exposure - reserved, 0.0)
    return to_lots(min(qty, room / price), fractional)


@kernel(float64(float64, float64, float64, float64, float64, float64, float64, boolean))
def target_quantity(
    price: float,
    equity: float,
    notional_cap: float,
    position_pct: float,
    fixed_qty: float,
    target_fraction: float,
    gross_limit: float,
    fractional: bool,
) -> float:
    """Signed shares that a position should have; arguments as in :func:`entry_quantity`.

    What it takes to get there is the caller's to compare with the room that is left.
    """
    qty = wanted_quantity(price, equity, notional_cap, position_pct, fixed_qty, gross_limit, abs(target_fraction))
    qty = to_lots(qty, fractional)
    return -qty if target_fraction < 0.0 else qty


@kernel(void(vector))
def net_entries(wanted: Vector) -> None:
    """Net the signed entries of several strategies in one symbol at one bar, in place and in order of priority.

    The smaller side goes to 0, the larger is reduced by it from the last strategy on; equal sides leave nothing.
    """
    bought = 0.0
    sold = 0.0
    for index in range(len(wanted)):
        bought += max(wanted[index], 0.0)
        sold += max(-wanted[index], 0.0)
    if bought == 0.0 or sold == 0.0:
        return
    less = min(bought, sold)
    larger = 0.0 if bought == sold else (1.0 if bought > sold else -1.0)
    for index in range(len(wanted) - 1, -1, -1):
        qty = wanted[index]
        if qty * larger <= 0.0:
            wanted[index] = 0.0
        elif less > 0.0:
            cut = min(abs(qty), less)
            less -= cut
            wanted[index] = qty - larger * cut
