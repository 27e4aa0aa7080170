"""The rule table as text: what ``torghut gates explain`` prints and ``docs/gates.md`` shows.

``python -m torghut_assets.gates.reference`` writes the table into ``docs/gates.md``; a test keeps it current.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.rule import GATE_BY_NUMBER, TARGETS, Level, Rule
from torghut_assets.gates.rules import ALL_RULES, RULES_BY_ID
from torghut_runtime.canonical import canonical_value
from torghut_runtime.errors import InputError

PAGE = Path(__file__).parents[2] / "docs" / "gates.md"
BEGIN, END = "<!-- rules: generated -->", "<!-- rules: end -->"
_HEAD = """\
| rule | reads | passes when (default limit) | reason codes | needed for; applies to |
|---|---|---|---|---|"""
_SIGNS = {"<=": "≤", ">=": "≥", "same major": "same major version as"}
_DIMENSIONLESS = frozenset(("", "ratio", "probability", "score"))


def explain(rule_id: str, policy: GatePolicy | None = None) -> str:
    """What a rule means, reads and needs, with the limits of ``policy`` (default: the built-in ones).

    Raises:
        InputError: unknown rule; the nearest known ones are named.
    """
    rule = RULES_BY_ID.get(rule_id)
    if rule is None:
        near = difflib.get_close_matches(rule_id, RULES_BY_ID, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}?" if near else "; torghut gates explain without a rule lists them all"
        raise InputError(f"unknown rule {rule_id!r}{hint}")
    limits = policy or GatePolicy()
    lines = [
        f"{rule.rule_id}: {rule.meaning}",
        f"gate       {rule.gate.title} ({rule.gate_id})",
        f"reads      {rule.artifact}{' ' + rule.pointer if rule.pointer else ''}",
        *(f"passes if  {step}" for step in _steps(rule, limits)[:1]),
        *(f"           {step}" for step in _steps(rule, limits)[1:]),
        f"needed for {_targets(rule)}",
    ]
    if rule.excluded is not None:
        lines.append(f"applies    {rule.excluded.text}")
    lines += [f"reason     {code}" for code in rule.reason_codes]
    waiver = limits.waiver(rule_id)
    if waiver is not None:
        lines.append(f"waived     until {waiver.until.isoformat()} by {waiver.approver}: {waiver.reason}")
    return "\n".join(lines)


def rule_table() -> str:
    """All rules as Markdown, one table per gate, and what is stricter for live."""
    blocks: list[str] = []
    for gate in GATE_BY_NUMBER.values():
        rows = [_row(rule) for rule in ALL_RULES if rule.gate == gate]
        needed = ", ".join(target for target in TARGETS if target in gate.required_for)
        head = (
            "| rule | reads | passes when (default limit) | reason codes | needed for; applies to |\n"
            + "|---" * 5
            + "|"
        )
        blocks.append(f"### {gate.gate_id}\n\n{gate.title}; needed for {needed}.\n\n{head}\n" + "\n".join(rows))
    blocks.append("### Stricter for live\n\n| policy key | general | live |\n|---|---|---|\n" + "\n".join(_live_rows()))
    return "\n\n".join(blocks)


def _live_rows() -> Iterable[str]:
    general, live = GatePolicy(), GatePolicy().for_target("live")
    for key in general.live_overrides:
        before, after = (canonical_value(getattr(policy, key)) for policy in (general, live))
        yield f"| `{key}` | {before} | {after} |"


def with_rule_table(page: str) -> str:
    """A Markdown page with the current rule table between its markers.

    Raises:
        InputError: the page has no markers.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError(f"needs the markers {BEGIN} and {END}", file="docs/gates.md")
    return f"{head}{BEGIN}\n\n{rule_table()}\n\n{END}{tail}"


def _row(rule: Rule) -> str:
    cells = (
        f"`{rule.rule_id}`<br>{rule.meaning}",
        f"{rule.artifact}{f'<br>`{rule.pointer}`' if rule.pointer else ''}",
        "<br>".join(_steps(rule, GatePolicy())),
        "<br>".join(f"`{code}`" for code in rule.reason_codes),
        f"{_targets(rule)}{f'; {rule.excluded.text}' if rule.excluded else ''}",
    )
    return f"| {' | '.join(cells)} |"


def _steps(rule: Rule, policy: GatePolicy) -> list[str]:
    """What must be true to pass, the gravest limit first, then what else lets a rule pass or switches it off."""
    steps = [_step(rule, level, policy) for level in rule.levels]
    if rule.met_when is not None:
        steps.append(f"or: {rule.met_when.text}")
    if rule.switch is not None:
        steps.append(f"off when {rule.switch} is false")
    return steps


def _step(rule: Rule, level: Level, policy: GatePolicy) -> str:
    if rule.comparator == "empty":
        return "nothing is listed"
    if level.policy_key is not None and getattr(policy, level.policy_key) is None:
        return f"no limit ({level.policy_key} is null)"
    limit = _limit(rule, level, policy)
    if rule.comparator == "valid":
        return "it holds" if level.policy_key is None else f"it holds, for {limit}"
    consequence = "" if level.action is None else f", else {level.action}"
    return f"{_SIGNS.get(rule.comparator, rule.comparator)} {limit}{consequence}{'' if level.denies else ' (warning)'}"


def _limit(rule: Rule, level: Level, policy: GatePolicy) -> str:
    unit = "" if rule.unit in _DIMENSIONLESS else f" {rule.unit}"
    if level.policy_key is None:
        return f"the value at {level.pointer}" if level.pointer else f"{str(level.fixed).lower()}{unit}"
    value: object = getattr(policy, level.policy_key)
    return f"{canonical_value(value)}{unit} ({level.policy_key})"


def _targets(rule: Rule) -> str:
    return ", ".join(target for target in TARGETS if target in rule.required_for)


def main() -> None:
    """Bring the tables of ``docs/gates.md`` up to date."""
    PAGE.write_text(with_rule_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
