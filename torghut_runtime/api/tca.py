"""Execution costs for HTTP: figures over a bounded window of filled orders, and the orders themselves by pages."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from torghut_runtime.api.documents.costs import (
    StrategyTca,
    SymbolTca,
    TcaAggregates,
    TcaReport,
    TcaRow,
    TcaSummary,
    TcaWindow,
)
from torghut_runtime.api.paging import Cursor
from torghut_runtime.api.rows import Wanted
from torghut_runtime.storage.order_tables import execution_tca_metrics, executions, trade_decisions

MOST: Final = 10_000
"""Orders that figures are made of, at most: the newest of the window."""
WINDOW: Final = timedelta(days=30)
"""As long as the views of the order feed look back."""
_GROUPS: Final = 200


def read_tca(connection: sa.Connection, wanted: Wanted) -> TcaReport:
    """Summary, groups and items under the same filters; without ``since`` of the last 30 days."""
    since = wanted.since or datetime.now(UTC) - WINDOW
    counted = _filled(wanted, since).limit(MOST).subquery("counted")
    whole = connection.execute(sa.select(*_figures(counted))).mappings().one()
    items, cursor = _items(connection, wanted, since)
    return TcaReport(
        window=TcaWindow(since=since, most=MOST, truncated=whole["order_count"] >= MOST),
        summary=TcaSummary.model_validate(whole),
        aggregates=TcaAggregates(
            strategy=[StrategyTca.model_validate(row) for row in _grouped(connection, counted, "strategy_id")],
            symbol=[SymbolTca.model_validate(row) for row in _grouped(connection, counted, "symbol")],
        ),
        items=items,
        next_cursor=None if cursor is None else cursor.text(),
    )


def day_figures(connection: sa.Connection) -> dict[str, Any]:
    """What ``/trading/metrics`` says of costs: the last 24 hours."""
    counted = _filled(Wanted(1), datetime.now(UTC) - timedelta(hours=24)).limit(MOST).subquery("counted")
    found = connection.execute(sa.select(*_figures(counted))).mappings().one()
    return TcaSummary.model_validate(found).model_dump(mode="json")


def _filled(wanted: Wanted, since: datetime, cursor: Cursor | None = None) -> sa.Select[Any]:
    """Costs of filled orders, the newest fill first; each way has its index."""
    t, e = execution_tca_metrics, executions
    if wanted.symbol is None and wanted.strategy_id is None:
        # OFFSET keeps it a look-up per order: a join by hash would read the whole table of costs
        costs = sa.select(t).where(t.c.execution_id == e.c.id).offset(sa.literal_column("0")).lateral("costs")
        query, by, key = sa.select(costs).select_from(e.join(costs, sa.true())), e.c.last_fill_at, e.c.id
    else:
        query, by, key = sa.select(t), t.c.last_fill_at, t.c.execution_id
        for name in ("symbol", "strategy_id"):
            if getattr(wanted, name) is not None:
                query = query.where(t.c[name] == getattr(wanted, name))
    query = query.where(by >= since).order_by(by.desc(), key.desc())
    if cursor is not None:
        query = query.where(sa.tuple_(by, key) < (cursor.at, cursor.id))
    return query


def _items(connection: sa.Connection, wanted: Wanted, since: datetime) -> tuple[list[TcaRow], Cursor | None]:
    page, d = _filled(wanted, since, wanted.cursor).limit(wanted.limit + 1).subquery("page"), trade_decisions
    query = (
        sa.select(page, d.c.trace_id)
        .select_from(page.outerjoin(d, d.c.id == page.c.trade_decision_id))
        .order_by(page.c.last_fill_at.desc(), page.c.execution_id.desc())
    )
    rows = connection.execute(query).mappings().all()
    shown = rows[: wanted.limit]
    more = len(rows) > wanted.limit
    cursor = Cursor(shown[-1]["last_fill_at"], shown[-1]["execution_id"]) if more else None
    return [TcaRow.model_validate(row) for row in shown], cursor


def _figures(counted: sa.Subquery) -> list[sa.ColumnElement[Any]]:
    """As the views of the order feed define them."""
    c = counted.c
    notional = c.filled_qty * c.avg_fill_price

    def weighted(name: str) -> sa.ColumnElement[Any]:
        weight = sa.func.sum(notional).filter(c[name].is_not(None))
        return (sa.func.sum(c[name] * notional) / sa.func.nullif(weight, 0)).label(f"avg_{name}")

    return [
        sa.func.count().label("order_count"),
        sa.func.count(c.slippage_bps).label("priced_order_count"),
        sa.func.sum(notional).label("filled_notional"),
        weighted("slippage_bps"),
        weighted("slippage_mid_bps"),
        sa.cast(sa.func.percentile_cont(0.95).within_group(c.slippage_bps), sa.Numeric(28, 10)).label(
            "p95_slippage_bps"
        ),
        sa.func.sum(c.shortfall_notional).label("sum_shortfall_notional"),
        (sa.func.sum(c.shortfall_notional) / sa.func.nullif(sa.func.count(c.shortfall_notional), 0)).label(
            "avg_shortfall_notional"
        ),
        sa.func.max(c.computed_at).label("last_computed_at"),
    ]


def _grouped(connection: sa.Connection, counted: sa.Subquery, name: str) -> Sequence[sa.RowMapping]:
    keys = (counted.c.alpaca_account_label, counted.c[name])
    query = sa.select(*keys, *_figures(counted)).group_by(*keys).order_by(*keys).limit(_GROUPS)
    return connection.execute(query).mappings().all()
