"""Gate 0 on the signals, as soon as they are there: the same rules that the gate evaluation judges later."""

import dagster as dg

from torghut_assets.check_specs import candidate_check
from torghut_assets.gates.engine import Document, Documents, RuleRecord, judge
from torghut_assets.gates.policy import load_policy
from torghut_assets.gates.rule import GATES, REPORT
from torghut_assets.gates.rules import GATE_RULES
from torghut_assets.keys import SIGNALS
from torghut_assets.presentation import denial_metadata, denials, rule_table
from torghut_assets.research.report import quality_section
from torghut_assets.research.strategies import load_strategies
from torghut_assets.resources import ProjectResource
from torghut_runtime.market.signals import SignalSet

_GATE = GATES[0]


@dg.multi_asset_check(
    name="signal_quality",
    specs=[candidate_check(_GATE.gate_id, SIGNALS, f"Gate {_GATE.number}: {_GATE.title}, judged on the signals alone")],
    ins={"signals": dg.AssetIn(SIGNALS)},
)
def signals_check(
    context: dg.AssetCheckExecutionContext, signals: SignalSet, project: ProjectResource
) -> dg.AssetCheckResult:
    """Whether the data can be trusted."""
    registration = project.registration(context.partition_key)
    policy = load_policy(project.folder / registration.gate_policy)
    strategies = load_strategies(project.folder / registration.strategy_config, signals)
    quality = Document.of(REPORT, {"data_quality": quality_section(signals, strategies)})
    records: list[RuleRecord] = [
        judge(rule, policy, Documents([quality]), registration.promotion_target).record
        for rule in GATE_RULES
        if rule.gate_id == _GATE.gate_id
    ]
    against = denials(records)
    return dg.AssetCheckResult(
        check_name=_GATE.gate_id,
        asset_key=SIGNALS,
        passed=not against,
        description=against or "the data can be trusted",
        metadata={
            **denial_metadata(records),
            "rules": rule_table(records),
            "promotion_target": registration.promotion_target,
            "policy_sha256": policy.digest,
            "dataset_id": signals.dataset_id,
        },
    )
