"""Trials on record: every configuration that was ever evaluated, once, and how many count for a candidate.

Contract ``lane.md`` 7, Trials. Rows are immutable; the functions work in the caller's transaction where there is one.
What is done with the count is the business of the statistics.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from torghut_runtime.canonical import canonical_value, digest
from torghut_runtime.storage.database import transaction
from torghut_runtime.storage.tables import research_trials


@dataclass(frozen=True)
class TrialKey:
    """What trials have in common that count together; the span's two dates (UTC) are both part of it."""

    family: str
    timeframe: str
    symbols: tuple[str, ...]
    span_start: date
    span_end: date


@dataclass(frozen=True)
class TrialRecord:
    """One evaluated configuration; the Sharpe ratio is per period and ``None`` where it is undefined."""

    family: str
    timeframe: str
    symbols: tuple[str, ...]
    parameters: Mapping[str, Any]
    span_start: date
    span_end: date
    sharpe_per_period: float | None
    n_observations: int

    @property
    def parameters_sha256(self) -> str:
        """Digest of the parameters as canonical JSON."""
        return digest(self.parameters)


@dataclass(frozen=True)
class TrialsOnRecord:
    """How many different configurations were tried, and how far apart their Sharpe ratios are (variance, ddof 1)."""

    count: int
    sharpe_variance: float | None


def record_trials(connection: sa.Connection, records: Sequence[TrialRecord]) -> int:
    """Record evaluated configurations; how many are new.

    One that is on record (same family, timeframe, symbols, parameters and span) keeps its first result: evaluating it
    again, with other code or costs, is no new trial.
    """
    rows = [
        {
            "family": record.family,
            "timeframe": record.timeframe,
            "symbols": _symbols(record.symbols),
            "parameters": canonical_value(record.parameters),
            "parameters_sha256": record.parameters_sha256,
            "span_start": record.span_start,
            "span_end": record.span_end,
            "sharpe_per_period": record.sharpe_per_period,
            "n_observations": record.n_observations,
        }
        for record in records
    ]
    if not rows:
        return 0
    # always in the same order, so that two writers of the same trials wait for each other instead of deadlocking
    rows.sort(key=lambda row: (row["family"], row["symbols"], row["parameters_sha256"], row["span_start"]))
    statement = (
        insert(research_trials)
        .on_conflict_do_nothing(constraint="uq_research_trials_trial")
        .returning(research_trials.c.trial_no)
    )
    with transaction(connection):
        return len(connection.execute(statement, rows).all())


def trials_on_record(connection: sa.Connection, key: TrialKey) -> TrialsOnRecord:
    """The trials that count for a candidate with ``key`` (contract ``lane.md`` 7, Trials).

    A trial counts when family, timeframe and symbols are equal and the days that both spans share are at least half of
    the longer span, which is the same seen from either side. Trials with equal parameters are one, whatever their
    spans: one more bar makes no new trial. Each brings the first Sharpe ratio that was recorded for it.
    """
    table = research_trials
    shared = sa.func.least(table.c.span_end, key.span_end) - sa.func.greatest(table.c.span_start, key.span_start) + 1
    longer = sa.func.greatest(
        table.c.span_end - table.c.span_start + 1, sa.literal((key.span_end - key.span_start).days + 1)
    )
    found = connection.execute(
        sa.select(table.c.parameters_sha256, table.c.sharpe_per_period)
        .where(
            table.c.family == key.family,
            table.c.timeframe == key.timeframe,
            table.c.symbols == _symbols(key.symbols),
            2 * shared >= longer,
        )
        .order_by(table.c.trial_no)
    ).all()
    first: dict[str, float] = {}
    for row in found:
        if row.sharpe_per_period is not None:
            first.setdefault(row.parameters_sha256, row.sharpe_per_period)
    variance = statistics.variance(first.values()) if len(first) > 1 else None
    return TrialsOnRecord(len({row.parameters_sha256 for row in found}), variance)


def _symbols(symbols: Sequence[str]) -> list[str]:
    return sorted(set(symbols))
