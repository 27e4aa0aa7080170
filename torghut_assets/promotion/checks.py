"""Asset checks of the promotion stage: prerequisites, rollback readiness and the one verdict.

They observe what is stored, never block and change nothing. How the reports are judged is told in ``prerequisites``,
``readiness`` and ``decision``.
"""

import dagster as dg

from torghut_assets.check_specs import candidate_check
from torghut_assets.gates.rule import READINESS as READINESS_GATE
from torghut_assets.keys import DECISION, PREREQUISITES, READINESS
from torghut_assets.presentation import denial_metadata, denials, reasons_list, rule_table
from torghut_assets.promotion.decision import PromotionDecision
from torghut_assets.promotion.prerequisites import PromotionPrerequisites
from torghut_assets.promotion.readiness import RollbackReadiness
from torghut_assets.resources import ProjectResource

NOTHING_AGAINST = "nothing speaks against promotion"


@dg.multi_asset_check(
    name="prerequisites",
    specs=[candidate_check("promotion_prerequisites", PREREQUISITES, "What bundle and candidate must be")],
    ins={"report": dg.AssetIn(PREREQUISITES)},
)
def prerequisites_check(report: PromotionPrerequisites) -> dg.AssetCheckResult:
    """Whether every prerequisite holds."""
    return dg.AssetCheckResult(
        check_name="promotion_prerequisites",
        asset_key=PREREQUISITES,
        passed=report.passed,
        description=denials(report.records) or NOTHING_AGAINST,
        metadata={
            **denial_metadata(report.records),
            "rules": rule_table(report.records),
            "run_id": report.run_id,
        },
    )


@dg.multi_asset_check(
    name="readiness",
    specs=[candidate_check("rollback_readiness", READINESS, "Drills have passed and there is something to go back to")],
    ins={"report": dg.AssetIn(READINESS)},
)
def readiness_check(report: RollbackReadiness) -> dg.AssetCheckResult:
    """Whether the candidate could be rolled back."""
    required = report.promotion_target in READINESS_GATE.required_for
    return dg.AssetCheckResult(
        check_name="rollback_readiness",
        asset_key=READINESS,
        passed=report.passed,
        severity=dg.AssetCheckSeverity.ERROR if required else dg.AssetCheckSeverity.WARN,
        description=denials(report.records) or NOTHING_AGAINST,
        metadata={
            **denial_metadata(report.records),
            "rules": rule_table(report.records),
            "run_id": report.run_id,
        },
    )


@dg.multi_asset_check(
    name="decision",
    specs=[candidate_check("promotion_decision", DECISION, "The one verdict: promote, hold or deny")],
    ins={"decision": dg.AssetIn(DECISION)},
)
def decision_check(decision: PromotionDecision, project: ProjectResource) -> dg.AssetCheckResult:
    """Whether the candidate may have what was asked for."""
    return dg.AssetCheckResult(
        check_name="promotion_decision",
        asset_key=DECISION,
        passed=decision.action != "deny",
        description=f"{decision.action} for {decision.promotion_target}"
        + (f": {', '.join(decision.reasons)}" if decision.reasons else ""),
        metadata={
            "action": decision.action,
            "recommended_mode": decision.recommended_mode or "none",
            "reasons": reasons_list(decision.reasons),
            "waived": ", ".join(waiver.rule_id for waiver in decision.waivers) or "none",
            **denial_metadata(decision.records),
            "rules_in_time": rule_table(decision.records),
            "policy_sha256": decision.policy.sha256,
            "run_id": decision.run_id,
            "tear_sheet": dg.PathMetadataValue(
                str(project.bundle_folder(decision.name) / "backtest" / "tearsheet.html")
            ),
        },
    )
