"""What a broker answers when it is asked, in the form of trade updates, and the reads that repair a gap.

An order as it is now becomes an ``order_snapshot``, a fill activity an ``activity_fill``; both enter by the write path
of all events, and the fold decides what they change. The live stream is the forwarder's business.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, cast

from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient

from torghut_runtime.canonical import utc_text
from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.event import ACTIVITY_FILL, ORDER_SNAPSHOT
from torghut_runtime.trading_settings import TradingSettings

Answer = dict[str, Any]
ORDERS_PER_PAGE: Final = 500
ACTIVITIES_PER_PAGE: Final = 100
OVERLAP: Final = timedelta(minutes=5)
"""So much of the time before what is known already is asked for again."""
WITHOUT_WATERMARK: Final = timedelta(hours=24)


def asked_since(newest: datetime | None, now: datetime) -> datetime:
    """From when on the broker is asked what was missed: a little before the newest event known, without one a day."""
    return now - WITHOUT_WATERMARK if newest is None else newest - OVERLAP


def snapshot_update(order: Mapping[str, Any]) -> Answer:
    """A trade update that says how an order is; its time is the broker's ``updated_at``."""
    return {"event": ORDER_SNAPSHOT, "timestamp": order.get("updated_at"), "order": dict(order)}


def activity_update(activity: Mapping[str, Any]) -> Answer:
    """A trade update that says that a fill happened; the activity's id is its execution id."""
    return {
        "event": ACTIVITY_FILL,
        "execution_id": activity.get("id"),
        "timestamp": activity.get("transaction_time"),
        "price": activity.get("price"),
        "qty": activity.get("qty"),
        "order": {
            "id": activity.get("order_id"),
            "symbol": activity.get("symbol"),
            "side": activity.get("side"),
            "filled_qty": activity.get("cum_qty"),
        },
    }


def value_of(update: Answer) -> bytes:
    """The bare payload as the decoder reads it."""
    return json.dumps(update).encode()


class BrokerHistory(Protocol):
    """What a back-fill reads; every method reads all pages."""

    def orders(self, since: datetime, until: datetime) -> Iterator[Answer]:
        """Orders of all statuses submitted in a span of time."""
        ...

    def open_orders(self) -> Iterator[Answer]:
        """All open orders."""
        ...

    def order(self, order_id: str) -> Answer:
        """One order."""
        ...

    def fills(self, since: datetime, until: datetime) -> Iterator[Answer]:
        """Fill activities of a span of time."""
        ...


class AlpacaHistory:
    """The broker's REST interface, by alpaca-py."""

    def __init__(self, trading: TradingSettings) -> None:
        """Prepare the client; nothing is asked yet.

        Raises:
            InputError: the broker has no address.
        """
        self._client: Any = TradingClient(*trading.broker.keys, raw_data=True, url_override=trading.broker_url)

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        try:
            return self._client.get(path, dict(parameters or {}))
        except (APIError, OSError) as error:
            status = getattr(error, "status_code", None)
            raise UpstreamError(f"broker: {path} failed ({status or type(error).__name__})") from None

    def orders(self, since: datetime, until: datetime) -> Iterator[Answer]:
        """As :class:`BrokerHistory` says.

        Raises:
            UpstreamError: a page failed.
        """
        yield from self._orders({"status": "all", "until": utc_text(until)}, utc_text(since))

    def open_orders(self) -> Iterator[Answer]:
        """As :class:`BrokerHistory` says.

        Raises:
            UpstreamError: a page failed.
        """
        yield from self._orders({"status": "open"}, None)

    def _orders(self, parameters: Mapping[str, Any], after: str | None) -> Iterator[Answer]:
        seen: set[str] = set()
        while True:
            more = {} if after is None else {"after": after}
            page = cast(
                "Sequence[Answer]",
                self._get("/orders", {**parameters, **more, "limit": ORDERS_PER_PAGE, "direction": "asc"}),
            )
            new = [order for order in page if str(order["id"]) not in seen]
            yield from new
            seen.update(str(order["id"]) for order in new)
            if len(page) < ORDERS_PER_PAGE or not new:
                return
            after = str(page[-1]["submitted_at"])

    def order(self, order_id: str) -> Answer:
        """As :class:`BrokerHistory` says.

        Raises:
            UpstreamError: the broker does not know it, or does not answer.
        """
        return cast("Answer", self._get(f"/orders/{order_id}"))

    def fills(self, since: datetime, until: datetime) -> Iterator[Answer]:
        """As :class:`BrokerHistory` says.

        Raises:
            UpstreamError: a page failed.
        """
        parameters: dict[str, Any] = {
            "after": utc_text(since),
            "until": utc_text(until),
            "direction": "asc",
            "page_size": ACTIVITIES_PER_PAGE,
        }
        while True:
            page = cast("Sequence[Answer]", self._get("/account/activities/FILL", parameters))
            yield from page
            if len(page) < ACTIVITIES_PER_PAGE:
                return
            parameters["page_token"] = str(page[-1]["id"])
