"""The emergency stop: what triggers it, what it clears by itself, and what it does while it is switched off."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from engine_world import minute_tape, replay, settings_of, timed

from torghut_runtime.broker.protocol import RejectedError
from torghut_runtime.clock import NANOSECONDS, SimulatedClock
from torghut_runtime.engine.stance import Cause, Stance
from torghut_runtime.engine.stops import EmergencyStop, Vitals, triggered
from torghut_runtime.errors import InputFaults
from torghut_runtime.risk.baselines import Baselines, transfers_of
from torghut_runtime.risk.limits import Gate, Limits
from torghut_runtime.risk.trading_state import TradingState
from torghut_runtime.storage.strategy_blocks import StrategyBlock

HEALTHY = Vitals(Decimal(100_000), Decimal(100_000), Decimal(100_000))
LAG, STREAK = "signal_lag_exceeded:7", "signal_staleness_streak_exceeded:no_signals_in_window:3"


class World:
    """An emergency stop whose vitals a test sets."""

    def __init__(self, **environment: str) -> None:
        settings = settings_of(**environment)
        self.vitals, self.armed = HEALTHY, settings.stops.emergency_stop
        self.stance = Stance(Gate())
        self.details: list[Any] = []
        self.stance.observers.append(self._note)
        self.stop = EmergencyStop(
            limits=Limits.of(settings),
            stops=settings.stops,
            stance=self.stance,
            clock=SimulatedClock(NANOSECONDS),
            vitals=lambda: self.vitals,
        )
        self.stop.armed = lambda: self.armed

    def _note(self, before: TradingState, after: TradingState, cause: Cause) -> None:
        del before, after
        self.details.append(cause.detail)

    def see(self, **vitals: Any) -> tuple[str, ...]:
        self.vitals = replace(HEALTHY, **vitals)
        self.stop.evaluate()
        return self.stance.trading_state.codes

    @property
    def state(self) -> str:
        return self.stance.trading_state.state


def test_a_lag_reduces_and_clears_after_the_set_number_of_healthy_evaluations() -> None:
    world = World()
    assert world.see(continuity=(LAG,)) == (LAG,)
    assert world.state == "REDUCING"
    world.see()
    world.see()
    assert world.state == "REDUCING"
    world.see()
    assert world.state == "ACTIVE"


def test_reasons_accumulate_and_all_clear_together() -> None:
    world = World(EMERGENCY_STOP_RECOVERY_CYCLES="1")
    world.see(continuity=(LAG,))
    assert world.see(continuity=(STREAK,)) == (LAG, STREAK)
    world.see()
    assert world.state == "ACTIVE"


def test_an_incident_is_told_inputs_and_limits() -> None:
    world = World(ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT="5")
    world.see(continuity=(LAG,))
    (detail,) = world.details
    assert detail["inputs"]["continuity"] == [LAG]
    assert detail["limits"]["signal_lag_seconds"] == 5
    assert detail["inputs"]["equity"] == "100000"


@pytest.mark.parametrize(("failures", "codes"), [(1, ()), (4, ()), (5, ("broker_failure_streak_exceeded:5",))])
def test_one_rejected_order_stops_nothing_and_five_in_a_row_do(failures: int, codes: tuple[str, ...]) -> None:
    world = World()
    assert world.see(broker_failures=failures) == codes
    for _ in range(5):
        world.see()
    assert world.stance.trading_state.codes == codes


def test_an_order_that_is_unknown_clears_as_soon_as_it_is_resolved() -> None:
    world = World()
    assert world.see(unresolved_orders=("t1-a",)) == ("order_unknown_unresolved:t1-a",)
    assert world.see() == ()


def test_switched_off_it_starts_nothing_and_clears_nothing() -> None:
    world = World(EMERGENCY_STOP_RECOVERY_CYCLES="1")
    world.see(continuity=(LAG,))
    world.armed = False
    for _ in range(3):
        world.see(continuity=("signal_lag_exceeded:9", STREAK), broker_failures=99)
    assert world.stance.trading_state.codes == (LAG,)
    assert world.see() == ()
    assert world.see(continuity=(LAG,)) == ()


def test_hard_limits_count_with_the_emergency_stop_off() -> None:
    world = World(EMERGENCY_STOP_ENABLED="false")
    assert world.see(equity=Decimal(88_000)) == ("daily_loss_limit_reached", "max_drawdown_exceeded:0.120000")
    for _ in range(9):
        world.see()
    assert world.state == "REDUCING"


@pytest.mark.parametrize(
    ("equity", "codes"),
    [("99600", ()), ("92000.01", ()), ("92000", ("max_drawdown_exceeded:0.080000",)),
     ("88000", ("max_drawdown_exceeded:0.120000",))],
)  # fmt: skip
def test_drawdown_is_a_fraction_of_the_high_water_mark(equity: str, codes: tuple[str, ...]) -> None:
    settings = settings_of(MAX_DAILY_LOSS_PCT_EQUITY="1")
    vitals = replace(HEALTHY, equity=Decimal(equity))
    assert triggered(vitals, Limits.of(settings), settings.stops, armed=True) == list(codes)


@pytest.mark.parametrize(("equity", "reached"), [("97000.01", False), ("97000", True)])
def test_the_loss_of_the_day_counts_against_the_sessions_opening(equity: str, reached: bool) -> None:
    world = World()
    assert ("daily_loss_limit_reached" in world.see(equity=Decimal(equity))) == reached


def test_a_drawdown_limit_that_is_no_fraction_is_a_start_up_error() -> None:
    with pytest.raises(InputFaults, match="TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT"):
        settings_of(ROLLBACK_MAX_DRAWDOWN_LIMIT="8")


def test_a_database_that_is_away_halts_until_it_is_resolved_however_healthy_the_rest() -> None:
    world = World(EMERGENCY_STOP_RECOVERY_CYCLES="1")
    world.stance.latch("database_unavailable", world.stop._clock.now())
    for _ in range(3):
        world.see()
    assert world.state == "HALTED"
    world.stance.resolve("database_unavailable")
    assert world.state == "ACTIVE"


def test_a_loss_between_two_evaluations_latches_at_once_and_heals_nothing() -> None:
    world = World(EMERGENCY_STOP_RECOVERY_CYCLES="1")
    world.see(continuity=(LAG,))
    world.vitals = HEALTHY
    world.stop.check_losses()
    assert world.stance.trading_state.codes == (LAG,)
    world.vitals = replace(HEALTHY, equity=Decimal(1))
    world.stop.check_losses()
    assert world.stance.trading_state.codes[1:] == ("daily_loss_limit_reached", "max_drawdown_exceeded:0.999990")


def test_stale_flags_reduce_and_clear_by_themselves() -> None:
    world = World(EMERGENCY_STOP_RECOVERY_CYCLES="1", EMERGENCY_STOP_ENABLED="false")
    assert world.see(flags_stale=True) == ("flags_stale",)
    assert world.see() == ()


# In the pipeline ------------------------------------------------------------------------------------------------------


def test_a_lag_in_session_cancels_the_open_entries_once() -> None:
    tape = minute_tape({"AAPL": [100, 105, 105, 105]})
    world = replay(tape, timed(), EXECUTION_ORDER_TTL_SECONDS="3600", ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT="5")
    cancels: list[str] = []
    client: Any = world.trader.manager._firewall._writer
    cancel = client.cancel
    client.cancel = lambda order_id: (cancels.append(order_id), cancel(order_id))
    lagging = iter([(), (LAG,), (LAG,), (LAG,)])
    world.trader.continuity = lambda: next(lagging, (LAG,))
    done = world.run()
    assert (done.state, done.reasons) == ("REDUCING", (LAG,))
    assert len(cancels) == 1
    assert [order["state"] for order in done.orders] == ["canceled"]


def test_five_failures_in_a_row_reduce_and_exits_are_still_tried() -> None:
    tape = minute_tape({"AAPL": [100] * 12})
    world = replay(tape, timed(exit_at=9), timed("refused", enter_at=2, until=12, pyramid=True))
    client: Any = world.trader.manager._firewall._writer
    submit = client.submit
    refused: list[str] = []

    def one_side_only(payload: Any) -> Any:
        if payload["side"] == "buy" and list(world.trader.portfolio.positions()):
            refused.append(payload["client_order_id"])
            raise RejectedError(422, 1, "no")
        return submit(payload)

    client.submit = one_side_only
    done = world.run()
    assert len(refused) == 5
    assert done.reasons == ("broker_failure_streak_exceeded:5",)
    assert [order["state"] for order in done.orders if order["is_exit"]] == ["filled"]


def test_a_blocked_strategy_enters_nothing_and_a_frozen_one_does_not_exit() -> None:
    tape = minute_tape({"AAPL": [100] * 6})
    world = replay(tape, timed("reduced", exit_at=4), timed("frozen", exit_at=4), timed("free", enter_at=3))
    run = world.trader.on_bars
    seen = 0

    def then_block(bars: Any) -> None:
        nonlocal seen
        run(bars)
        seen += 1
        if seen == 2:
            for name, mode in (("reduced", "reduce"), ("frozen", "freeze"), ("free", "reduce")):
                world.trader.blocks.block(StrategyBlock(name, mode, "odd", "ada"))  # pyright: ignore[reportArgumentType]

    world.trader.on_bars = then_block
    done = world.run()
    reasons = {(each["strategy_id"], tuple(each["reasons"])) for each in done.decisions}
    assert ("frozen", ("strategy_disabled",)) in reasons
    assert ("free", ("strategy_disabled",)) in reasons
    assert [order["strategy_id"] for order in done.orders if order["is_exit"]] == ["reduced"]


# Baselines ------------------------------------------------------------------------------------------------------------

DAY = date(2026, 1, 5)


def test_a_deposit_and_a_withdrawal_shift_both_baselines_once() -> None:
    baselines = Baselines(DAY, Decimal(100), Decimal(120))
    more = baselines.transferred(Decimal(50))
    assert (more.opening_equity, more.high_water_mark) == (150, 170)
    assert more.transferred(Decimal(50)) == more
    assert more.transferred(Decimal(20)) == Baselines(DAY, Decimal(120), Decimal(140), Decimal(20))


def test_a_session_begins_once_and_an_earlier_one_changes_nothing() -> None:
    baselines = Baselines(DAY, Decimal(100), Decimal(120))
    assert baselines.begun(DAY, Decimal(90)) == baselines
    assert baselines.begun(date(2026, 1, 2), Decimal(90)) == baselines
    assert baselines.begun(date(2026, 1, 6), Decimal(90)).opening_equity == 90


def test_only_transfers_that_were_carried_out_count() -> None:
    activities = [
        {"activity_type": "CSD", "net_amount": "100", "status": "executed"},
        {"activity_type": "CSW", "net_amount": "-30.5"},
        {"activity_type": "CSD", "net_amount": "7", "status": "canceled"},
        {"activity_type": "DIV", "net_amount": "9"},
    ]
    assert transfers_of(activities) == Decimal("69.5")
