"""Metrics of the orchestration guard, aggregated from its tables and the governance ledger.

:class:`OrchestrationTally` is read by the service's collector, every 15 s; a scrape shows what was read last. Counters
are sums over the ledger, of which each read only looks at what is new, so a restart gives the same values. Label values
are stages, lanes and classes as the policy had them when a decision was recorded; no candidate is ever a label.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from torghut_runtime.storage.freezes import freeze_cause
from torghut_runtime.storage.guard_tables import guard_candidates, guard_stage_results
from torghut_runtime.storage.tables import governance_ledger

PREFIX: Final = "torghut_orchestration"
BUCKETS_S: Final = (1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400, 604_800)
NO_MODE: Final = "none"
FINAL: Final = ("passed", "failed")


@dataclass(frozen=True)
class Spread:
    """How durations (s) are spread over :data:`BUCKETS_S`, cumulatively, and their number and sum."""

    labels: tuple[str, ...]
    below: tuple[int, ...]
    count: int
    total: float


@dataclass
class OrchestrationTally:
    """What is known of the guard's work; :meth:`read` brings it up to date."""

    seen_seq: int = 0
    lanes: dict[str, str] = field(default_factory=dict[str, str])
    decisions: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    failures: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    retries: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    durations: Sequence[Spread] = ()
    handoffs: Sequence[Spread] = ()
    waiting: Counter[str] = field(default_factory=Counter[str])
    paused: int = 0
    frozen: bool = False

    def read(self, connection: sa.Connection) -> None:
        """Read what is new in the ledger and what stands in the tables.

        Raises:
            StoreUnavailableError: the database does not answer.
        """
        self._read_ledger(connection)
        self._read_results(connection)
        self._read_candidates(connection)

    def _read_ledger(self, connection: sa.Connection) -> None:
        table = governance_ledger
        body = table.c.body
        parts = (
            body["command"].astext.label("command"),
            body["outcome"].astext.label("outcome"),
            sa.func.coalesce(body["mode"].astext, NO_MODE).label("mode"),
            sa.func.coalesce(body["toStage"].astext, body["stage"].astext).label("stage"),
            body["lane"].astext.label("lane"),
            body["failureClass"].astext.label("failure_class"),
            body["counted"].astext.label("counted"),
        )
        statement = (
            sa.select(*parts, sa.func.count().label("number"), sa.func.max(table.c.seq).label("seq"))
            .where(table.c.kind == "guard_decision", table.c.seq > self.seen_seq)
            .group_by(*parts)
            .order_by(sa.literal_column("seq"))
        )
        for row in connection.execute(statement).all():  # all or nothing: a broken read must not lose any
            self.seen_seq = row.seq
            self.lanes[row.stage] = row.lane
            self.decisions[row.command, row.outcome, row.mode] += row.number
            if row.failure_class is None:
                continue
            if row.counted == "true":
                self.failures[row.stage, row.failure_class] += row.number
            if row.outcome == "retry":
                self.retries[row.stage, row.failure_class] += row.number

    def _read_results(self, connection: sa.Connection) -> None:
        table = guard_stage_results
        taken = sa.func.extract("epoch", table.c.recorded_at - table.c.entered_at)
        final = sa.select(table.c.stage, table.c.verdict, taken.label("seconds")).where(table.c.verdict.in_(FINAL))
        self.durations = _spreads(connection, final.subquery(), ("stage", "verdict"))
        before: dict[str, Any] = {"partition_by": (table.c.name, table.c.run_id), "order_by": table.c.id}
        moves = sa.select(
            table.c.edge,
            table.c.stage.label("to_stage"),
            sa.func.lag(table.c.stage).over(**before).label("from_stage"),
            sa.func.extract("epoch", table.c.entered_at - sa.func.lag(table.c.recorded_at).over(**before)).label(
                "seconds"
            ),
        ).subquery()
        handed = sa.select(moves).where(moves.c.edge == "forward", moves.c.seconds.is_not(None))
        self.handoffs = _spreads(connection, handed.subquery(), ("from_stage", "to_stage"))

    def _read_candidates(self, connection: sa.Connection) -> None:
        candidates, results = guard_candidates, guard_stage_results
        newest = (
            sa.select(results.c.verdict)
            .where(
                results.c.name == candidates.c.name,
                results.c.run_id == candidates.c.run_id,
                results.c.stage == candidates.c.active_stage,
            )
            .order_by(results.c.entry.desc())
            .limit(1)
            .scalar_subquery()
        )
        statement = (
            sa.select(candidates.c.active_stage, sa.func.count().label("number"))
            .where(~candidates.c.paused, sa.func.coalesce(newest, "none").not_in(FINAL))
            .group_by(candidates.c.active_stage)
        )
        self.waiting = Counter({row.active_stage: row.number for row in connection.execute(statement)})
        paused = sa.select(sa.func.count()).select_from(candidates).where(candidates.c.paused)
        self.paused = connection.execute(paused).scalar_one()
        self.frozen = freeze_cause(connection) is not None

    def families(self) -> Iterator[Metric]:
        """What was read last, as Prometheus' client wants it."""
        lane = self.lanes
        duration = HistogramMetricFamily(
            f"{PREFIX}_stage_duration_seconds", "From entry to final verdict.", labels=("stage", "lane", "result")
        )
        for each in self.durations:
            stage, result = each.labels
            _add(duration, (stage, lane.get(stage, ""), result), each)
        yield duration
        handoff = HistogramMetricFamily(
            f"{PREFIX}_handoff_latency_seconds",
            "From verdict to entry into the next stage.",
            labels=("from_stage", "to_stage"),
        )
        for each in self.handoffs:
            _add(handoff, each.labels, each)
        yield handoff
        for name, text, counts in (
            ("retry", "Failures answered with a retry.", self.retries),
            ("failure", "Counted failures.", self.failures),
        ):
            family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=("stage", "failure_class"))
            for labels, number in sorted(counts.items()):
                family.add_metric(labels, number)
            yield family
        depth = GaugeMetricFamily(
            f"{PREFIX}_queue_depth", "Unpaused candidates without final verdict.", labels=("stage", "lane")
        )
        for stage in sorted({*lane, *self.waiting}):
            depth.add_metric((stage, lane.get(stage, "")), self.waiting[stage])
        yield depth
        decided = CounterMetricFamily(
            f"{PREFIX}_decisions", "Recorded decisions.", labels=("command", "outcome", "mode")
        )
        for labels, number in sorted(self.decisions.items()):
            decided.add_metric(labels, number)
        yield decided
        yield GaugeMetricFamily(f"{PREFIX}_paused_candidates", "Candidates paused for review.", self.paused)
        yield GaugeMetricFamily(f"{PREFIX}_promotion_frozen", "Whether promotion is frozen.", int(self.frozen))


def _spreads(connection: sa.Connection, rows: sa.Subquery, labels: tuple[str, str]) -> list[Spread]:
    keys = [rows.c[name] for name in labels]
    below = [
        sa.func.count().filter(rows.c.seconds <= bound).label(f"below_{number}")
        for number, bound in enumerate(BUCKETS_S)
    ]
    statement = (
        sa.select(*keys, *below, sa.func.count().label("number"), sa.func.sum(rows.c.seconds).label("total"))
        .group_by(*keys)
        .order_by(*keys)
    )
    return [
        Spread(
            labels=tuple(str(value) for value in row[: len(keys)]),
            below=tuple(row[len(keys) : len(keys) + len(below)]),
            count=row.number,
            total=float(row.total),
        )
        for row in connection.execute(statement)
    ]


def _add(family: HistogramMetricFamily, labels: Sequence[str], spread: Spread) -> None:
    buckets = [(str(float(bound)), number) for bound, number in zip(BUCKETS_S, spread.below, strict=True)]
    family.add_metric(labels, buckets=[*buckets, ("+Inf", spread.count)], sum_value=spread.total)
