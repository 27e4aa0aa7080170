"""``/sim``: fault controls, steps and the state of the simulation. These are ours, not Alpaca's."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from fastapi import APIRouter, Request, Response

from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.instants import rfc3339
from torghut_runtime.broker.simulator.refusals import Refusal, unprocessable
from torghut_runtime.broker.simulator.server.answers import answer, read_json
from torghut_runtime.broker.simulator.server.pacing import Pacing
from torghut_runtime.errors import InputError

_MOST_EVENTS: Final = 1_000_000_000


def control_routes(
    broker: SimulatedBroker,
    pacing: Pacing,
    sent: Callable[[], Awaitable[None]],
    listening: Callable[[], dict[str, int]],
) -> APIRouter:
    """Routes that steer the simulation.

    Args:
        broker: to steer.
        pacing: of its time.
        sent: waits until every frame is on its way.
        listening: how many clients each stream has.
    """
    router = APIRouter(prefix="/sim")

    @router.get("/control")
    async def show() -> Response:
        return answer(broker.controls.document())

    @router.post("/control")
    async def merge(request: Request) -> Response:
        body = await request.body()
        try:
            broker.control(await read_json(request, exact=False) if body else {})
        except InputError as error:
            raise unprocessable(str(error)) from None
        await sent()
        return answer(broker.controls.document())

    @router.delete("/control")
    async def clear() -> Response:
        broker.clear_controls()
        await sent()
        return answer(broker.controls.document())

    @router.post("/step")
    async def step(request: Request) -> Response:
        if not pacing.lockstep:
            raise Refusal(409, None, "time passes by itself: start with --lockstep to step")
        done = await pacing.step(_events(await read_json(request)))
        return answer({"now": rfc3339(done.now), "delivered": done.delivered, "done": done.done})

    @router.get("/status")
    async def status() -> Response:
        upcoming = broker.next_event_at
        return answer(
            {
                "now": rfc3339(broker.now),
                "pace": pacing.mode,
                "done": broker.done,
                "next_event_at": None if upcoming is None else rfc3339(upcoming),
                "timeframe": broker.market.timeframe,
                "symbols": sorted(broker.market.symbols),
                "listening": listening(),
            }
        )

    return router


def _events(body: object) -> int:
    fields: dict[str, Any] = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    events = fields.get("events", 1)
    if set(fields) - {"events"} or isinstance(events, bool) or not isinstance(events, int):
        raise unprocessable("events must be a whole number, and the only key")
    if not 1 <= events <= _MOST_EVENTS:
        raise unprocessable(f"events must be between 1 and {_MOST_EVENTS}")
    return events
