"""``torghut guard policy``, ``validate-promotion``, ``policy-dry-run``: policies by themselves, and on artifacts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from torghut_assets.commands.guard_answers import answer_and_end, one_of
from torghut_assets.commands.guard_store import policy_of
from torghut_runtime.command_line import ExitCode, examples, path_option

if TYPE_CHECKING:
    from torghut_assets.gates.rule import Target
    from torghut_assets.guard.progression import Progression

_GATE_POLICY = "config/autonomous-gate-policy.json"
_REPORT = "artifacts/autonomy-lane/gates/gate-evaluation.json"
_target = click.option(
    "--promotion-target",
    type=one_of(("shadow", "paper", "live")),
    default="paper",
    show_default=True,
    help="The promotion that is asked for.",
)
_output = path_option("--output", help="Write the answer to this file, too.")
_gate_policy = path_option("--policy", "gate_policy", required=True, help="The gate policy.")
_gate_report = path_option("--gate-report", required=True, help="gates/gate-evaluation.json of a bundle.")


@click.group()
def policy() -> None:
    """Check and draw the orchestration policy."""


@policy.command(epilog=examples("torghut guard policy lint", "torghut guard --policy draft.yaml policy lint"))
@click.pass_obj
def lint(policy_path: Path | None, /) -> None:
    """Check the policy: keys, types and graph; an unusable one exits with 2 and lists every problem."""
    rules = policy_of(policy_path)
    answer = {
        "valid": True,
        "policyVersion": rules.version,
        "policySha256": rules.sha256,
        "stages": len(rules.stages),
        "edges": sum(len(targets) for targets in rules.graph.edges.values()),
    }
    answer_and_end(answer, ExitCode.OK)


@policy.command(epilog=examples("torghut guard policy graph > stages.mmd"))
@click.pass_obj
def graph(policy_path: Path | None, /) -> None:
    """Print the graph of stages as Mermaid text, the one answer that is no JSON."""
    from torghut_assets.guard.graph import mermaid

    rules = policy_of(policy_path)
    click.echo(mermaid(rules.graph, {stage.stage: stage.lane for stage in rules.stages}), nl=False)


@click.command(
    "validate-promotion",
    epilog=examples(
        f"torghut guard validate-promotion --policy {_GATE_POLICY} --state state.json --gate-report {_REPORT}"
        " --artifact-root artifacts/autonomy-lane"
    ),
)
@_gate_policy
@path_option("--state", "state_path", required=True, help="State file of the candidate, with its rollbackReadiness.")
@_gate_report
@path_option("--artifact-root", required=True, help="Folder of the bundle.")
@_target
@_output
@click.pass_obj
def validate_promotion(
    policy_path: Path | None,
    /,
    *,
    gate_policy: Path,
    state_path: Path,
    gate_report: Path,
    artifact_root: Path,
    promotion_target: str,
    output: Path | None,
) -> None:
    """Judge gates, prerequisites and rollback readiness on files (exit 3 when promotion may not go on)."""
    from datetime import UTC, datetime

    from torghut_assets.gates.policy import load_policy
    from torghut_assets.guard.progression import progression, read_bundle, stated_bundle
    from torghut_assets.guard.state_file import load_state_file

    loaded = load_policy(gate_policy)
    stated = load_state_file(state_path, policy_of(policy_path))
    bundle, reasons = stated_bundle(read_bundle(gate_report, artifact_root), stated)
    readiness = stated.rollback_readiness
    judged = progression(
        loaded,
        bundle,
        cast("Target", promotion_target),
        now=datetime.now(UTC),
        approved=readiness is not None and readiness.human_approved,
        reasons=reasons,
    )
    _answer(judged, {"assertedFacts": True, "simulated": []}, loaded.digest, output)


@click.command(
    "policy-dry-run",
    epilog=examples(
        f"torghut guard policy-dry-run --policy {_GATE_POLICY} --gate-report {_REPORT}",
        f"torghut guard policy-dry-run --policy {_GATE_POLICY} --gate-report {_REPORT} --simulate-stale-rollback",
    ),
)
@_gate_policy
@_gate_report
@_target
@_output
@click.option("--simulate-missing-artifact", is_flag=True, help="As if a required artifact were gone; must deny.")
@click.option("--simulate-stale-rollback", is_flag=True, help="As if the drills were too old; must deny.")
def policy_dry_run(
    *,
    gate_policy: Path,
    gate_report: Path,
    promotion_target: str,
    output: Path | None,
    simulate_missing_artifact: bool,
    simulate_stale_rollback: bool,
) -> None:
    """Judge the bundle around a gate evaluation at the time of its newest drill (exit 3 when it is denied)."""
    from torghut_assets.gates.policy import load_policy
    from torghut_assets.guard.progression import Simulation, dry_run, read_bundle

    chosen = {"missing_artifact": simulate_missing_artifact, "stale_rollback": simulate_stale_rollback}
    simulated = cast("frozenset[Simulation]", frozenset(name for name, given in chosen.items() if given))
    loaded = load_policy(gate_policy)
    bundle = read_bundle(gate_report, gate_report.absolute().parents[1])
    judged = dry_run(loaded, bundle, cast("Target", promotion_target), simulated)
    _answer(judged, {"assertedFacts": False, "simulated": sorted(simulated)}, loaded.digest, output)


def _answer(judged: "Progression", about: dict[str, Any], sha256: str, output: Path | None) -> None:
    from torghut_runtime.canonical import canonical_json
    from torghut_runtime.durable_file import write_atomically

    answer = {**judged.model_dump(mode="json"), **about, "gatePolicySha256": sha256}
    if output is not None:
        write_atomically(output, canonical_json(answer))
    answer_and_end(answer, ExitCode.OK if judged.promotion_progression_allowed else ExitCode.DENIED)
