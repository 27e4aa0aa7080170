"""The broker as the forwarder asks it: its history, its clock, and orders that it may not know."""

from datetime import UTC, datetime
from typing import Any, Protocol, cast

from alpaca.common.exceptions import APIError

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.broker_answers import AlpacaHistory, Answer, BrokerHistory
from torghut_runtime.order_feed.values import instant_ns

_NOT_FOUND = 404


class AskedBroker(BrokerHistory, Protocol):
    """What a back-fill after a reconnection needs beyond the history."""

    def now(self) -> datetime:
        """The broker's time, UTC: it is the one that the history is told in."""
        ...

    def known_order(self, order_id: str) -> Answer | None:
        """One order; None when the broker does not know it."""
        ...


class AlpacaBroker(AlpacaHistory):
    """Alpaca's REST interface, by alpaca-py."""

    def now(self) -> datetime:
        """The broker's clock.

        Raises:
            UpstreamError: it does not answer.
        """
        ns = instant_ns(self._get("/clock")["timestamp"])
        if ns is None:
            raise UpstreamError("broker: /clock told no time")
        return datetime.fromtimestamp(ns // 10**9, UTC)

    def known_order(self, order_id: str) -> Answer | None:
        """One order; None when the broker does not know it.

        Raises:
            UpstreamError: it does not answer.
        """
        client: Any = self._client
        try:
            return cast("Answer", client.get(f"/orders/{order_id}"))
        except APIError as error:
            status = cast("Any", error).status_code
            if status == _NOT_FOUND:
                return None
            raise UpstreamError(f"broker: order {order_id} failed ({status})") from None
        except OSError as error:
            raise UpstreamError(f"broker: order {order_id} failed ({type(error).__name__})") from None
