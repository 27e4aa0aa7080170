"""Telling the operator's webhook that a champion was judged again and denied.

Nothing depends on it: a target that does not answer is logged, and the decision stands.
"""

import sqlalchemy as sa

from torghut_assets.promotion.decision import PromotionDecision
from torghut_assets.research import records
from torghut_runtime.api.webhook import DEADLINE_S, TRIES, Webhook
from torghut_runtime.settings import load_settings
from torghut_runtime.storage.tables import research_runs


def denied_champion(connection: sa.Connection, decision: PromotionDecision, strategies: tuple[str, ...]) -> bool:
    """Whether the decision denies the candidate whose earlier run one of the strategies trades by now."""
    if decision.action != "deny":
        return False
    runs = [found.run_id for each in strategies if (found := records.champion(connection, each)) is not None]
    names = connection.execute(sa.select(research_runs.c.name).where(research_runs.c.run_id.in_(runs))).scalars()
    return decision.name in set(names)


def announce(
    connection: sa.Connection,
    decision: PromotionDecision,
    strategies: tuple[str, ...],
    webhook: Webhook | None = None,
) -> bool:
    """Send ``champion_denied`` if that is what happened, and wait for its tries; whether it was sent."""
    if not denied_champion(connection, decision, strategies):
        return False
    connection.commit()  # nothing is told that could still be undone, and no lock waits for the target
    settings = load_settings()
    sender = webhook or Webhook(settings.webhook_url, settings.version)
    thread = sender.send("champion_denied", decision.name, decision.reasons)
    if thread is None:
        return False
    thread.join(DEADLINE_S * TRIES + 1)  # the process may end right after
    return True
