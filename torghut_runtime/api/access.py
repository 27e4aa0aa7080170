"""Who may call: bearer tokens against the configured operators; failures are counted, and recorded sparingly."""

import threading
import time
from collections import OrderedDict
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from torghut_runtime.api.faults import HttpFaultError
from torghut_runtime.api.operator_log import OperatorLog, record_of
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.operator_tokens import OperatorToken, bearer_of, operator_of
from torghut_runtime.settings import Settings

QUIET_S: Final = 60.0
_ADDRESSES: Final = 1_000
_UNAUTHENTICATED: Final = "unauthenticated"

bearer = HTTPBearer(auto_error=False, description="A token whose sha256 stands in TORGHUT_OPERATOR_TOKENS.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


class Access:
    """Knows operators by their tokens."""

    def __init__(self, settings: Settings, log: OperatorLog, metrics: TradingMetrics) -> None:
        self._operators = settings.operator_tokens
        self._read_auth = settings.http_read_auth
        self._account = settings.account_label
        self._log = log
        self._metrics = metrics
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    @property
    def reading(self) -> list[Any]:
        """What a route that is read depends on: a valid token where the settings ask for one, else nothing."""
        return [Depends(self._read)] if self._read_auth else []

    async def _read(self, request: Request, _: Credentials) -> None:
        self.caller(request)

    def caller(self, request: Request) -> OperatorToken:
        """Who calls.

        Raises:
            HttpFaultError: 403 where nobody is configured, 401 without a valid token.
        """
        token = bearer_of(request.headers.get("authorization"))
        found = None if token is None else operator_of(self._operators, token)
        if found is not None:
            return found
        self._failed(request.client.host if request.client else "unknown")
        if not self._operators:
            raise HttpFaultError(403, "operator_tokens_missing")
        raise HttpFaultError(401, "unauthorized", headers={"WWW-Authenticate": "Bearer"})

    def _failed(self, address: str) -> None:
        self._metrics.auth_failed()
        now = time.monotonic()
        with self._lock:
            recorded, silent = self._seen.pop(address, (-QUIET_S, 0))
            is_due = now - recorded >= QUIET_S
            self._seen[address] = (now, 0) if is_due else (recorded, silent + 1)
            while len(self._seen) > _ADDRESSES:
                self._seen.popitem(last=False)
        if is_due:
            body = {"action": "authenticate", "outcome": "refused", "address": address, "unrecorded_before": silent}
            self._log.queue(record_of(self._account, _UNAUTHENTICATED, body))
