"""Nothing leaves through a closed gate; cancels always do, and a fifth of the budget is theirs."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torghut_runtime.broker.protocol import RateLimitedError
from torghut_runtime.clock import NANOSECONDS, SimulatedClock
from torghut_runtime.orders.firewall import BlockedError, Firewall
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.risk.limits import Gate


class Wire:
    """What reached the broker."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.answer: Exception | None = None

    def submit(self, payload: Mapping[str, str]) -> dict[str, Any]:
        self.sent.append("submit")
        if self.answer is not None:
            raise self.answer
        return dict(payload)

    def replace(self, order_id: str, changes: Mapping[str, str]) -> dict[str, Any]:
        self.sent.append("replace")
        return {"id": order_id, **changes}

    def cancel(self, order_id: str) -> None:
        self.sent.append(f"cancel {order_id}")

    def cancel_all(self) -> list[dict[str, Any]]:
        self.sent.append("cancel all")
        return []


class World:
    def __init__(self, per_minute: int = 100) -> None:
        self.wire, self.clock, self.gate = Wire(), SimulatedClock(NANOSECONDS), Gate()
        budget = RequestBudget(per_minute, self.clock.now_ns())
        self.firewall = Firewall(self.wire, lambda: self.gate, budget, self.clock)

    def wait(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.now_ns() + int(seconds * NANOSECONDS))


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (Gate(kill_switch=True), "kill_switch_enabled"),
        (Gate(state="HALTED"), "state_halted"),
        (Gate(lease_held=False), "lease_not_held"),
        (Gate(account_matches=False), "account_mismatch"),
        (Gate(reconciled=False), "not_reconciled"),
        (Gate(trading_enabled=False), "trading_disabled"),
    ],
)
def test_a_closed_gate_lets_cancels_pass_and_nothing_else(gate: Gate, reason: str) -> None:
    world = World()
    world.gate = gate
    for send in (
        lambda: world.firewall.submit({}, is_exit=False),
        lambda: world.firewall.submit({}, is_exit=True),
        lambda: world.firewall.replace("o", {}),
    ):
        with pytest.raises(BlockedError) as caught:
            send()
        assert caught.value.reasons == (reason,)
    world.firewall.cancel("o")
    world.firewall.cancel_all()
    assert world.wire.sent == ["cancel o", "cancel all"]


def test_the_gate_is_asked_at_every_single_submit() -> None:
    world = World()
    world.firewall.submit({}, is_exit=False)
    world.gate = Gate(kill_switch=True)
    with pytest.raises(BlockedError):
        world.firewall.submit({}, is_exit=False)
    assert world.wire.sent == ["submit"]


def test_in_reducing_exits_go_and_entries_do_not() -> None:
    world = World()
    world.gate = Gate(state="REDUCING")
    world.firewall.submit({}, is_exit=True)
    with pytest.raises(BlockedError, match="state_reducing"):
        world.firewall.submit({}, is_exit=False)
    with pytest.raises(BlockedError, match="state_reducing"):
        world.firewall.replace("o", {})


def test_a_fifth_of_the_budget_is_for_cancels() -> None:
    world = World(per_minute=10)
    for _ in range(8):
        world.firewall.submit({}, is_exit=True)
    with pytest.raises(RateLimitedError) as caught:
        world.firewall.submit({}, is_exit=True)
    assert caught.value.retry_after == pytest.approx(6.0)
    world.firewall.cancel("a")
    world.firewall.cancel("b")
    world.firewall.cancel("c")
    assert world.wire.sent[8:] == ["cancel a", "cancel b", "cancel c"]


def test_entries_leave_a_fifth_of_the_budget_to_exits() -> None:
    world = World(per_minute=10)
    for _ in range(6):
        world.firewall.submit({}, is_exit=False)
    with pytest.raises(RateLimitedError):
        world.firewall.submit({}, is_exit=False)
    world.firewall.submit({}, is_exit=True)
    world.firewall.submit({}, is_exit=True)
    with pytest.raises(RateLimitedError):
        world.firewall.submit({}, is_exit=True)


def test_a_budget_refills_with_time() -> None:
    world = World(per_minute=60)
    for _ in range(36):
        world.firewall.submit({}, is_exit=False)
    world.wait(0.999)
    with pytest.raises(RateLimitedError):
        world.firewall.submit({}, is_exit=False)
    world.wait(0.001)
    world.firewall.submit({}, is_exit=False)


def test_when_the_broker_asks_to_wait_submits_wait_and_cancels_go() -> None:
    world = World()
    world.wire.answer = RateLimitedError(7.0)
    with pytest.raises(RateLimitedError):
        world.firewall.submit({}, is_exit=False)
    world.wire.answer = None
    world.wait(6.999)
    with pytest.raises(RateLimitedError):
        world.firewall.submit({}, is_exit=False)
    world.firewall.cancel("o")
    world.wait(0.001)
    world.firewall.submit({}, is_exit=False)
    assert world.wire.sent == ["submit", "cancel o", "submit"]


@given(st.integers(1, 100), st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60))
def test_no_minute_sees_more_submits_than_bucket_and_refill_allow(
    per_minute: int, requests: list[tuple[float, bool]]
) -> None:
    now, sent = 0, 0
    budget = RequestBudget(per_minute, now)
    for seconds, urgent in requests:
        now += int(seconds * NANOSECONDS)
        sent += budget.take(now, urgent=urgent) == 0.0
        assert sent <= per_minute + now / NANOSECONDS * per_minute / 60 + 1e-6
