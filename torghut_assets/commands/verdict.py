"""How a verdict is told: as a table for people, as fields for programs. Both say what the decision says, no more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from torghut_runtime.command_line import print_table

if TYPE_CHECKING:
    from torghut_assets.gates.engine import RuleRecord
    from torghut_assets.lane import LaneResult
    from torghut_assets.promotion.decision import PromotionDecision

_COLUMNS = ("rule", "observed", "must be", "threshold", "verdict", "reason")
_WIDEST = 24
_SIGNS = {"<=": "≤", ">=": "≥"}


def print_verdict(result: "LaneResult") -> None:
    """Print every rule with observed value, threshold and verdict, then the decision with its reasons."""
    decision = result.decision
    records = (*result.evaluation.records, *result.prerequisites.records, *result.readiness.records, *decision.records)
    print_table(_COLUMNS, [_row(record) for record in records], title=f"{decision.name}  {decision.candidate_id}")
    click.echo()
    print_decision(result)


def print_decision(result: "LaneResult") -> None:
    """Print the decision, what denies it, what was waived, and where the bundle is."""
    decision = result.decision
    mode = decision.recommended_mode or "none"
    click.secho(f"{decision.name}: {decision.action} for {decision.promotion_target}", bold=True, nl=False)
    click.echo(f" (recommended mode: {mode}; run {decision.run_id})")
    _print_list("denied because", decision.reasons)
    _print_list("waived", _waived(decision))
    _print_list("note", result.evaluation.notes)
    click.echo(f"  bundle: {result.output_dir}")


def _waived(decision: "PromotionDecision") -> list[str]:
    """Waivers with the same reason on one line."""
    rules: dict[str, list[str]] = {}
    for waiver in decision.waivers:
        text = f"{waiver.reason} (until {waiver.until}, by {waiver.approver})"
        rules.setdefault(text, []).append(waiver.rule_id)
    return [f"{text}: {', '.join(ids)}" for text, ids in rules.items()]


def _print_list(title: str, lines: Sequence[str]) -> None:
    if lines:
        click.echo(f"  {title}:")
    for line in lines:
        click.echo(f"    {line}")


def _row(record: "RuleRecord") -> tuple[object, ...]:
    return (
        record.rule_id,
        _value(record.observed),
        _SIGNS.get(record.comparator, record.comparator),
        _value(record.threshold),
        record.status,
        record.reason_code if record.status != "pass" else None,
    )


def _value(value: object) -> object:
    if isinstance(value, list | tuple):
        items = [str(item) for item in cast("Sequence[object]", value)]
        return ", ".join(items) if len(items) <= 1 else f"{len(items)} of them"
    if isinstance(value, str) and len(value) > _WIDEST:
        return f"{value[:_WIDEST]}…"
    return f"{value:.6g}" if isinstance(value, float) else value


def result_fields(result: "LaneResult") -> dict[str, Any]:
    """What ``torghut lane run --json`` prints."""
    decision, folder = result.decision, result.output_dir
    patch = folder / "paper-candidate" / "strategy-configmap-patch.yaml"
    return {
        "name": decision.name,
        "run_id": decision.run_id,
        "candidate_id": decision.candidate_id,
        "output_dir": folder,
        "gate_report_path": folder / "gates" / "gate-evaluation.json",
        "promotion_decision_path": folder / "gates" / "promotion-decision.json",
        "paper_patch_path": patch if patch.is_file() else None,
        "manifest_path": folder / "MANIFEST.json",
        "promotion_allowed": decision.promotion_allowed,
        "recommended_mode": decision.recommended_mode,
        "reasons": list(decision.reasons),
    }
