"""A candidate that passes everything, and one change at a time: what the tests of gates and promotion judge.

The documents hold every figure that a rule reads, with values that pass for live. :meth:`World.with_` puts another
value at a JSON pointer, or takes it away with :data:`ABSENT`; the rest is the real chain from evaluation to decision.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from torghut_assets.gates.engine import Document, RuleRecord
from torghut_assets.gates.evaluation import GateEvaluation, evaluate_gates
from torghut_assets.gates.policy import GatePolicy, parse_policy
from torghut_assets.gates.rule import EVIDENCE, GATE_EVALUATION, REPORT, SPEC, Target
from torghut_assets.promotion.approval import Grant, PresentedApproval
from torghut_assets.promotion.decision import PromotionDecision, decide_promotion
from torghut_assets.promotion.prerequisites import PromotionPrerequisites, judge_prerequisites
from torghut_assets.promotion.publication import publication_refusals
from torghut_assets.promotion.readiness import RollbackReadiness, judge_rollback_readiness
from torghut_runtime.canonical import canonical_json, sha256_hex

ABSENT = object()
CANDIDATE_ID = "cand-0123456789ab"
CODE = "c0de"
NOW = datetime(2026, 5, 4, 20, 0, tzinfo=UTC)
TOKEN = "a-token-that-was-printed-once"

_SPEC: dict[str, Any] = {"name": "momentum", "candidate_id": CANDIDATE_ID, "bounded_llm": {"enabled": True}}
_REPORT: dict[str, Any] = {
    "candidate_id": CANDIDATE_ID,
    "universe": {"symbol_count": 5},
    "search": {"parameter_points": 9},
    "data_quality": {
        "source": "signals",
        "rows": 5000,
        "feature_schema_version": "3.0.0",
        "required_feature_null_rate": 0.001,
        "has_ingest_ts": True,
        "staleness_ms_p95": 900,
        "symbol_coverage": 1.0,
        "duplicate_ratio": 0.0,
        "backward_steps": 0,
        "exchange_traded": True,
        "missing_session_ratio": 0.0,
        "outside_session_ratio": 0.0,
    },
    "counts": {"decision_count": 400, "trade_count": 120, "fold_count": 5},
    "performance": {
        "net_pnl": 9000.5,
        "max_drawdown": 4000.0,
        "drawdown_fraction": 0.04,
        "turnover_ratio": 3.5,
        "cost_bps": 6.0,
        "capacity_notional": 2_000_000.0,
        "return_over_drawdown": 2.25,
        "zero_drawdown": False,
    },
    "folds": {"negative_fold_ratio": 0.2, "net_pnl_cv": 0.8},
    "statistics": {
        "deflated_sharpe": 0.97,
        "pbo": 0.1,
        "spa_pvalue": 0.01,
        "track_record_length": 900,
        "min_track_record_length": 300.5,
    },
    "lookahead": {"checked_points": 20, "detected": False},
    "fragility": {"score": 0.3},
    "stress": {"worst_loss_fraction": 0.08, "case_count": 6},
    "baselines": {"net_pnl_delta": 1200.0, "equal_to": []},
    "regimes": {"slice_pass_ratio": 0.75},
    "uncertainty": {"target_coverage": 0.9, "coverage_error": 0.01, "shift_score": 0.2, "interval_width": 3.0},
}
_DRILLED_AT = "2026-05-04T08:00:00Z"
_EVIDENCE: dict[str, Any] = {
    "candidate_id": CANDIDATE_ID,
    "executions": {"record_id": "x1", "count": 40},
    "tca": {"record_id": "t1", "slippage_bps": 4.0, "shortfall_notional": 3.0, "churn_ratio": 0.1},
    "adviser": {"record_id": "a1", "error_ratio": 0.02, "reviews": 50},
    "parity": {"record_id": "p1", "ratio": 1.0, "compared": 400},
    "paper_days": {"record_id": "d1", "days": 30},
    "drills": {
        name: {"record_id": name, "passed": True, "completed_at": _DRILLED_AT}
        for name in ("kill_switch", "gitops_revert", "strategy_disable")
    },
    "runbooks": {"record_id": "r1", "without_page": []},
    "drift": {"record_id": "f1", "findings": []},
    "candidate_state": {"paused": False, "superseded": False},
    "rollback_target": {"source_sha256": "a" * 64},
}
_CONTENTS: Mapping[str, dict[str, Any]] = {SPEC: _SPEC, REPORT: _REPORT, EVIDENCE: _EVIDENCE}


def policy(**keys: object) -> GatePolicy:
    """The default policy with other values for some keys; live is allowed unless a key says otherwise."""
    return parse_policy({"gate5_live_enabled": True, **keys})


def waiver(rule_id: str, until: str = "2026-12-31", **keys: object) -> dict[str, object]:
    """A waiver as a policy file holds it."""
    return {"rule_id": rule_id, "reason": "not measured yet", "until": until, "approver": "risk", **keys}


def grant(**changes: Any) -> Grant:
    """A grant for :data:`TOKEN`, valid for another hour."""
    valid = Grant(sha256_hex(TOKEN.encode()), "run", "live", "risk", NOW + timedelta(hours=1))
    return replace(valid, **changes)


@dataclass(frozen=True)
class World:
    """Everything that a decision depends on. ``artifacts`` overrides digests of the bundle, ABSENT removes a file."""

    policy: GatePolicy = field(default_factory=policy)
    target: Target = "paper"
    now: datetime = NOW
    contents: Mapping[str, dict[str, Any]] = field(default_factory=lambda: _CONTENTS)
    artifacts: Mapping[str, object] = field(default_factory=dict[str, object])
    token: str | None = TOKEN
    grant_changes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def with_(self, artifact: str, pointer: str, value: object) -> "World":
        """The same world with another value at a JSON pointer of one document."""
        content = copy.deepcopy(self.contents[artifact])
        *parents, last = pointer.split("/")[1:]
        place = content
        for key in parents:
            place = place[key]
        if value is ABSENT:
            place.pop(last, None)
        else:
            place[last] = value
        return replace(self, contents={**self.contents, artifact: content})

    def without(self, artifact: str) -> "World":
        """The same world without one document."""
        return replace(self, contents={path: item for path, item in self.contents.items() if path != artifact})

    @cached_property
    def documents(self) -> list[Document]:
        return [Document.of(path, content) for path, content in self.contents.items()]

    def sha256(self, artifact: str) -> str:
        return Document.of(artifact, self.contents[artifact]).sha256

    @cached_property
    def evaluation(self) -> GateEvaluation:
        return evaluate_gates(self.policy, self.documents, self.target, code_version=CODE)

    @cached_property
    def prerequisites(self) -> PromotionPrerequisites:
        evaluation = self.evaluation
        present: dict[str, object] = {document.path: document.sha256 for document in self.documents}
        present[GATE_EVALUATION] = sha256_hex(canonical_json(evaluation))
        present.update(self.artifacts)
        digests = {path: digest for path, digest in present.items() if isinstance(digest, str)}
        return judge_prerequisites(self.policy, evaluation, self.documents, artifacts=digests)

    @cached_property
    def readiness(self) -> RollbackReadiness:
        return judge_rollback_readiness(self.policy, self.evaluation, self.documents)

    @cached_property
    def approval(self) -> PresentedApproval | None:
        if self.token is None:
            return None
        bound = {"run_id": self.evaluation.run_id, "target": self.target, **self.grant_changes}
        return PresentedApproval(self.token, (grant(**bound),))

    @cached_property
    def decision(self) -> PromotionDecision:
        return decide_promotion(
            self.policy,
            self.documents,
            self.evaluation,
            self.prerequisites,
            self.readiness,
            now=self.now,
            approval=self.approval,
        )

    def refusals(self, decision: PromotionDecision | None = None) -> tuple[str, ...]:
        return publication_refusals(
            self.policy,
            self.documents,
            self.evaluation,
            self.prerequisites,
            self.readiness,
            decision or self.decision,
            code_version=CODE,
        )

    def records(self) -> dict[str, RuleRecord]:
        """Every rule record of the whole chain, by rule id."""
        parts: Sequence[Sequence[RuleRecord]] = (
            self.evaluation.records,
            self.prerequisites.records,
            self.readiness.records,
            self.decision.records,
        )
        return {record.rule_id: record for part in parts for record in part}
