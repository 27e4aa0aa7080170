"""Discrepancies that the fold finds about orders: opened, seen again, and closed when they no longer hold.

Those of the reconciler are its own business. One statement per purpose, however many orders.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg

from torghut_runtime.order_feed import arrays
from torghut_runtime.order_feed.book import FOLD_KINDS, IDENTITY_CONFLICT, ILLEGAL_MOVE, UNKNOWN_TO_US, OrderRef
from torghut_runtime.order_feed.event import OrderEvent
from torghut_runtime.order_feed.identity import order_key
from torghut_runtime.order_feed.values import number_text

if TYPE_CHECKING:
    from torghut_runtime.order_feed.rows import OrderRow

Cursor = psycopg.Cursor[Any]
_ENCODER: Final = msgspec.json.Encoder()


def _discrepancy_key(order_id: str | None, client_order_id: str | None) -> str:
    return order_key(order_id, client_order_id)[:128]


@dataclass(frozen=True, slots=True)
class Findings:
    """What the fold finds about orders."""

    touched: set[tuple[str, str]]
    """Account and key of every order that was looked at."""
    opened: list[tuple[str, str, str | None, str, str]]
    """Account, key, symbol, kind and our view as JSON text."""


def findings(staged: "Sequence[OrderRow]", illegal: Collection[OrderRef]) -> Findings:
    """The discrepancies that hold now for these orders; ``illegal`` are those that their intents must not follow."""
    found = Findings(set(), [])
    for row in staged:
        order, state = row.order, row.order.state
        account, order_id, _ = order.ref
        key = _discrepancy_key(order_id, order.client_order_id)
        found.touched.add((account, key))
        found.touched.update((account, _discrepancy_key(None, client)) for client in order.absorbed)
        kinds = order.discrepancies if row.link is not None else order.discrepancies | {UNKNOWN_TO_US}
        if order.ref in illegal:
            kinds = kinds | {ILLEGAL_MOVE}
        if kinds:
            ours = _ENCODER.encode(
                {
                    "client_order_id": order.client_order_id,
                    "status": state.status,
                    "filled_qty": number_text(state.filled_qty),
                    "qty": number_text(state.qty),
                }
            ).decode()
            found.opened.extend((account, key, state.symbol, kind, ours) for kind in sorted(kinds))
    return found


def settle_discrepancies(cursor: Cursor, found: Findings) -> None:
    """Open what the fold finds about orders, and close what no longer holds."""
    touched = sorted(found.touched)
    cursor.execute(
        """
        SELECT found.* FROM unnest(%s::text[], %s::text[]) t(account, id) CROSS JOIN LATERAL (
            SELECT r.id::text, r.alpaca_account_label, r.alpaca_order_id, r.symbol, r.kind
            FROM reconcile_discrepancies r
            WHERE r.alpaca_account_label = t.account AND r.alpaca_order_id = t.id AND r.resolved_at IS NULL OFFSET 0
        ) found
        """,
        (arrays.texts([key[0] for key in touched]), arrays.texts([key[1] for key in touched])),
    )
    holding = {row[:4] for row in found.opened}
    ended = [row[0] for row in cursor if row[4] in FOLD_KINDS and row[1:5] not in holding]
    if ended:
        cursor.execute(
            "UPDATE reconcile_discrepancies SET resolved_at = now(), resolution = 'no_longer_holds', updated_at = now()"
            " WHERE id = ANY(%s::uuid[])",
            (arrays.texts(ended),),
        )
    if found.opened:
        _open(cursor, [[row[index] for row in found.opened] for index in range(5)])


def _open(cursor: Cursor, columns: Sequence[list[Any]]) -> None:
    cursor.execute(
        """
        INSERT INTO reconcile_discrepancies AS r
            (id, alpaca_account_label, alpaca_order_id, symbol, kind, ours, first_seen_at, last_seen_at)
        SELECT gen_random_uuid(), o.account, o.id, o.symbol, o.kind, o.ours::jsonb, now(), now()
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[]) o(account, id, symbol, kind, ours)
        ON CONFLICT (alpaca_account_label, alpaca_order_id, symbol, kind) WHERE resolved_at IS NULL DO UPDATE
            SET ours = excluded.ours, seen_count = r.seen_count + 1, last_seen_at = now(), updated_at = now()
            WHERE r.ours IS DISTINCT FROM excluded.ours
        """,
        tuple(arrays.texts(column) for column in columns),
    )


def report_conflicts(cursor: Cursor, conflicts: Sequence[tuple[OrderEvent, OrderEvent]]) -> None:
    """Record contents that one identity came with and that differ in price, quantity or status."""
    opened: dict[tuple[str, str, str | None], str] = {}
    for kept, other in conflicts:
        key = (kept.account, _discrepancy_key(kept.order_id, kept.client_order_id), kept.symbol)
        opened[key] = json.dumps({"fingerprint": kept.fingerprint.hex(), "contents": [_told(kept), _told(other)]})
    keys = list(opened)
    _open(
        cursor,
        [
            [key[0] for key in keys],
            [key[1] for key in keys],
            [key[2] for key in keys],
            [IDENTITY_CONFLICT] * len(keys),
            list(opened.values()),
        ],
    )


def _told(event: OrderEvent) -> dict[str, str | None]:
    def text(number: Decimal | None) -> str | None:
        return number_text(number)

    return {"price": text(event.fill_price), "qty": text(event.fill_qty), "status": event.status}
