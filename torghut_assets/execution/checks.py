"""Checks of the order feed's tables and of the recorded decisions; they observe, block nothing and change nothing."""

from collections.abc import Iterator

import dagster as dg
import sqlalchemy as sa

from torghut_assets.execution import reading
from torghut_assets.execution.keys import PARITY, RECONCILIATION_REPORT
from torghut_assets.execution.parity import difference_table, recent_parity
from torghut_assets.execution.resource import OrderFeedResource
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.order_feed.status import Violation, verify

_OF_VERIFICATION = {
    "accounting_identity": ("accounting_identity",),
    "event_seq_gap_free": ("event_seq",),
    "fills_match_orders": ("order", "fill"),
}
_SPECS = [
    dg.AssetCheckSpec(
        "accounting_identity",
        asset=RECONCILIATION_REPORT,
        description="Every consumed record is a stored event, a duplicate or a dead letter.",
    ),
    dg.AssetCheckSpec(
        "event_seq_gap_free", asset=RECONCILIATION_REPORT, description="event_seq counts from 1 to its head."
    ),
    dg.AssetCheckSpec(
        "fills_match_orders",
        asset=RECONCILIATION_REPORT,
        description="Stored orders and fills are what their events fold to.",
    ),
    dg.AssetCheckSpec("dead_letters_open", asset=RECONCILIATION_REPORT, description="No record waits to be looked at."),
]


def judged(name: str, violations: list[Violation]) -> dg.AssetCheckResult:
    """The answer of one check from what verification found."""
    own = [each for each in violations if each.kind in _OF_VERIFICATION[name]]
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=RECONCILIATION_REPORT,
        passed=not own,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join(each.detail for each in own[:5]) or "holds",
        metadata={"violations": len(own)},
    )


@dg.multi_asset_check(name="order_feed_checks", specs=_SPECS)
def order_feed_checks(order_feed: OrderFeedResource) -> Iterator[dg.AssetCheckResult]:
    """Verification of the tables against all events, and open dead letters; a silent database passes nothing."""
    try:
        with order_feed.connection() as connection:
            violations = verify(connection)
        with order_feed.connection() as connection, reading.snapshot(connection):
            letters = int(
                connection.execute(sa.text("SELECT count(*) FROM feed_dead_letters WHERE state = 'open'")).scalar_one()
            )
    except StoreUnavailableError as error:
        for spec in _SPECS:
            yield dg.AssetCheckResult(
                check_name=spec.name, asset_key=RECONCILIATION_REPORT, passed=False, description=str(error)
            )
        return
    for name in _OF_VERIFICATION:
        yield judged(name, violations)
    yield dg.AssetCheckResult(
        check_name="dead_letters_open",
        asset_key=RECONCILIATION_REPORT,
        passed=letters == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{letters} open",
        metadata={"open": letters},
    )


@dg.asset_check(
    asset=PARITY,
    name="decisions_repeated",
    description="The installed code repeats every step that was recorded in the last 30 days, bit by bit.",
)
def decisions_repeated(order_feed: OrderFeedResource) -> dg.AssetCheckResult:
    """Parity over the span that gate 3 reads; nothing recorded is missing, and passes nothing."""
    try:
        with order_feed.connection() as connection, reading.snapshot(connection):
            found = recent_parity(connection, order_feed.now())
    except StoreUnavailableError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    if found.status == "missing":
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.WARN, description="missing: no step is recorded"
        )
    return dg.AssetCheckResult(
        passed=found.status == "equal",
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{found.equal} of {found.recorded} repeated",
        metadata={
            "ratio": found.ratio,
            "recorded": found.recorded,
            "differences": len(found.differences),
            "not_repeated": dg.MetadataValue.md(difference_table(found.differences)),
        },
    )


EXECUTION_CHECKS = [order_feed_checks, decisions_repeated]
