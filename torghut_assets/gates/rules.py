"""The rule table: every condition that a promotion can fail on, collected from the ``table_*`` modules.

The types are in ``gates.rule``, the judging in ``gates.engine``, the limits in ``gates.policy``.
"""

from collections.abc import Mapping

from torghut_assets.gates.rule import Rule
from torghut_assets.gates.table_promotion import (
    LIVE_DECISION_RULES,
    LIVE_ENABLED,
    PREREQUISITE_RULES,
    READINESS_RULES,
    READINESS_TIME_RULES,
)
from torghut_assets.gates.table_research import RESEARCH_RULES
from torghut_assets.gates.table_trading import TRADING_RULES

GATE_RULES: tuple[Rule, ...] = tuple(
    sorted((*RESEARCH_RULES, *TRADING_RULES, LIVE_ENABLED), key=lambda rule: rule.gate.number)
)
"""What the gate evaluation judges, in the order of the gates."""

ALL_RULES: tuple[Rule, ...] = (
    *GATE_RULES,
    *LIVE_DECISION_RULES,
    *PREREQUISITE_RULES,
    *READINESS_RULES,
    *READINESS_TIME_RULES,
)
RULES_BY_ID: Mapping[str, Rule] = {rule.rule_id: rule for rule in ALL_RULES}
