"""The operator's API: POSTs with a bearer token, a reason and a body that is judged after its sender.

Who calls is settled before the body is read, so that a refused call is on record with its actor. The body is read here
and not by the framework for that reason, and for its size.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from torghut_runtime.api.access import Access, Credentials
from torghut_runtime.api.documents.engine import OperatorAnswer
from torghut_runtime.api.faults import responses, told_faults
from torghut_runtime.api.operator_calls import Call, OperatorCalls, Reply
from torghut_runtime.engine.surface import Operation, Operations
from torghut_runtime.operator_tokens import OperatorToken

BODY_LIMIT: Final = 16 * 1024
_THREADS: Final = 16
_PLAIN: Final = r"^[^\x00-\x20\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
_STRATEGY_ID: Final = 200

Symbol = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9._/-]{0,31}$")]
Code = Annotated[str, Field(min_length=1, max_length=300, pattern=_PLAIN)]


class Ask(BaseModel):
    """What every call says."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    stops: ClassVar[bool] = False

    reason: str = Field(min_length=1, max_length=500, pattern=_PLAIN, description="Why; one line, kept in the ledger.")
    request_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$",
        description="A call repeated with the same id within 24 hours acts once and gets the first answer.",
    )


class AccountAsk(Ask):
    """What is asked of the whole account."""

    @abstractmethod
    def act(self, operations: Operations, actor: str) -> Operation:
        """Ask it of the engine."""


class Halt(AccountAsk):
    """HALTED; every open order is cancelled."""

    stops: ClassVar[bool] = True

    def act(self, operations: Operations, actor: str) -> Operation:
        """Halt."""
        return operations.halt(actor, self.reason)


class Reduce(AccountAsk):
    """REDUCING; open entries are cancelled, exits stay."""

    stops: ClassVar[bool] = True

    def act(self, operations: Operations, actor: str) -> Operation:
        """Reduce."""
        return operations.reduce(actor, self.reason)


class CancelAll(AccountAsk):
    """Cancel every open order; the state stays."""

    stops: ClassVar[bool] = True

    def act(self, operations: Operations, actor: str) -> Operation:
        """Cancel."""
        return operations.cancel_all(actor, self.reason)


class Resume(AccountAsk):
    """ACTIVE, by somebody who names every latched reason."""

    ack: list[Code] = Field(default_factory=list[str], max_length=100, description="Every latched reason, in full.")

    def act(self, operations: Operations, actor: str) -> Operation:
        """Resume."""
        return operations.resume(actor, self.reason, self.ack)


class Flatten(AccountAsk):
    """Cancel, then close positions; only reduces exposure."""

    confirm: Literal[True]
    symbols: list[Symbol] | None = Field(default=None, min_length=1, max_length=500, description="All without it.")
    override_kill_switch: bool = False

    def act(self, operations: Operations, actor: str) -> Operation:
        """Flatten."""
        return operations.flatten(
            actor, self.reason, self.symbols, override_kill_switch=self.override_kill_switch
        )  # fmt: skip


class Disable(Ask):
    """Block a strategy."""

    mode: Literal["reduce", "freeze"] = Field(
        default="reduce", description="reduce: exits only; freeze: no orders at all, open ones are cancelled."
    )


class Enable(Ask):
    """Lift the operator's block."""


def operator_routes(access: Access, calls: OperatorCalls, account_label: str) -> APIRouter:
    """The seven calls."""
    router = APIRouter(tags=["operator"])
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="operator")

    async def answer(request: Request, action: str, subject: str, model: type[Ask], run: _Run) -> JSONResponse:
        caller = access.caller(request)
        given = await _body(request)
        reply = await _in_thread(threads, lambda: _judged(calls, caller, given, action, subject, model, run))
        return JSONResponse(dict(reply.body), reply.status)

    def simple(path: str, action: str, model: type[AccountAsk]) -> None:
        async def call(request: Request, _: Credentials) -> JSONResponse:
            return await answer(request, action, account_label, model, _asked)

        _add(router, path, action.replace("-", "_"), model, call)

    simple("/trading/halt", "halt", Halt)
    simple("/trading/reduce", "reduce", Reduce)
    simple("/trading/resume", "resume", Resume)
    simple("/trading/cancel-all", "cancel-all", CancelAll)
    simple("/trading/flatten", "flatten", Flatten)

    async def disable(request: Request, strategy_id: str, _: Credentials) -> JSONResponse:
        def run(operations: Operations, /, actor: str, ask: Ask) -> Operation:
            assert isinstance(ask, Disable)
            return operations.disable_strategy(actor, ask.reason, strategy_id, ask.mode)

        return await answer(request, "disable", _named(strategy_id), Disable, run)

    async def enable(request: Request, strategy_id: str, _: Credentials) -> JSONResponse:
        def run(operations: Operations, /, actor: str, ask: Ask) -> Operation:
            return operations.enable_strategy(actor, ask.reason, strategy_id)

        return await answer(request, "enable", _named(strategy_id), Enable, run)

    _add(router, "/strategies/{strategy_id}/disable", "disable_strategy", Disable, disable, 404)
    _add(router, "/strategies/{strategy_id}/enable", "enable_strategy", Enable, enable, 404)
    return router


class _Run(Protocol):
    def __call__(self, operations: Operations, /, actor: str, ask: Any) -> Operation: ...


def _asked(operations: Operations, /, actor: str, ask: AccountAsk) -> Operation:
    return ask.act(operations, actor)


def _named(strategy_id: str) -> str:
    """A strategy's id as the ledger takes it."""
    return "".join(each if each.isprintable() else "?" for each in strategy_id)[:_STRATEGY_ID]


async def _in_thread(threads: ThreadPoolExecutor, work: Callable[[], Reply]) -> Reply:
    # a client that goes away does not undo what it asked
    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(threads, work))


async def _body(request: Request) -> bytes | None:
    """What was sent; ``None`` when it is too much."""
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > BODY_LIMIT:
        return None
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_LIMIT:
            return None
    return data


def _judged(
    calls: OperatorCalls,
    caller: OperatorToken,
    given: bytes | None,
    action: str,
    subject: str,
    model: type[Ask],
    run: _Run,
) -> Reply:
    call = Call(
        action=action, subject=subject, actor=caller.actor, reason="", run=_never, stops=model.stops
    )  # fmt: skip
    if given is None:
        return calls.refuse(call, 413, "body_too_large", "invalid")
    try:
        ask = model.model_validate_json(given) if given else model.model_validate({})
    except ValidationError as error:
        found = told_faults(error.errors(include_url=False, include_input=False, include_context=False))
        call = replace(call, body={"size": len(given)})
        if caller.role != "operator":
            return calls.refuse(call, 403, "operator_role_required", "forbidden")
        return calls.refuse(call, 422, "invalid_body", "invalid", found)
    call = replace(
        call,
        reason=ask.reason,
        request_id=ask.request_id,
        body=ask.model_dump(mode="json", exclude={"reason", "request_id"}),
        run=partial(run, actor=caller.actor, ask=ask),
    )
    if caller.role != "operator":
        return calls.refuse(call, 403, "operator_role_required", "forbidden")
    return calls.answer(call)


def _never(operations: Operations) -> Operation:
    raise AssertionError(f"a refused call does not act on {operations}")


def _add(router: APIRouter, path: str, name: str, model: type[Ask], call: Any, *more: int) -> None:
    schema = model.model_json_schema()
    router.add_api_route(
        path,
        call,
        methods=["POST"],
        name=name,
        operation_id=name,
        summary=(model.__doc__ or "").strip(),
        response_model=OperatorAnswer,
        responses={
            202: {"model": OperatorAnswer, "description": "In effect; the database takes it later."},
            **responses(401, 403, 409, 413, 422, 500, 503, *more),
        },
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    )
