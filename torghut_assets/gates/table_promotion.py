"""Rules beside the gates: gate 5 and drift (live), promotion prerequisites, rollback readiness."""

from torghut_assets.gates.rule import EVIDENCE, LIVE, REPORT, TRADING, Level, Rule, limit, must_be

LIVE_ENABLED = Rule(
    "5.live_enabled",
    "gate policy",
    "/gate5_live_enabled",
    "is",
    must_be("live_rollout_disabled_by_policy", value=True),
    "the policy allows live trading at all",
    required_for=LIVE,
    missing_code="live_rollout_disabled_by_policy",
)

LIVE_DECISION_RULES: tuple[Rule, ...] = (
    Rule(
        "5.approval",
        "approval",
        "",
        "valid",
        (Level("approval_token_mismatch"),),
        "a granted, unexpired and unrevoked token for exactly this run and target",
        required_for=LIVE,
        switch="gate5_require_approval_token",
        missing_code="approval_token_missing",
        further_codes=("approval_token_expired", "approval_token_revoked"),
    ),
    Rule(
        "d.drift",
        EVIDENCE,
        "/drift/findings",
        "empty",
        (Level("drift_detected"),),
        "thresholds of the policy that a later window has crossed",
        required_for=LIVE,
    ),
)
"""What only live needs; judged in the promotion decision, because approvals depend on the time."""

PREREQUISITE_RULES: tuple[Rule, ...] = (
    Rule(
        "p.candidate_paused_for_review",
        EVIDENCE,
        "/candidate_state/paused",
        "is",
        must_be("candidate_paused_for_review", value=False),
        "the candidate waits for a person",
    ),
    Rule(
        "p.required_artifacts_missing",
        "bundle",
        "",
        "empty",
        (Level("required_artifacts_missing"),),
        "required artifacts that the bundle lacks",
        missing_code="required_artifacts_missing",
    ),
    Rule(
        "p.required_artifact_digest_mismatch",
        "bundle",
        "",
        "empty",
        (Level("required_artifact_digest_mismatch"),),
        "artifacts whose bytes are not those that were judged",
        missing_code="required_artifact_digest_mismatch",
    ),
    Rule(
        "p.no_signal_window_detected",
        REPORT,
        "/data_quality/rows",
        ">=",
        must_be("no_signal_window_detected", value=1),
        "signals in the evaluated window",
        unit="rows",
        missing_code="no_signal_window_detected",
    ),
    Rule(
        "p.stress_metrics_evidence_insufficient",
        REPORT,
        "/stress/case_count",
        ">=",
        limit("stress_metrics_evidence_insufficient", "promotion_min_stress_case_count"),
        "stress cases that were simulated",
        unit="cases",
        required_for=TRADING,
        missing_code="stress_metrics_evidence_insufficient",
    ),
    Rule(
        "p.candidate_superseded",
        EVIDENCE,
        "/candidate_state/superseded",
        "is",
        must_be("candidate_superseded", value=False),
        "a later candidate of the same name exists",
    ),
)

READINESS_RULES: tuple[Rule, ...] = (
    Rule(
        "r.rollback_checks_missing_or_failed",
        EVIDENCE,
        "/drills",
        "empty",
        (Level("rollback_checks_missing_or_failed"),),
        "required drills that failed or were never run",
        required_for=TRADING,
        missing_code="rollback_checks_missing_or_failed",
    ),
    Rule(
        "r.rollback_target_missing",
        EVIDENCE,
        "/rollback_target/source_sha256",
        "valid",
        (Level("rollback_target_missing"),),
        "digest of the ConfigMap that a rollback restores",
        required_for=TRADING,
        missing_code="rollback_target_missing",
    ),
)
"""Rollback readiness without a clock; the decision adds :data:`READINESS_TIME_RULES`."""

READINESS_TIME_RULES: tuple[Rule, ...] = (
    Rule(
        "r.rollback_dry_run_timestamp_missing",
        EVIDENCE,
        "/drills",
        "valid",
        (Level("rollback_dry_run_timestamp_missing"),),
        "time of the oldest required drill, not in the future",
        required_for=TRADING,
        missing_code="rollback_dry_run_timestamp_missing",
    ),
    Rule(
        "r.rollback_dry_run_stale",
        EVIDENCE,
        "/drills",
        "<=",
        limit("rollback_dry_run_stale", "rollback_dry_run_max_age_hours"),
        "age of the oldest required drill",
        unit="hours",
        required_for=TRADING,
        missing_code="rollback_dry_run_timestamp_missing",
    ),
    Rule(
        "r.rollback_human_approval_missing",
        "approval",
        "",
        "is",
        must_be("rollback_human_approval_missing", value=True),
        "a person has approved this run for the target",
        required_for=TRADING,
        switch="rollback_require_human_approval",
        missing_code="rollback_human_approval_missing",
    ),
)
