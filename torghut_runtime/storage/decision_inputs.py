"""Recorded steps in PostgreSQL (``decision_inputs``): written once per step, read back for replays, deleted when old.

What a record means is told in :mod:`torghut_runtime.orders.step_record`; when they are written is the journal's and the
step writer's business. A step that is stored already is left as it is.
"""

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, cast

import sqlalchemy as sa

from torghut_runtime.canonical import canonical_value
from torghut_runtime.order_feed.ingest import cursor_of
from torghut_runtime.orders.step_record import StepRecord, StrategyCode, feature_digest
from torghut_runtime.storage.runtime_tables import decision_inputs

RETENTION_DAYS: Final = 90
_BATCH: Final = "decision_inputs_batch"
_READ_AT_ONCE: Final = 5_000
_FEW: Final = 8
"""Rows, a fraction of a millisecond's work."""

_COLUMNS: Final = (
    "account_label", "strategy_id", "strategy_type", "strategy_version", "params", "params_sha256", "symbol",
    "timeframe", "bar_ts", "features", "feature_sha256", "position", "memory", "seconds_to_close", "code", "output",
    "account", "price_snapshot", "provenance", "commit", "trace_id", "decided_at",
)  # fmt: skip
_LISTED: Final = ", ".join(_COLUMNS)
_MAKE_BATCH: Final = (
    f"CREATE TEMP TABLE IF NOT EXISTS {_BATCH} ON COMMIT DELETE ROWS AS"  # noqa: S608 - the names are ours
    f" SELECT {_LISTED} FROM decision_inputs WITH NO DATA"
)
_COPY_BATCH: Final = f"COPY {_BATCH} ({_LISTED}) FROM STDIN"
_TAKE_BATCH: Final = (
    f"INSERT INTO decision_inputs ({_LISTED}) SELECT {_LISTED} FROM {_BATCH}"  # noqa: S608 - the names are ours
    " ON CONFLICT ON CONSTRAINT uq_decision_inputs_step DO NOTHING"
)


# Writing --------------------------------------------------------------------------------------------------------------


INSERT_STEP: Final = (
    f"INSERT INTO decision_inputs ({_LISTED})"  # noqa: S608 - the names are ours
    f" VALUES ({', '.join(f'%({name})s' for name in _COLUMNS)})"
    " ON CONFLICT ON CONSTRAINT uq_decision_inputs_step DO NOTHING RETURNING id"
)
"""Writes one record, with :func:`step_values`."""


_shown: dict[str, tuple[StrategyCode, str, str]] = {}
"""Parameters and provenance of each strategy as they were written last: one value serves all its steps."""


def _texts_of(step: StepRecord) -> tuple[str, str]:
    code = step.strategy
    known = _shown.get(code.strategy_id)
    if known is None or known[0] is not code:
        known = _shown[code.strategy_id] = (code, _json(code.params), _json(_provenance(step)))
    return known[1:]


def step_values(step: StepRecord) -> dict[str, Any]:
    """The values of one record for the driver."""
    code = step.strategy
    params, provenance = _texts_of(step)
    return {
        "account_label": step.account_label,
        "strategy_id": code.strategy_id,
        "strategy_type": code.strategy_type,
        "strategy_version": code.version,
        "params": params,
        "params_sha256": code.params_sha256,
        "symbol": step.symbol,
        "timeframe": step.timeframe,
        "bar_ts": step.bar_ts,
        "features": _array(step.features),
        "feature_sha256": feature_digest(code.feature_names, step.features),
        "position": _array(step.position),
        "memory": _array(step.memory),
        "seconds_to_close": step.seconds_to_close,
        "code": step.code,
        "output": _array(step.output),
        "account": _json(canonical_value(step.account)),
        "price_snapshot": _json(canonical_value(step.price)),
        "provenance": provenance,
        "commit": code.commit,
        "trace_id": step.trace_id,
        "decided_at": step.decided_at,
    }


def copy_steps(
    connection: sa.Connection, steps: Iterable[StepRecord], give_way: Callable[[], None] = lambda: None
) -> None:
    """Write many records in the caller's transaction, which has begun, by COPY.

    Everything is turned into text before the COPY begins: the server counts the time in which it waits for us as the
    statement's, and this thread waits for the interpreter while another one computes. ``give_way`` is called after
    every few rows.
    """
    rows = list(_paced(_copied(steps), give_way))
    with cursor_of(connection) as cursor:
        cursor.execute(_MAKE_BATCH.encode())
        with cursor.copy(_COPY_BATCH.encode()) as copy:
            for row in _paced(rows, give_way):
                copy.write_row(row)
        cursor.execute(_TAKE_BATCH.encode())


def _paced(rows: Iterable[tuple[Any, ...]], give_way: Callable[[], None]) -> Generator[tuple[Any, ...]]:
    for number, row in enumerate(rows, 1):
        yield row
        if number % _FEW == 0:
            give_way()


def _copied(steps: Iterable[StepRecord]) -> Generator[tuple[Any, ...]]:
    texts: dict[int, tuple[Any, str]] = {}

    def once(value: Mapping[str, Any]) -> str:
        """The JSON of a mapping that many records of a batch share."""
        known = texts.get(id(value))
        if known is None or known[0] is not value:
            known = texts[id(value)] = (value, _json(canonical_value(value)))
        return known[1]

    for step in steps:
        code = step.strategy
        params, provenance = _texts_of(step)
        yield (
            step.account_label, code.strategy_id, code.strategy_type, code.version, params,
            code.params_sha256, step.symbol, step.timeframe, step.bar_ts, _array(step.features),
            feature_digest(code.feature_names, step.features), _array(step.position), _array(step.memory),
            step.seconds_to_close, step.code, _array(step.output), once(step.account), once(step.price),
            provenance, code.commit, step.trace_id, step.decided_at,
        )  # fmt: skip


def _provenance(step: StepRecord) -> dict[str, Any]:
    return {**canonical_value(step.strategy.provenance), "source_sha256": step.strategy.source_sha256}


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _array(values: Sequence[float]) -> str:
    """An array as text; the shortest digits that give the same bits back."""
    return "{" + ",".join(map(repr, values)) + "}"


def delete_before(connection: sa.Connection, account_label: str, moment: datetime, limit: int) -> int:
    """Delete at most ``limit`` of an account's records that were made before ``moment``; how many."""
    table = decision_inputs
    old = (
        sa.select(table.c.id)
        .where(table.c.decided_at < moment, table.c.account_label == account_label)
        .order_by(table.c.decided_at)
        .limit(limit)
    )
    return connection.execute(sa.delete(table).where(table.c.id.in_(old.scalar_subquery()))).rowcount


# Reading --------------------------------------------------------------------------------------------------------------


def recorded_rows(
    connection: sa.Connection,
    since: datetime,
    until: datetime,
    strategy_id: str | None = None,
) -> Generator[Mapping[str, Any]]:
    """What a replay needs of the records with ``since <= decided_at < until``, in the order of the decisions."""
    table = decision_inputs
    names = (
        "account_label", "strategy_id", "strategy_type", "strategy_version", "params", "params_sha256", "symbol",
        "timeframe", "bar_ts", "features", "feature_sha256", "position", "memory", "seconds_to_close", "code", "output",
        "provenance",
    )  # fmt: skip
    query = (
        sa.select(*(table.c[name] for name in names))
        .where(table.c.decided_at >= since, table.c.decided_at < until)
        .order_by(table.c.decided_at, table.c.id)
        .execution_options(yield_per=_READ_AT_ONCE)
    )
    if strategy_id is not None:
        query = query.where(table.c.strategy_id == strategy_id)
    for row in connection.execute(query).mappings():
        yield cast("Mapping[str, Any]", row)


def paper_sessions(connection: sa.Connection, strategy_id: str, params_sha256: str) -> list[date]:
    """The dates (New York) on which a strategy was asked with these parameters while it traded on a paper account.

    An account of the simulator does not count: its time is simulated.
    """
    table = decision_inputs
    day = sa.cast(sa.func.timezone("America/New_York", table.c.bar_ts), sa.Date).label("day")
    trading = table.c.provenance["trading"]
    query = (
        sa.select(day)
        .where(
            table.c.strategy_id == strategy_id,
            table.c.params_sha256 == params_sha256,
            trading["mode"].astext == "paper",
            trading["adapter"].astext == "alpaca",
        )
        .distinct()
        .order_by(day)
    )
    return list(connection.execute(query).scalars())
