"""What ``docs/guard.md`` shows of the policy and of the classification, generated from them.

``python -m torghut_assets.guard.reference`` writes it; a test keeps it current.
"""

import re
from pathlib import Path

from torghut_assets.guard.classification import failure_table
from torghut_assets.guard.graph import mermaid
from torghut_assets.guard.policy import FAILURE_CLASSES, POLICY_PATH, OrchestrationPolicy, load_policy

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs" / "guard.md"


def sections(policy: OrchestrationPolicy) -> dict[str, str]:
    """The generated parts by name."""
    picture = mermaid(policy.graph, {stage.stage: stage.lane for stage in policy.stages})
    return {
        "graph": f"```mermaid\n{picture}```\n",
        "stages": _stages(policy),
        "failures": _failures(policy),
        "classes": failure_table(),
    }


def page(text: str, policy: OrchestrationPolicy) -> str:
    """``text`` with its generated parts made anew."""
    for name, content in sections(policy).items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda found, content=content: f"{found[1]}{content}{found[2]}", text, flags=re.DOTALL)
    return text


def _stages(policy: OrchestrationPolicy) -> str:
    lines = [
        "| # | stage | lane | deploys | artifact | gate | controls | promotion | repeatable | on failure |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for number, stage in enumerate(policy.stages, start=1):
        marks = (
            stage.mutable_action,
            stage.require_previous_artifact,
            stage.require_previous_gate_pass,
            stage.require_risk_controls and stage.require_execution_controls,
            stage.promotion_stage,
            stage.repeatable,
        )
        cells = " | ".join("yes" if mark else "no" for mark in marks)
        lines.append(f"| {number} | {stage.stage} | {stage.lane} | {cells} | {stage.on_failure or '–'} |")
    return "\n".join(lines) + "\n"


def _failures(policy: OrchestrationPolicy) -> str:
    lines = ["| class | retries | delay at most (s) | pauses after | window (s) |", "|---|---|---|---|---|"]
    for name in FAILURE_CLASSES:
        each = policy.failure_policies.of(name)
        delay = f"{each.initial_backoff_seconds:g} × {each.backoff_multiplier:g}ⁿ, up to {each.max_backoff_seconds:g}"
        shown = delay if each.max_retries else "–"
        lines.append(
            f"| {name} | {each.max_retries} | {shown} | {each.autopause_after_failures} | {each.window_seconds} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page's generated parts."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), load_policy(_ROOT / POLICY_PATH)), encoding="utf-8")


if __name__ == "__main__":
    main()
