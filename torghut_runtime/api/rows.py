"""The lists of decisions, executions and orders, read from their tables. The engine is not asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from torghut_runtime.api.documents.costs import TcaFields
from torghut_runtime.api.documents.orders import DecisionRow, ExecutionRow, OrderRow
from torghut_runtime.api.documents.values import Page
from torghut_runtime.api.loose import sequence_of
from torghut_runtime.api.paging import Cursor, Keys, page_of
from torghut_runtime.order_feed.event import TERMINAL
from torghut_runtime.storage.order_tables import execution_tca_metrics, executions, order_intents, trade_decisions

_TCA: Final = tuple(TcaFields.model_fields)
_Condition = Callable[[sa.FromClause], sa.ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows a client asks for; what is ``None`` does not filter. ``status`` is the state of an order, too."""

    limit: int
    cursor: Cursor | None = None
    symbol: str | None = None
    since: datetime | None = None
    strategy_id: str | None = None
    status: str | None = None
    open: bool | None = None


def read_decisions(connection: sa.Connection, wanted: Wanted) -> Page[DecisionRow]:
    """Decisions from the newest on."""
    table = trade_decisions
    indexed = _since(table, wanted)
    for name in ("symbol", "strategy_id"):  # each has its index with created_at
        if getattr(wanted, name) is not None:
            indexed.append(table.c[name] == getattr(wanted, name))
    found = page_of(
        connection, table, limit=wanted.limit, cursor=wanted.cursor, indexed=indexed,
        filtered=_equal(wanted, "status"),
    )  # fmt: skip
    items = [
        DecisionRow.model_validate(
            {
                **row,
                "decision": row["decision_json"],
                "client_order_id": row["decision_hash"],
                "reasons": reasons_of(row["decision_json"]),
            }
        )
        for row in found.rows
    ]
    return Page[DecisionRow](items=items, next_cursor=_next(found))


def reasons_of(detail: Mapping[str, Any]) -> list[str]:
    """Why a decision was refused; empty where it was not."""
    return [str(each) for each in sequence_of(detail.get("risk_reasons")) or ()]


def read_executions(connection: sa.Connection, wanted: Wanted) -> Page[ExecutionRow]:
    """Executions from the newest on, each with its cost."""
    table = executions
    found = page_of(
        connection, table, limit=wanted.limit, cursor=wanted.cursor, indexed=_since(table, wanted),
        filtered=_equal(wanted, "symbol", "strategy_id", "status"),
    )  # fmt: skip
    costs = _by(connection, execution_tca_metrics, "execution_id", [row["id"] for row in found.rows])
    traces = _traces(connection, found)
    items = [
        ExecutionRow.model_validate(
            {**row, "tca": _tca(costs.get(row["id"])), "trace_id": traces.get(row["trade_decision_id"])}
        )
        for row in found.rows
    ]
    return Page[ExecutionRow](items=items, next_cursor=_next(found))


def read_orders(connection: sa.Connection, wanted: Wanted) -> Page[OrderRow]:
    """Intents from the newest on, each with the order that it became."""
    table = order_intents
    indexed = _since(table, wanted)
    filtered = _equal(wanted, "symbol")
    if wanted.status is not None:
        filtered.append(lambda looked: looked.c.state == wanted.status)
    if wanted.open is True:  # few rows, which the index of the working ones serves
        indexed.append(table.c.state.not_in(sorted(TERMINAL)))
    elif wanted.open is False:
        filtered.append(lambda looked: looked.c.state.in_(sorted(TERMINAL)))
    found = page_of(
        connection, table, limit=wanted.limit, cursor=wanted.cursor, indexed=indexed, filtered=filtered
    )  # fmt: skip
    orders = _orders(connection, found)
    traces = _traces(connection, found)
    items: list[OrderRow] = []
    for row in found.rows:
        broker = _order(orders.get(row["id"]))
        submitted = broker["submitted_at"] or row["sent_at"]
        trace = traces.get(row["trade_decision_id"])
        items.append(
            OrderRow.model_validate({**broker, **_own(row), "submitted_at": submitted, "trace_id": trace})
        )  # fmt: skip
    return Page[OrderRow](items=items, next_cursor=_next(found))


def _own(row: sa.RowMapping) -> dict[str, Any]:
    """What the intent says; the broker's identifier only where it knows one."""
    own: dict[str, Any] = {str(name): value for name, value in row.items()}
    return {name: value for name, value in own.items() if name != "alpaca_order_id" or value is not None}


def _order(row: sa.RowMapping | None) -> dict[str, Any]:
    if row is None:
        return {
            "filled_qty": 0, "avg_fill_price": None, "replaces": None, "replaced_by": None, "alpaca_order_id": None,
            "submitted_at": None, "acked_at": None, "terminal_at": None,
        }  # fmt: skip
    return {
        **{name: row[name] for name in (
            "filled_qty", "avg_fill_price", "alpaca_order_id", "submitted_at", "acked_at", "terminal_at",
        )},
        "replaces": row["replaces_order_id"],
        "replaced_by": row["replaced_by_order_id"],
    }  # fmt: skip


def _orders(connection: sa.Connection, found: Keys) -> dict[Any, sa.RowMapping]:
    """The execution of each intent: the one under its client id, linked ones first."""
    i, e = order_intents, executions
    query = (
        sa.select(i.c.id.label("of_intent"), e)
        .select_from(
            i.join(
                e,
                (e.c.alpaca_account_label == i.c.alpaca_account_label) & (e.c.client_order_id == i.c.client_order_id),
            )
        )
        .where(i.c.id.in_([row["id"] for row in found.rows]))
        .order_by(e.c.intent_id.is_(None).desc(), e.c.created_at)
    )
    return {row["of_intent"]: row for row in connection.execute(query).mappings()}


def _traces(connection: sa.Connection, found: Keys) -> dict[Any, str | None]:
    d = trade_decisions
    named = {row["trade_decision_id"] for row in found.rows} - {None}
    query = sa.select(d.c.id, d.c.trace_id).where(d.c.id.in_(named))
    return {row.id: row.trace_id for row in connection.execute(query)}


def _by(connection: sa.Connection, table: sa.Table, key: str, values: list[Any]) -> dict[Any, sa.RowMapping]:
    query = sa.select(table).where(table.c[key].in_(values))
    return {row[key]: row for row in connection.execute(query).mappings()}


def _tca(row: sa.RowMapping | None) -> dict[str, Any] | None:
    return None if row is None else {name: row[name] for name in _TCA}


def _since(table: sa.Table, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    return [] if wanted.since is None else [table.c.created_at >= wanted.since]


def _equal(wanted: Wanted, *names: str) -> list[_Condition]:
    given = {name: getattr(wanted, name) for name in names if getattr(wanted, name) is not None}
    return [lambda looked, name=name, value=value: looked.c[name] == value for name, value in given.items()]


def _next(found: Keys) -> str | None:
    return None if found.cursor is None else found.cursor.text()
