"""The rule table as text: what ``torghut gates explain`` prints and ``docs/gates.md`` shows.

``python -m torghut_assets.gates.reference`` writes the table into ``docs/gates.md``; a test keeps it current.
"""

import difflib
from pathlib import Path

from torghut_assets.gates.policy import GatePolicy
from torghut_assets.gates.rule import GATE_BY_NUMBER, TARGETS, Level, Rule
from torghut_assets.gates.rules import ALL_RULES, RULES_BY_ID
from torghut_runtime.errors import InputError

BEGIN, END = "<!-- rules: generated -->", "<!-- rules: end -->"
_READS = {
    "is": "is",
    "empty": "is empty",
    "same major": "has the same major version as",
    "valid": "holds",
}


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
        f"passes if  {_condition(rule, limits)}",
        f"needed for {_targets(rule)}",
    ]
    if rule.excluded is not None:
        lines.append(f"applies    {rule.excluded.text}")
    if rule.met_when is not None:
        lines.append(f"also       {rule.met_when.text}")
    if rule.switch is not None:
        lines.append(f"switch     {rule.switch}")
    lines += [f"reason     {code}" for code in rule.reason_codes]
    waiver = limits.waiver(rule_id)
    if waiver is not None:
        lines.append(f"waived     until {waiver.until.isoformat()} by {waiver.approver}: {waiver.reason}")
    return "\n".join(lines)


def rule_table() -> str:
    """All rules as Markdown, one table per gate."""
    blocks: list[str] = []
    for gate in GATE_BY_NUMBER.values():
        rows = [_row(rule) for rule in ALL_RULES if rule.gate == gate]
        needed = ", ".join(target for target in TARGETS if target in gate.required_for)
        head = "| rule | passes when | policy key | reason codes | needed for; applies to |\n|---|---|---|---|---|"
        blocks.append(f"### {gate.gate_id}\n\n{gate.title}; needed for {needed}.\n\n{head}\n" + "\n".join(rows))
    return "\n\n".join(blocks)


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
    keys = [level.policy_key for level in rule.levels if level.policy_key] + ([rule.switch] if rule.switch else [])
    applies = f"; {rule.excluded.text}" if rule.excluded else ""
    cells = (
        f"`{rule.rule_id}`",
        f"{rule.meaning}{' (' + rule.unit + ')' if rule.unit else ''}: {_comparison(rule)}",
        ", ".join(f"`{key}`" for key in keys),
        ", ".join(f"`{code}`" for code in rule.reason_codes),
        f"{_targets(rule)}{applies}",
    )
    return f"| {' | '.join(cells)} |"


def _comparison(rule: Rule) -> str:
    if rule.comparator in {"<=", ">=", "<", ">"}:
        return f"{rule.comparator} limit"
    fixed = rule.levels[0].fixed
    text = _READS[rule.comparator]
    return f"{text} {str(fixed).lower()}" if rule.comparator == "is" else text


def _condition(rule: Rule, policy: GatePolicy) -> str:
    if rule.comparator in {"empty", "valid"}:
        return f"it {_READS[rule.comparator]}"
    parts = [
        f"{_READS.get(rule.comparator, rule.comparator)} {_limit(level, policy)}"
        f"{'' if level.action is None else f' (else {level.action})'}"
        for level in rule.levels
    ]
    unit = f" {rule.unit}" if rule.unit else ""
    return f"the value is {', '.join(parts)}{unit}"


def _limit(level: Level, policy: GatePolicy) -> str:
    if level.policy_key is not None:
        value: object = getattr(policy, level.policy_key)
        return f"anything ({level.policy_key} is null)" if value is None else f"{value} ({level.policy_key})"
    return level.pointer or str(level.fixed).lower()


def _targets(rule: Rule) -> str:
    return ", ".join(target for target in TARGETS if target in rule.required_for)


def main() -> None:
    """Bring ``docs/gates.md`` up to date."""
    page = Path(__file__).parents[2] / "docs" / "gates.md"
    page.write_text(with_rule_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
