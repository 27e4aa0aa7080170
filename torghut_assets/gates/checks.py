"""Asset checks of the gates: one per gate on the evaluation, and gate 0 on the signals as soon as they are there.

A check reads what is stored, says passed or not with the rule table as its reason, and changes nothing. It never
blocks: a denied candidate is a normal outcome.
"""

from collections.abc import Iterator

import dagster as dg

from torghut_assets.check_specs import candidate_check
from torghut_assets.gates.evaluation import GateEvaluation, GateSummary
from torghut_assets.gates.rule import GATES, TARGETS
from torghut_assets.keys import GATE_EVALUATION
from torghut_assets.presentation import denial_metadata, denials, rule_table
from torghut_assets.resources import ProjectResource


def gate_passes(evaluation: GateEvaluation, gate: GateSummary) -> bool:
    """The check's answer: for the asked target where it requires the gate, else for the next one that does."""
    if gate.required:
        return gate.passes_for[evaluation.promotion_target]
    required = next(each.required_for for each in GATES if each.gate_id == gate.gate_id)
    return next(gate.passes_for[target] for target in TARGETS if target in required)


def gate_result(evaluation: GateEvaluation, gate: GateSummary, tear_sheet: str) -> dg.AssetCheckResult:
    """Dagster's form of one gate's verdict."""
    own = [record for record in evaluation.records if record.gate_id == gate.gate_id]
    passed = gate_passes(evaluation, gate)
    against = denials(own)
    if against:
        description = against
    elif not passed:
        description = f"not required for {evaluation.promotion_target}; a higher target would be denied"
    else:
        description = f"passes for {evaluation.promotion_target}"
    return dg.AssetCheckResult(
        check_name=gate.gate_id,
        asset_key=GATE_EVALUATION,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if gate.required else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={
            **denial_metadata(own),
            "rules": rule_table(own),
            "waived_or_warned": ", ".join(gate.warnings) or "none",
            "promotion_target": evaluation.promotion_target,
            "policy_version": evaluation.policy.version,
            "policy_sha256": evaluation.policy.sha256,
            "run_id": evaluation.run_id,
            "tear_sheet": dg.PathMetadataValue(tear_sheet),
        },
    )


@dg.multi_asset_check(
    name="gates",
    specs=[candidate_check(gate.gate_id, GATE_EVALUATION, f"Gate {gate.number}: {gate.title}") for gate in GATES],
    ins={"evaluation": dg.AssetIn(GATE_EVALUATION)},
    can_subset=True,
)
def gate_checks(
    context: dg.AssetCheckExecutionContext, evaluation: GateEvaluation, project: ProjectResource
) -> Iterator[dg.AssetCheckResult]:
    """Eight gates, each with the rules that made its verdict."""
    asked = {key.name for key in context.selected_asset_check_keys}
    tear_sheet = str(project.bundle_folder(evaluation.name) / "backtest" / "tearsheet.html")
    for gate in evaluation.gates:
        if gate.gate_id in asked:
            yield gate_result(evaluation, gate, tear_sheet)
