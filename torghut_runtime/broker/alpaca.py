"""Alpaca's trading interface as a broker, over alpaca-py; the simulator speaks the same (``url_override``).

Two clients: the reader's transport refuses everything but GET, the writer is for the firewall alone. alpaca-py's own
retries are off and every call has a deadline, because a retry that nobody sees is an order that nobody expects.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote, urlsplit

import requests
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from alpaca.trading.client import TradingClient
from requests.adapters import HTTPAdapter

from torghut_runtime.broker.protocol import (
    BrokerError,
    Document,
    RateLimitedError,
    RejectedError,
    UncertainError,
)
from torghut_runtime.risk.baselines import TRANSFER_TYPES
from torghut_runtime.trading_settings import LIVE_HOST, PAPER_HOST, BrokerAccess

DEADLINE_SECONDS: Final = 5.0
_PAGE: Final = 500
_ACTIVITIES: Final = 100
_TOO_MANY: Final = 429
_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_T = TypeVar("_T")


class MutationRefusedError(BrokerError):
    """A request that would change something, on a client that only reads."""


class _Transport(HTTPAdapter):
    """Adds the deadline; refuses what a reader may not send."""

    def __init__(self, *, read_only: bool, deadline_seconds: float) -> None:
        super().__init__(max_retries=0)
        self._read_only = read_only
        self._deadline_seconds = deadline_seconds

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Send one request."""
        if self._read_only and request.method != "GET":
            raise MutationRefusedError(f"a reading client does not send {request.method}")
        options["timeout"] = self._deadline_seconds
        return super().send(request, *arguments, **options)


def _client(access: BrokerAccess, base_url: str, *, read_only: bool, deadline_seconds: float) -> TradingClient:
    live = urlsplit(base_url).hostname == LIVE_HOST
    client = TradingClient(*access.keys, paper=not live, raw_data=True, url_override=base_url)
    bound(client, read_only=read_only, deadline_seconds=deadline_seconds)
    return client


def bound(client: RESTClient, *, read_only: bool = True, deadline_seconds: float = DEADLINE_SECONDS) -> None:
    """Give every call of a client of alpaca-py a deadline and no retry; a reading one sends nothing but GET."""
    # alpaca-py has no public way to switch its retries off: an argument of 0 leaves the default of three.
    inner = cast("Any", client)
    inner._retry = 0  # noqa: SLF001
    inner._retry_codes = []  # noqa: SLF001
    session: requests.Session = inner._session  # noqa: SLF001
    transport = _Transport(read_only=read_only, deadline_seconds=deadline_seconds)
    session.mount("https://", transport)
    session.mount("http://", transport)


class AlpacaReader:
    """Reads the account; see :class:`~torghut_runtime.broker.protocol.BrokerReader`."""

    def __init__(self, access: BrokerAccess, base_url: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._client = _client(access, base_url, read_only=True, deadline_seconds=deadline_seconds)

    def account(self) -> Document:
        """The account."""
        return _called(lambda: self._get("/account"))

    def positions(self) -> list[Document]:
        """Every open position."""
        return _called(lambda: self._get("/positions"))

    def orders(self, *, after: str | None = None) -> list[Document]:
        """All orders submitted after a time, oldest first."""
        return self._pages({"status": "all"} if after is None else {"status": "all", "after": after})

    def open_orders(self) -> list[Document]:
        """All open orders, oldest first."""
        return self._pages({"status": "open"})

    def order(self, order_id: str) -> Document | None:
        """An order by the broker's id."""
        return self._known(f"/orders/{order_id}")

    def transfers(self) -> list[Document]:
        """Every deposit and withdrawal of the account."""
        found: list[Document] = []
        asked = {"activity_types": ",".join(TRANSFER_TYPES), "direction": "asc", "page_size": str(_ACTIVITIES)}
        while True:
            page = self._page(asked, "/account/activities")
            found += page
            if len(page) < _ACTIVITIES:
                return found
            asked = {**asked, "page_token": str(page[-1]["id"])}

    def order_by_client_id(self, client_order_id: str) -> Document | None:
        """The order of a client order id."""
        return self._known("/orders:by_client_order_id", {"client_order_id": client_order_id})

    def _known(self, path: str, query: Mapping[str, str] | None = None) -> Document | None:
        try:
            return _called(lambda: self._get(path, query))
        except RejectedError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def clock(self) -> Document:
        """The broker's clock."""
        return _called(lambda: self._get("/clock"))

    def asset(self, symbol: str) -> Document | None:
        """One asset; None where there is none of that name."""
        try:
            return _called(lambda: self._get(f"/assets/{quote(symbol, safe='')}"))
        except RejectedError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def assets(self) -> list[Document]:
        """Every active asset."""
        return _called(lambda: self._get("/assets", {"status": "active"}))

    def _pages(self, query: dict[str, str]) -> list[Document]:
        """All pages; a page begins again before the last time of the one before, so that no equal time is lost."""
        found: dict[str, Document] = {}
        asked = {**query, "limit": str(_PAGE), "direction": "asc"}
        while True:
            page = self._page(asked)
            fresh = [order for order in page if order["id"] not in found]
            found.update((order["id"], order) for order in fresh)
            earlier = [order["submitted_at"] for order in page if order["submitted_at"] < page[-1]["submitted_at"]]
            if len(page) < _PAGE or not fresh or not earlier:
                return list(found.values())
            asked = {**asked, "after": earlier[-1]}

    def _page(self, query: Mapping[str, str], path: str = "/orders") -> list[Document]:
        return _called(lambda: self._get(path, query))

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return cast("Any", self._client).get(path, dict(query or {}))


class AlpacaWriter:
    """Changes the account; see :class:`~torghut_runtime.broker.protocol.BrokerWriter`. For the firewall alone."""

    def __init__(self, access: BrokerAccess, base_url: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._client: Any = _client(access, base_url, read_only=False, deadline_seconds=deadline_seconds)

    def submit(self, payload: Mapping[str, str]) -> Document:
        """Submit an order."""
        return _called(lambda: self._client.post("/orders", dict(payload)))

    def replace(self, order_id: str, changes: Mapping[str, str]) -> Document:
        """Replace an open order."""
        return _called(lambda: self._client.patch(f"/orders/{order_id}", dict(changes)))

    def cancel(self, order_id: str) -> None:
        """Ask for the end of an order."""
        _called(lambda: self._client.delete(f"/orders/{order_id}"))

    def cancel_all(self) -> list[Document]:
        """Ask for the end of every open order, in one call; id and status of each."""
        answer: Any = _called(lambda: self._client.delete("/orders"))
        return cast("list[Document]", answer) if isinstance(answer, list) else []


def _called(request: Callable[[], _T]) -> _T:
    """The answer of a call; whatever went wrong in the terms of the protocol."""
    try:
        return request()
    except APIError as error:
        raise _meaning(error) from None
    except (requests.RequestException, json.JSONDecodeError) as error:
        raise UncertainError(f"no certain answer: {type(error).__name__}") from None


def _meaning(error: APIError) -> BrokerError:
    status: int = cast("Any", error).status_code or _SERVER_ERROR
    if status >= _SERVER_ERROR:
        return UncertainError(f"no certain answer: HTTP {status}")
    if status == _TOO_MANY:
        return RateLimitedError(_retry_after(error))
    code, message, existing = _body(str(error))
    return RejectedError(status, code, message or f"HTTP {status}", existing_order_id=existing)


def _retry_after(error: APIError) -> float:
    response = cast("Any", error).response
    try:
        return max(float(response.headers.get("Retry-After", "1")), 0.0)
    except (AttributeError, TypeError, ValueError):
        return 1.0


def _body(text: str) -> tuple[int | None, str, str | None]:
    """Code, message and named order of an error's body; a body that is no JSON is its own message."""
    try:
        body: Any = json.loads(text)
    except json.JSONDecodeError:
        return None, text[:500], None
    if not isinstance(body, dict):
        return None, text[:500], None
    known = cast("dict[str, Any]", body)
    code, existing = known.get("code"), known.get("existing_order_id")
    return (
        code if isinstance(code, int) else None,
        str(known.get("message", "")),
        existing if isinstance(existing, str) else None,
    )


def account_fault(
    account: Document,
    base_url: str,
    mode: str,
    live_account_number: str | None,
    simulator_url: str | None = None,
) -> str | None:
    """Why orders may not be sent to this account in this mode, None when they may (``runtime.md`` 4).

    Paper: Alpaca's paper host or a simulator (on the loopback, or on the host of ``simulator_url``), and a paper or
    simulated account number. Live: Alpaca's live host and the one account that is named.
    """
    host = urlsplit(base_url).hostname or ""
    number = str(account.get("account_number", ""))
    if mode == "live":
        if host != LIVE_HOST:
            return f"live mode needs the host {LIVE_HOST}, was {host}"
        return (
            None if live_account_number and number == live_account_number else "is not the live account that is named"
        )
    own = urlsplit(simulator_url or "").hostname
    if host == LIVE_HOST or (host != PAPER_HOST and host not in _LOOPBACK and host != own):
        return f"paper mode needs the host {PAPER_HOST} or a simulator, was {host}"
    return None if number.startswith(("PA", "SIM")) else "is no paper account"
