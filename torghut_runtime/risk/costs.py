"""What a fill costs besides its price: half-spread, market impact, commission and regulatory fees.

One model (contract ``lane.md`` 6) and one compiled function for research and runtime. Every component is an amount in
account currency beside the fill price; the price itself is never moved. Which quote and which volume belong to a fill
is the caller's knowledge.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from torghut_runtime.compiled import Vector, boolean, float64, kernel, vector, void

COST_PARTS = ("half_spread", "impact", "commission", "fees", "assumed")
"""What :func:`fill_costs` writes; the last is 1 where half-spread or volume were assumed, else 0."""

_HALF_SPREAD_BPS, _IMPACT_BPS, _COMMISSION_BPS, _PER_SHARE, _MINIMUM, _SEC_RATE, _TAF_PER_SHARE, _TAF_MAX = range(8)
_BPS = 1e-4


class CostModel(BaseModel):
    """Parameters of the cost model; the defaults are those of the contract.

    The regulatory fees fall on sales only. ``sec_fee_rate``: SEC Section 31 fee, $27.80 per million of notional, the
    rate in force from 2024-05-22 to 2025-05-13 (SEC fee rate advisory for fiscal year 2024). ``taf_per_share`` and
    ``taf_max_per_order``: FINRA Trading Activity Fee of covered equity securities, the rates in force from 2024-01-01
    (FINRA By-Laws, Schedule A, section 1). Other periods had other rates; a study that depends on them sets its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    default_half_spread_bps: float = Field(default=1.0, ge=0, description="bps of the price, where no quote is known")
    impact_bps_at_full_participation: float = Field(
        default=50.0, ge=0, description="bps that a fill of a bar's whole volume costs; less in proportion"
    )
    commission_bps: float = Field(default=0.0, ge=0, description="bps of notional")
    commission_per_share: float = Field(default=0.0, ge=0, description="currency per share")
    commission_minimum: float = Field(default=0.0, ge=0, description="least commission of an order that was filled")
    sec_fee_rate: float = Field(default=0.0000278, ge=0, lt=1, description="fraction of a sale's notional")
    taf_per_share: float = Field(default=0.000166, ge=0, description="currency per share sold")
    taf_max_per_order: float = Field(default=8.30, ge=0, description="most that an order pays of it, currency")

    def vector(self) -> Vector:
        """The parameters in field order, as :func:`fill_costs` takes them."""
        return np.array([getattr(self, name) for name in CostModel.model_fields], dtype=np.float64)


@kernel(float64(vector, float64, float64))
def order_commission(costs: Vector, qty: float, notional: float) -> float:
    """Commission of an order of which ``qty`` shares for ``notional`` were filled: the parts add up, or the minimum."""
    if qty <= 0.0:
        return 0.0
    charged = notional * costs[_COMMISSION_BPS] * _BPS + qty * costs[_PER_SHARE]
    return max(charged, costs[_MINIMUM])


@kernel(void(vector, float64, float64, boolean, float64, float64, float64, float64, float64, vector))
def fill_costs(
    costs: Vector,
    qty: float,
    price: float,
    is_sell: bool,
    half_spread_bps: float,
    volume: float,
    max_participation: float,
    filled_qty: float,
    filled_notional: float,
    out: Vector,
) -> None:
    """Write the costs of one fill, in currency, into ``out`` as :data:`COST_PARTS` says (five entries at least).

    ``costs``: :meth:`CostModel.vector`; ``qty`` > 0 shares at ``price``; ``half_spread_bps``: of the deciding bar's
    quote, NaN where unknown; ``volume``: of the filling bar, NaN where unknown; ``filled_qty`` and
    ``filled_notional``: what earlier fills of the same order had, 0 for its first. The commission minimum and the cap
    of the trading activity fee hold per order: a fill is charged what the order owes with it less what it owed before.

    Impact is linear in the share of the bar's volume that the fill takes. Where the volume is unknown the fill counts
    as ``max_participation`` of it. No fill is more than all of it: what a window's end closes on a bar that traded
    less, or nothing, counts as its whole volume.
    """
    notional = qty * price
    assumed = 0.0
    spread = half_spread_bps
    if np.isnan(spread):
        spread = costs[_HALF_SPREAD_BPS]
        assumed = 1.0
    if np.isnan(volume):
        participation = max_participation
        assumed = 1.0
    elif qty > volume:
        participation = 1.0
        assumed = 1.0
    else:
        participation = qty / volume
    before = order_commission(costs, filled_qty, filled_notional)
    out[0] = notional * spread * _BPS
    out[1] = notional * costs[_IMPACT_BPS] * participation * _BPS
    out[2] = order_commission(costs, filled_qty + qty, filled_notional + notional) - before
    out[3] = 0.0
    if is_sell:
        per_share, cap = costs[_TAF_PER_SHARE], costs[_TAF_MAX]
        taf = min((filled_qty + qty) * per_share, cap) - min(filled_qty * per_share, cap)
        out[3] = notional * costs[_SEC_RATE] + taf
    out[4] = assumed
