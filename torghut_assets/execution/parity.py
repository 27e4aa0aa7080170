"""Parity of what the runtime decided with what the installed code says, as assets and gate 3 need it.

The comparison itself is the runtime's (:mod:`torghut_runtime.engine.parity`); here are its spans and its facts. A
database that does not answer is an error, never "nothing recorded".
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import sqlalchemy as sa

from torghut_assets.gates.evidence import PaperDays
from torghut_assets.gates.evidence import Parity as ParityFact
from torghut_assets.research.candidate import StrategySpec
from torghut_runtime.canonical import canonical_json, digest
from torghut_runtime.engine.parity import Difference, Parity, parity
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.decision_inputs import paper_sessions, recorded_rows

WINDOW: Final = timedelta(days=30)
_SHOWN: Final = 20


def parity_of_day(connection: sa.Connection, day: date) -> Parity:
    """Parity of the steps that were recorded on a UTC date. Raises ``StoreUnavailableError``."""
    since = datetime.combine(day, time(), UTC)
    return parity(recorded_rows(connection, since, since + timedelta(days=1)))


def recent_parity(connection: sa.Connection, until: datetime) -> Parity:
    """Parity of the 30 days before ``until``. Raises ``StoreUnavailableError``."""
    return parity(recorded_rows(connection, until - WINDOW, until))


def parity_json(day: str, found: Parity) -> bytes:
    """The document of a date, every difference listed."""
    return canonical_json({"trading_date": day, **found.document()})


def difference_table(differences: Sequence[Difference]) -> str:
    """The first differences as Markdown, row by row with the identity of each."""
    lines = ["| strategy | symbol | timeframe | bar | account | cause | detail |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {each.strategy_id} | {each.symbol} | {each.timeframe} | {each.bar_ts.isoformat()} | {each.account_label}"
        f" | {each.cause} | {each.detail.replace('|', '/')} |"
        for each in differences[:_SHOWN]
    ]
    if len(differences) > _SHOWN:
        lines.append(f"\nand {len(differences) - _SHOWN} more in parity.json")
    return "\n".join(lines)


def parity_fact(
    connection: sa.Connection, strategies: Sequence[StrategySpec], executed: Mapping[str, int], until: datetime
) -> ParityFact | None:
    """Parity of a candidate's strategies over the 30 days before ``until``.

    None, which the gate reports as missing, where nothing is recorded, or nothing of a strategy that has executions.

    Args:
        connection: of the database ``torghut``.
        strategies: of the candidate.
        executed: number of executions by strategy id.
        until: the end of the span.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    found: list[Parity] = []
    for each in strategies:
        with transaction(connection):
            own = parity(recorded_rows(connection, until - WINDOW, until, each.strategy_id))
        if own.status == "missing" and executed.get(each.strategy_id):
            return None
        found.append(own)
    recorded = sum(each.recorded for each in found)
    if not recorded:
        return None
    documents: list[dict[str, Any]] = [each.document() for each in found]
    return ParityFact(
        record_id=f"parity-{digest(documents)[:16]}",
        ratio=sum(each.equal for each in found) / recorded,
        compared=recorded,
    )


def paper_days_fact(connection: sa.Connection, strategies: Sequence[StrategySpec]) -> PaperDays:
    """Sessions on a paper account at the broker, with these very parameters; the fewest of any of the strategies.

    Raises:
        StoreUnavailableError: the database does not answer.
    """
    with transaction(connection):
        sessions = {
            each.strategy_id: paper_sessions(connection, each.strategy_id, parameters_sha256(each))
            for each in strategies
        }
    fewest = min((len(days) for days in sessions.values()), default=0)
    return PaperDays(record_id=f"paper-days-{digest(sessions)[:16]}", days=fewest)


def parameters_sha256(spec: StrategySpec) -> str:
    """The digest under which the runtime records the steps of these parameters."""
    return digest({"type": spec.strategy_type, "version": spec.version, "params": spec.params})
