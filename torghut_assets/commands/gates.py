"""``torghut gates``: read, check and explain the gate policy. Judging candidates is the lane's business."""

from pathlib import Path

import click

from torghut_runtime.command_line import examples, json_option, path_option, print_json, print_table


@click.group()
def gates() -> None:
    """Read, check and explain the gate policy."""


@gates.command("policy-schema", epilog=examples("torghut gates policy-schema > gate-policy.schema.json"))
def policy_schema() -> None:
    """Print the JSON Schema of the gate policy: every key, its default and its meaning."""
    from torghut_assets.gates.policy import policy_schema as schema

    print_json(schema())


@gates.command(epilog=examples("torghut gates lint config/autonomous-gate-policy.json"))
@click.argument("policy", type=click.Path(path_type=Path))
@json_option
def lint(policy: Path, as_json: bool) -> None:
    """Check a policy file; name what is allowed but deserves a look.

    An invalid policy exits with 2. Findings do not change the exit code.
    """
    from torghut_assets.gates.policy import lint as lint_policy
    from torghut_assets.gates.policy import load_policy

    loaded = load_policy(policy)
    findings = lint_policy(policy)
    if as_json:
        print_json({"policy_version": loaded.policy_version, "sha256": loaded.digest, "findings": findings})
        return
    click.echo(f"{policy}: valid, version {loaded.policy_version}, sha256 {loaded.digest}")
    for finding in findings:
        click.echo(f"  {finding}")


@gates.command(
    epilog=examples(
        "torghut gates explain",
        "torghut gates explain 1.net_pnl",
        "torghut gates explain 2.drawdown_fraction --gate-policy config/autonomous-gate-policy.json",
    )
)
@click.argument("rule_id", required=False)
@path_option("--gate-policy", help="Show the limits of this policy instead of the built-in ones.")
@json_option
def explain(rule_id: str | None, gate_policy: Path | None, as_json: bool) -> None:
    """Explain a rule: what it reads, when it passes, its reason codes. Without a rule, list all."""
    from torghut_assets.gates.policy import load_policy
    from torghut_assets.gates.reference import explain as explain_rule
    from torghut_assets.gates.rule import TARGETS
    from torghut_assets.gates.rules import ALL_RULES

    if rule_id is not None:
        text = explain_rule(rule_id, None if gate_policy is None else load_policy(gate_policy))
        if as_json:
            print_json({"rule_id": rule_id, "text": text})
        else:
            click.echo(text)
        return
    rules = [
        {
            "rule_id": rule.rule_id,
            "gate_id": rule.gate_id,
            "meaning": rule.meaning,
            "needed_for": [target for target in TARGETS if target in rule.required_for],
            "reason_codes": list(rule.reason_codes),
        }
        for rule in ALL_RULES
    ]
    if as_json:
        print_json(rules)
    else:
        print_table(("rule", "meaning", "needed for"), [(r["rule_id"], r["meaning"], r["needed_for"]) for r in rules])
