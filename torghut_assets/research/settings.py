"""Research settings (``config/research.yaml``): capital, folds, costs, limits, seeds.

They are part of a candidate's identity: whoever changes one of them researches another candidate. Files and defaults
live here; what the numbers do is told where they are used (simulation, folds, walk-forward).
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from torghut_assets.strict_text import read_mapping
from torghut_runtime.errors import InputError
from torghut_runtime.risk.costs import CostModel
from torghut_runtime.strategies.catalog import explain

Objective = Literal["sharpe_annualized", "net_pnl", "return_over_drawdown"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Span(_Strict):
    """A length of time, in sessions of the calendar or in bars of the base timeframe: exactly one of them."""

    sessions: int | None = Field(default=None, ge=1)
    bars: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Span":
        if (self.sessions is None) == (self.bars is None):
            raise ValueError("give either sessions or bars")
        return self


class FoldSettings(_Strict):
    """How history is cut into training and test windows (contract ``lane.md`` 5)."""

    min_folds: int = Field(default=5, ge=1, description="number of equal test windows of the default cut")
    test_region_fraction: float = Field(default=0.6, gt=0, lt=1, description="share of the sessions that is tested on")
    mode: Literal["rolling", "anchored"] = "rolling"
    train: Span | None = None
    test: Span | None = None
    step: Span | None = None
    embargo_bars: int = Field(default=0, ge=0)


class ResearchSettings(_Strict):
    """Everything besides data and strategies that determines a research result."""

    capital: float = Field(default=100_000.0, gt=0, description="opening cash, account currency")
    gross_limit: float = Field(default=1.0, ge=0, description="gross exposure as a multiple of equity")
    allow_shorts: bool = False
    fractional_shares: bool = False
    latency_bars: int = Field(default=0, ge=0, description="bars that pass between decision and first possible fill")
    max_participation_rate: float = Field(default=0.10, gt=0, le=1, description="share of a bar's volume a fill takes")
    max_order_bars: int = Field(default=5, ge=1, description="bars that an entry may wait to be filled")
    costs: CostModel = CostModel()
    folds: FoldSettings = FoldSettings()
    objective: Objective = "sharpe_annualized"
    lookahead_points: int = Field(default=8, ge=1, description="time points at which the future is cut off")
    seed: int = Field(default=20_260_101, ge=0)


def load_settings(path: Path | None) -> ResearchSettings:
    """Read research settings; without a path the defaults hold.

    Raises:
        InputError: unreadable file, unknown or repeated key, or a value out of range; names file and field.
    """
    if path is None:
        return ResearchSettings()
    try:
        return ResearchSettings.model_validate(read_mapping(path))
    except ValidationError as error:
        message, field = explain(error, ResearchSettings)
        raise InputError(message, file=path, field=field) from None
