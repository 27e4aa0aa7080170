"""The gate policy: the limits that a promotion is judged by, and the waivers somebody answers for.

One file per policy (JSON or YAML), strict: an unknown key, a quoted boolean or a misspelt rule id is an error. What
the limits are compared with is told by ``gates.rules``; reading command lines and printing is not this module's
business.
"""

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from torghut_assets.gates.retired import successor
from torghut_assets.gates.rule import Target
from torghut_assets.gates.rules import RULES_BY_ID
from torghut_assets.gates.strict_values import (
    Boolean,
    Count,
    NotNegative,
    Number,
    Ratio,
    Share,
    date_or_time,
    decimal_limit,
)
from torghut_assets.strict_text import parse_text
from torghut_runtime.canonical import digest
from torghut_runtime.errors import InputError
from torghut_runtime.strategies.catalog import explain

Stricter = Literal["lower", "higher", "true"]
RollbackCheck = Literal["killSwitchDryRunPassed", "gitopsRevertDryRunPassed", "strategyDisableDryRunPassed"]
ROLLBACK_CHECKS: Mapping[RollbackCheck, str] = {
    "killSwitchDryRunPassed": "kill_switch",
    "gitopsRevertDryRunPassed": "gitops_revert",
    "strategyDisableDryRunPassed": "strategy_disable",
}
"""Names of the rollback checks and of the drills in ``gates/evidence.json`` that prove them."""


def _tuple(value: object) -> object:
    return tuple(cast("Sequence[object]", value)) if isinstance(value, list) else value


def _limit(default: str | None, stricter: Stricter, text: str) -> Any:
    value = None if default is None else Decimal(default)
    return Field(default=value, description=text, json_schema_extra={"stricter": stricter})


def _count(default: int | None, stricter: Stricter, text: str) -> Any:
    return Field(default=default, ge=0, description=text, json_schema_extra={"stricter": stricter})


def _required(text: str) -> Any:
    return Field(default=True, description=text, json_schema_extra={"stricter": "true"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Waiver(_Strict):
    """Somebody's signed promise to do without one rule for a while; live accepts none."""

    rule_id: str
    reason: Annotated[str, Field(min_length=1, pattern=r"\S")]
    until: Annotated[datetime | date, BeforeValidator(date_or_time)] = Field(
        description="last day (UTC) on which it holds, or the moment at which it ends"
    )
    approver: Annotated[str, Field(min_length=1, pattern=r"\S")]
    issue: Annotated[str | None, BeforeValidator(lambda value: str(value) if type(value) is int else value)] = None

    @field_validator("rule_id")
    @classmethod
    def _known_rule(cls, rule_id: str) -> str:
        if rule_id not in RULES_BY_ID:
            raise ValueError(f"unknown rule {rule_id!r}{_nearest(rule_id, RULES_BY_ID)}")
        return rule_id

    @field_validator("until")
    @classmethod
    def _with_zone(cls, until: datetime | date) -> datetime | date:
        if isinstance(until, datetime) and until.tzinfo is None:
            raise ValueError("a time needs its zone")
        return until

    def expired(self, now: datetime) -> bool:
        """Whether the waiver no longer holds at ``now`` (aware)."""
        if isinstance(self.until, datetime):
            return now >= self.until
        return now >= datetime.combine(self.until, time.min, tzinfo=UTC) + timedelta(days=1)


_LIVE_OVERRIDES: dict[str, Any] = {
    "gate1_min_deflated_sharpe": Decimal("0.95"),
    "gate1_max_pbo": Decimal("0.20"),
    "gate1_max_spa_pvalue": Decimal("0.05"),
    "gate2_max_drawdown_fraction": Decimal("0.10"),
}


_ALONE: Mapping[str, bool] = {"alone": True}
"""Context of a single limit, which says nothing about its neighbours."""


class GatePolicy(_Strict):
    """All limits of gates, promotion, rollback and drift. ``null`` switches a limit off, an explicit 0 is enforced."""

    policy_version: Annotated[str, Field(min_length=1)] = "v3-gates-1"
    required_feature_schema_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = Field(
        default="3.0.0", description="feature contract; only the major number is compared"
    )

    gate0_max_null_rate: Ratio = _limit("0.01", "lower", "share of rows lacking a required feature")
    gate0_max_staleness_ms: NotNegative = _limit("120000", "lower", "95th percentile of ingest − event, ms")
    gate0_min_symbol_coverage: Ratio = _limit("1", "higher", "share of the universe that has data")
    gate0_max_duplicate_ratio: Ratio = _limit("0.02", "lower", "share of duplicate rows")
    gate0_max_missing_session_ratio: Ratio = _limit("0.02", "lower", "share of sessions without data")
    gate0_max_outside_session_ratio: Ratio = _limit("0.01", "lower", "share of rows outside sessions")

    gate1_min_decision_count: Count = _count(1, "higher", "out-of-sample decisions")
    gate1_min_trade_count: Count = _count(1, "higher", "out-of-sample round trips")
    gate1_min_net_pnl: Number = _limit("0", "higher", "profit after costs, account currency")
    gate1_max_negative_fold_ratio: Ratio = _limit("0.5", "lower", "share of losing folds")
    gate1_max_net_pnl_cv: NotNegative = _limit("2.0", "lower", "coefficient of variation of fold profits")
    gate1_min_folds: Count = _count(5, "higher", "walk-forward folds")
    gate1_min_deflated_sharpe: Ratio = _limit("0.90", "higher", "deflated Sharpe ratio, a probability")
    gate1_max_pbo: Ratio = _limit("0.50", "lower", "probability of backtest overfitting")
    gate1_max_spa_pvalue: Ratio = _limit("0.10", "lower", "p-value of superior predictive ability")
    gate1_require_min_track_record: Boolean = _required("the minimum track record length must be reached")

    gate2_max_drawdown: NotNegative = _limit(None, "lower", "account currency")
    gate2_max_drawdown_fraction: Ratio = _limit("0.20", "lower", "share of the peak")
    gate2_max_turnover_ratio: NotNegative = _limit("8.0", "lower", "per year, multiple of capital")
    gate2_max_cost_bps: NotNegative = _limit("35", "lower", "of the traded notional")
    gate2_max_tca_slippage_bps: NotNegative = _limit("25", "lower", "measured slippage")
    gate2_max_tca_shortfall_notional: NotNegative = _limit("25", "lower", "mean shortfall per order, currency")
    gate2_max_tca_churn_ratio: NotNegative = _limit("0.75", "lower", "measured churn")
    gate2_max_fragility_score: Ratio = _limit("0.85", "lower", "fragility")
    gate2_max_stress_loss_fraction: NotNegative = _limit("0.25", "lower", "worst stress loss, share of capital")
    gate2_min_capacity_notional: NotNegative = _limit("0", "higher", "capacity, account currency")

    gate3_max_llm_error_ratio: Ratio = _limit("0.10", "lower", "share of failed adviser reviews")
    gate3_min_forecast_calibration_score: Number = _limit("0.85", "higher", "1 − coverage error / (1 − target)")
    gate3_min_parity_ratio: Ratio = _limit("1.0", "higher", "share of decisions repeated bit by bit")
    gate3_min_paper_days: Count = _count(20, "higher", "sessions on paper, for live")

    gate5_live_enabled: Boolean = Field(default=False, description="live promotion is allowed at all")
    gate5_require_approval_token: Boolean = _required("live needs a granted token")

    gate6_require_profitability_evidence: Boolean = _required("false switches the limits of gate 6 off")
    gate6_min_market_net_pnl_delta: Number = _limit("0", "higher", "must be exceeded; account currency")
    gate6_min_regime_slice_pass_ratio: Ratio = _limit("0.5", "higher", "share of regime slices won")
    gate6_min_return_over_drawdown: Number = _limit("0", "higher", "return over largest drawdown")
    gate6_min_confidence_samples: Count = _count(30, "higher", "round trips")

    gate7_target_coverage: Annotated[Annotated[Decimal, Field(gt=0, lt=1)], BeforeValidator(decimal_limit)] = Field(
        default=Decimal("0.90"), description="coverage that the prediction intervals aim at"
    )
    gate7_max_coverage_error_pass: Ratio = _limit("0.03", "lower", "above: degrade")
    gate7_max_coverage_error_degrade: Ratio = _limit("0.05", "lower", "above: degrade, calibration is off")
    gate7_max_coverage_error_abstain: Ratio = _limit("0.08", "lower", "above: abstain")
    gate7_shift_score_degrade: Ratio = _limit("0.60", "lower", "from here: degrade")
    gate7_shift_score_abstain: Ratio = _limit("0.80", "lower", "from here: abstain")
    gate7_shift_score_fail: Ratio = _limit("0.95", "lower", "from here: fail")
    gate7_max_interval_width_pass: NotNegative = _limit("4.0", "lower", "above: degrade; standard deviations")
    gate7_max_interval_width_degrade: NotNegative = _limit("6.0", "lower", "above: abstain; standard deviations")
    gate7_degrade_size_multiplier: Share = Field(
        default=Decimal("0.5"), description="factor on the patch's caps when the action is degrade"
    )

    promotion_required_artifacts: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = (
        "research/candidate-spec.json",
        "backtest/evaluation-report.json",
        "gates/gate-evaluation.json",
    )
    promotion_min_stress_case_count: Count = _count(4, "higher", "simulated stress cases")

    rollback_required_checks: Annotated[tuple[RollbackCheck, ...], BeforeValidator(_tuple)] = tuple(ROLLBACK_CHECKS)
    rollback_dry_run_max_age_hours: NotNegative = _limit("72", "lower", "age of the oldest required drill")
    rollback_require_human_approval: Boolean = _required("a person approves, for the targets below")
    rollback_human_approval_targets: Annotated[tuple[Target, ...], BeforeValidator(_tuple)] = ("live",)
    demote_on_failed_reevaluation: Boolean = Field(
        default=True, description="a promoted strategy that no longer passes its gates is disabled"
    )

    drift_max_required_null_rate: Ratio = _limit("0.02", "lower", "data_required_null_rate_exceeded")
    drift_max_staleness_ms_p95: NotNegative = _limit("180000", "lower", "data_staleness_p95_exceeded")
    drift_max_duplicate_ratio: Ratio = _limit("0.05", "lower", "data_duplicate_ratio_exceeded")
    drift_max_schema_mismatch_count: Count = _count(0, "lower", "data_schema_mismatch_detected")
    drift_max_calibration_error: Ratio = _limit("0.08", "lower", "model_calibration_error_exceeded")
    drift_max_llm_error_ratio: Ratio = _limit("0.10", "lower", "model_llm_error_ratio_exceeded")
    drift_min_net_pnl: Number = _limit("0", "higher", "performance_net_pnl_below_floor")
    drift_max_drawdown_fraction: Ratio = _limit("0.20", "lower", "performance_drawdown_exceeded")
    drift_max_cost_bps: NotNegative = _limit("35", "lower", "performance_cost_bps_exceeded")
    drift_retraining_cooldown_hours: NotNegative = Field(
        default=Decimal(24), description="between two requests for retraining"
    )
    drift_reselection_cooldown_hours: NotNegative = Field(
        default=Decimal(168), description="between two requests for reselection"
    )

    live_overrides: Mapping[str, Any] = Field(
        default=_LIVE_OVERRIDES, description="limits for live; the stricter of override and general limit holds"
    )
    waivers: Annotated[tuple[Waiver, ...], BeforeValidator(_tuple)] = ()
    retired_keys: tuple[str, ...] = Field(default=(), description="keys of the file that are no longer rules")

    @field_validator("promotion_required_artifacts")
    @classmethod
    def _inside_the_bundle(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if not path or path.startswith("/") or "\\" in path or {"..", ".", ""} & set(path.split("/")):
                raise ValueError(f"must be paths inside the bundle, was {path!r}")
        return paths

    @field_validator("live_overrides", mode="before")
    @classmethod
    def _typed_overrides(cls, overrides: object) -> object:
        if not isinstance(overrides, Mapping):
            return overrides
        typed: dict[str, Any] = {}
        for key, value in cast("Mapping[str, object]", overrides).items():
            if key not in STRICTER:
                raise ValueError(f"{key!r} is no limit that live can have of its own{_nearest(key, STRICTER)}")
            try:
                typed[key] = getattr(cls.model_validate({key: value}, context=_ALONE), key)
            except ValidationError as error:
                raise ValueError(f"{key} {explain(error, cls)[0]}") from None
        return typed

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> "GatePolicy":
        if info.context is _ALONE:
            return self
        ladders = (
            ("gate7_max_coverage_error_pass", "gate7_max_coverage_error_degrade", "gate7_max_coverage_error_abstain"),
            ("gate7_shift_score_degrade", "gate7_shift_score_abstain", "gate7_shift_score_fail"),
            ("gate7_max_interval_width_pass", "gate7_max_interval_width_degrade"),
        )
        for ladder in ladders:
            steps = [(key, getattr(self, key)) for key in ladder if getattr(self, key) is not None]
            for (low_key, low), (high_key, high) in pairwise(steps):
                if low > high:
                    raise ValueError(f"{low_key} ({low}) must not be above {high_key} ({high})")
        waived = [waiver.rule_id for waiver in self.waivers]
        for rule_id in waived:
            if waived.count(rule_id) > 1:
                raise ValueError(f"waivers: rule {rule_id} is waived twice")
        return self

    @property
    def digest(self) -> str:
        """sha256 of the policy's content; the form of the file does not count."""
        return digest(self)

    def for_target(self, target: Target) -> "GatePolicy":
        """The policy as it holds for ``target``: for live the stricter of limit and override, and no waivers."""
        if target != "live":
            return self
        changes = {
            key: _stricter_of(getattr(self, key), value, STRICTER[key]) for key, value in self.live_overrides.items()
        }
        return self.model_copy(update={**changes, "waivers": ()})

    def waiver(self, rule_id: str) -> Waiver | None:
        """The waiver of a rule, if somebody gave one."""
        return next((waiver for waiver in self.waivers if waiver.rule_id == rule_id), None)

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence per retired key, for the verdict."""
        return tuple(f"{key} is no longer a rule, {successor(key)}" for key in self.retired_keys)


STRICTER: Mapping[str, Stricter] = {
    name: cast("dict[str, Stricter]", field.json_schema_extra)["stricter"]
    for name, field in GatePolicy.model_fields.items()
    if field.json_schema_extra is not None
}
"""Every key that live may tighten, and the direction in which it is tighter."""

_FILE_KEYS = tuple(name for name in GatePolicy.model_fields if name != "retired_keys")


def _stricter_of(general: Any, override: Any, direction: Stricter) -> Any:
    if direction == "true":
        return general or override
    if general is None or override is None:
        return override if general is None else general
    return min(general, override) if direction == "lower" else max(general, override)


def _nearest(key: str, known: Mapping[str, object] | Sequence[str]) -> str:
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.4)
    return f"; did you mean {match[0]!r}?" if match else ""


class GatePolicyError(InputError):
    """A gate policy that cannot be used."""


def load_policy(path: Path) -> GatePolicy:
    """Read a gate policy from JSON or YAML (by the file's suffix).

    Raises:
        GatePolicyError: unreadable, not strict JSON/YAML, unknown key (names its neighbour), or a value out of range.
    """
    try:
        return _read_policy(path)
    except InputError as error:
        raise GatePolicyError(error.message, file=error.file, row=error.row, field=error.field) from error


def _read_policy(path: Path) -> GatePolicy:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from error
    content = parse_text(text, path)
    if not isinstance(content, dict):
        raise InputError("must hold one object of policy keys", file=path)
    return parse_policy(cast("dict[object, object]", content), file=path)


def parse_policy(content: Mapping[Any, object], *, file: Path | None = None) -> GatePolicy:
    """Validate a policy that was already parsed from JSON or YAML.

    Raises:
        InputError: names the field, and for an unknown one the nearest known.
    """
    known = dict[str, object]()
    retired: list[str] = []
    for key, value in content.items():
        if key in _FILE_KEYS:
            known[key] = value
        elif isinstance(key, str) and successor(key) is not None:
            retired.append(key)
        else:
            raise InputError(f"unknown key{_nearest(str(key), _FILE_KEYS)}", file=file, field=str(key))
    try:
        return GatePolicy.model_validate({**known, "retired_keys": tuple(sorted(retired))})
    except ValidationError as error:
        message, field = explain(error, GatePolicy)
        raise InputError(message, file=file, field=field) from None


def policy_schema() -> dict[str, Any]:
    """JSON Schema of the policy file."""
    schema = GatePolicy.model_json_schema()
    schema["properties"].pop("retired_keys")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def lint(path: Path) -> list[str]:
    """What is allowed but deserves a look in a policy file: one sentence each, empty when there is nothing.

    Raises:
        InputError: the file is not a valid policy.
    """
    policy = load_policy(path)
    findings = list(policy.notes)
    findings += [
        f"{key} is null: its rule is switched off"
        for key in STRICTER
        if getattr(policy, key) is None and GatePolicy.model_fields[key].default is not None
    ]
    findings += [
        f"live_overrides.{key} has no effect: the general limit is at least as strict"
        for key, value in policy.live_overrides.items()
        if _stricter_of(getattr(policy, key), value, STRICTER[key]) == getattr(policy, key)
    ]
    findings += [
        f"waiver of {waiver.rule_id} has no effect: the rule only warns"
        for waiver in policy.waivers
        if not any(level.denies for level in RULES_BY_ID[waiver.rule_id].levels)
    ]
    findings += [
        f"waiver of {waiver.rule_id} has no effect: only live needs the rule, and live accepts no waivers"
        for waiver in policy.waivers
        if RULES_BY_ID[waiver.rule_id].required_for == frozenset(("live",))
    ]
    return findings
