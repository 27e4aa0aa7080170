"""Calls of operators: each acts once per request id, and each leaves a record.

What an action does is the engine's business (:class:`~torghut_runtime.engine.surface.Operations`), who may call it is
:mod:`torghut_runtime.api.access`'s. Halt, reduce and cancel-all wait for no database: they act, and are written later.
"""

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any, Final

from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.api.faults import DATABASE_UNAVAILABLE, fault_body
from torghut_runtime.api.operator_log import KEPT, Claim, OperatorLog, record_of
from torghut_runtime.canonical import canonical_value, utc_text
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.surface import (
    EngineView,
    Operation,
    OperationRefusedError,
    Operations,
    UnknownStrategyError,
)
from torghut_runtime.errors import StoreUnavailableError

logger = logging.getLogger(__name__)

_OTHERS_S: Final = 30.0
_POLL_S: Final = 0.1
_KNOWN: Final = 10_000


@dataclass(frozen=True)
class Call:
    """What an authenticated operator asks."""

    action: str
    subject: str
    actor: str
    reason: str
    run: Callable[[Operations], Operation]
    stops: bool
    """Whether it only makes trading safer, and so needs nothing but the engine."""
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    request_id: str | None = None

    @property
    def key(self) -> str:
        """What a request id stands for."""
        return f"{self.action}:{self.subject}"


@dataclass(frozen=True)
class Reply:
    """Status and body of an answer; ``keep`` whether a repetition gets it, too."""

    status: int
    body: Mapping[str, Any]
    keep: bool = True


@dataclass(frozen=True)
class _Known:
    key: str
    actor: str
    at: float
    reply: "Future[Reply]"


class OperatorCalls:
    """Answers calls; :meth:`answer` blocks and belongs into a thread."""

    def __init__(
        self,
        log: OperatorLog,
        view: Callable[[], EngineView],
        operations: Callable[[], Operations | None],
        metrics: TradingMetrics,
        deadlines: Deadlines,
    ) -> None:
        self._log = log
        self._view = view
        self._operations = operations
        self._metrics = metrics
        self._deadlines = deadlines
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def answer(self, call: Call) -> Reply:
        """Act, or say again what was answered to the same request id."""
        if call.request_id is None:
            # what is not safer needs the database before it acts, and claiming a name asks for it
            return self._act(call) if call.stops else self._once(call, f"unnamed-{uuid.uuid4()}")
        ours = _Known(call.key, call.actor, time.monotonic(), Future())
        with self._lock:
            self._drop_old()
            known = self._known.setdefault(call.request_id, ours)
        if known is not ours:
            return self._known_answer(call, known)
        try:
            reply = self._once(call, call.request_id)
        except BaseException as error:
            ours.reply.set_exception(error)
            self._forget(call.request_id)
            raise
        ours.reply.set_result(reply)
        if not reply.keep:
            self._forget(call.request_id)
        return reply

    def refuse(self, call: Call, status: int, code: str, outcome: str, detail: Any = None) -> Reply:
        """Record a call that is not carried out."""
        state = self._state()
        self._record(call, outcome, {"status": status, "error": code, "state_before": state, "state_after": state})
        return Reply(status, fault_body(code, detail), keep=False)

    # Once per request id ----------------------------------------------------------------------------------------------

    def _drop_old(self) -> None:
        limit = time.monotonic() - KEPT.total_seconds()
        while self._known and (len(self._known) >= _KNOWN or next(iter(self._known.values())).at < limit):
            self._known.popitem(last=False)

    def _forget(self, request_id: str) -> None:
        with self._lock:
            self._known.pop(request_id, None)

    def _known_answer(self, call: Call, known: _Known) -> Reply:
        if (known.key, known.actor) != (call.key, call.actor):
            return self.refuse(call, 409, "request_id_reused", "refused")
        try:
            reply = known.reply.result(_OTHERS_S)
        except FutureTimeoutError:
            return self.refuse(call, 409, "request_in_progress", "refused")
        return self._repeated(call, reply)

    def _once(self, call: Call, request_id: str) -> Reply:
        claim = self._claim(call, request_id)
        if claim.state == "answered":
            return self._repeated(call, Reply(claim.status, claim.answer or {}))
        if claim.state == "reused":
            return self.refuse(call, 409, "request_id_reused", "refused")
        if claim.state == "begun":
            return self.refuse(call, 409, "request_in_progress", "refused")
        if claim.state == "unavailable" and not call.stops:
            return self.refuse(call, 503, DATABASE_UNAVAILABLE, "unavailable")
        reply = self._act(call)
        if reply.keep:
            self._log.remember(request_id, call.actor, call.key, reply.status, reply.body)
        else:
            self._log.forget(request_id)
        return reply

    def _claim(self, call: Call, request_id: str) -> Claim:
        """Ours, or what another process has answered meanwhile."""
        deadline = self._deadlines.stop_claim if call.stops else self._deadlines.claim
        ends = time.monotonic() + (deadline if call.stops else _OTHERS_S)
        while True:
            claim = self._log.claim(request_id, call.actor, call.key, deadline)
            if claim.state != "begun" or time.monotonic() >= ends:
                return claim
            time.sleep(_POLL_S)

    def _repeated(self, call: Call, reply: Reply) -> Reply:
        state = self._state()
        found = {"status": reply.status, "state_before": state, "state_after": state}
        self._record(call, "repeated", found)
        return reply

    # Acting -----------------------------------------------------------------------------------------------------------

    def _act(self, call: Call) -> Reply:
        operations = self._operations()
        if operations is None:
            return self.refuse(call, 503, "engine_unavailable", "unavailable")
        try:
            done = call.run(operations)
        except OperationRefusedError as refused:
            detail = canonical_value(dict(refused.detail)) or None
            return self._kept(self.refuse(call, 409, refused.code, "refused", detail))
        except UnknownStrategyError:
            return self._kept(self.refuse(call, 404, "unknown_strategy", "refused"))
        except StoreUnavailableError:
            return self.refuse(call, 503, DATABASE_UNAVAILABLE, "unavailable")
        except Exception:
            logger.exception("the operator's %s failed", call.action)
            return self.refuse(call, 500, "operation_failed", "failed")
        return self._done(call, done)

    @staticmethod
    def _kept(reply: Reply) -> Reply:
        return Reply(reply.status, reply.body)

    def _done(self, call: Call, done: Operation) -> Reply:
        effects = canonical_value(dict(done.effects))
        states = {"state_before": done.state_before, "state_after": done.state_after}
        record = {"status": 200, **states, "effects": effects, "state_ledger_seq": done.ledger_seq}
        at, seq = self._record(call, "done", record)
        is_durable = done.durable and seq is not None
        body = {
            "ok": True,
            "action": call.action,
            "actor": call.actor,
            **states,
            "effects": effects,
            "ledger_seq": seq,
            "durable": is_durable,
            "at": at,
        }
        return Reply(200 if is_durable else 202, body)

    def _record(self, call: Call, outcome: str, found: Mapping[str, Any]) -> tuple[str, int | None]:
        body = {
            "action": call.action,
            "reason": call.reason,
            "body": call.body,
            "request_id": call.request_id,
            "outcome": outcome,
            **found,
        }
        record = record_of(call.subject, call.actor, canonical_value(body))
        seq = self._log.record(record, self._deadlines.record)
        told = (
            "failed" if outcome == "unavailable" else "stored_later" if outcome == "done" and seq is None else outcome
        )
        self._metrics.operator_called(call.action.replace("-", "_"), told)
        return utc_text(record.at), seq

    def _state(self) -> str:
        return str(self._view().status()["trading_state"]["state"])
