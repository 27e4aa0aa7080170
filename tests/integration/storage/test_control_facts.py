"""What the runtime writes for the guard: trading state with freeze and incident, control records, stops."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from stored_trading import HALT, LOSS, close_incident, latch_exactly, open_incidents

from torghut_runtime.storage.controls import newest_controls, record_control
from torghut_runtime.storage.freezes import (
    freeze_cause,
    lift_freezes,
    open_freeze,
    open_freezes,
    trading_halted,
)
from torghut_runtime.storage.guard_tables import control_records, trading_state
from torghut_runtime.storage.incidents import open_incident
from torghut_runtime.storage.ledger import history, verify
from torghut_runtime.storage.trading_state import read_trading_state, save_stops


def test_a_fresh_install_has_no_state_and_no_freeze(connection: sa.Connection) -> None:
    assert read_trading_state(connection, "paper") is None
    assert freeze_cause(connection) is None
    assert newest_controls(connection) == {}


def test_entering_halted_opens_one_freeze_and_one_incident_with_the_record(connection: sa.Connection) -> None:
    assert latch_exactly(connection, {HALT})
    assert [(freeze.cause, freeze.reason, freeze.opened_by) for freeze in open_freezes(connection)] == [
        ("trading_halted", HALT, "runtime")
    ]
    assert [reason for _, reason in open_incidents(connection)] == [HALT]
    assert latch_exactly(connection, (HALT, LOSS))
    assert (len(open_freezes(connection)), len(open_incidents(connection))) == (1, 1)
    rows = list(history(connection, "paper"))
    assert [(row.kind, row.body["to"], "freeze_id" in row.body) for row in rows] == [
        ("trading_state", "HALTED", True),
        ("trading_state", "HALTED", False),
    ]
    assert verify(connection).reason is None


def test_a_halt_is_stored_with_its_freeze_or_not_at_all(engine: sa.Engine) -> None:
    with engine.connect() as connection, connection.begin() as begun:
        latch_exactly(connection, {HALT})
        begun.rollback()
    with engine.connect() as connection:
        assert read_trading_state(connection, "paper") is None
        assert open_freezes(connection) == []
        assert open_incidents(connection) == []


def test_the_same_state_again_is_no_change(connection: sa.Connection) -> None:
    assert latch_exactly(connection, {LOSS})
    before = read_trading_state(connection, "paper")
    assert not latch_exactly(connection, {LOSS})
    assert read_trading_state(connection, "paper") == before
    assert len(list(history(connection, "paper"))) == 1


def test_since_stays_while_only_reasons_change(connection: sa.Connection) -> None:
    latch_exactly(connection, {LOSS})
    first = read_trading_state(connection, "paper")
    latch_exactly(connection, (LOSS, "operator_reduce"), token=2)
    second = read_trading_state(connection, "paper")
    latch_exactly(connection, (), token=3)
    third = read_trading_state(connection, "paper")
    assert first is not None
    assert second is not None
    assert third is not None
    assert (second.since, len(second.reasons), second.fencing_token) == (first.since, 2, 2)
    assert (third.state, third.since > second.since) == ("ACTIVE", True)


def test_leaving_halted_closes_its_own_incident_and_lifts_no_freeze(connection: sa.Connection) -> None:
    somebody_elses = open_incident(connection, reason="odd fills", actor="ada")
    latch_exactly(connection, {HALT})
    assert trading_halted(connection)
    latch_exactly(connection, {LOSS})
    assert len(open_incidents(connection)) == 2
    latch_exactly(connection, ())
    assert not trading_halted(connection)
    assert open_incidents(connection) == [(somebody_elses, "odd fills")]
    assert freeze_cause(connection) == "incident_open"
    close_incident(connection, somebody_elses)
    assert freeze_cause(connection) == "trading_halted"
    assert len(lift_freezes(connection, actor="ada", reason="go on")) == 1
    assert freeze_cause(connection) is None
    assert lift_freezes(connection, actor="ada", reason="go on") == []


def test_causes_have_their_order(connection: sa.Connection) -> None:
    open_freeze(connection, cause="operator", reason="stop", actor="ada")
    assert freeze_cause(connection) == "operator"
    open_incident(connection, reason="odd fills", actor="ada")
    assert freeze_cause(connection) == "incident_open"
    now = sa.func.now()
    unknown = {"account_label": "live", "state": "SLEEPING", "actor": "x", "since": now, "updated_at": now}
    connection.execute(sa.insert(trading_state).values(**unknown))
    assert freeze_cause(connection) == "trading_state_unreadable"
    latch_exactly(connection, {HALT})
    assert freeze_cause(connection) == "trading_halted"


def test_stops_are_kept_beside_the_state(connection: sa.Connection) -> None:
    save_stops(connection, "paper", {"kill_switch": True}, actor="runtime")
    fresh = read_trading_state(connection, "paper")
    assert fresh is not None
    assert (fresh.state, fresh.stops) == ("ACTIVE", {"kill_switch": True})
    latch_exactly(connection, {LOSS})
    save_stops(connection, "paper", {"kill_switch": False}, actor="runtime")
    later = read_trading_state(connection, "paper")
    assert later is not None
    assert (later.state, later.stops) == ("REDUCING", {"kill_switch": False})
    assert [reason["code"] for reason in later.reasons] == [LOSS]


def test_the_newest_record_of_each_kind_counts_with_its_age(connection: sa.Connection) -> None:
    now = datetime.now(UTC)
    record_control(connection, "risk", "pass", {"drawdown": "0.02"})
    record_control(connection, "risk", "fail", {}, at=now - timedelta(seconds=600))
    record_control(connection, "execution", "fail", {}, at=now - timedelta(seconds=300))
    found = newest_controls(connection)
    assert set(found) == {"risk", "execution"}
    assert (found["risk"].verdict, found["execution"].verdict) == ("pass", "fail")
    assert timedelta(seconds=299) < found["execution"].age < timedelta(seconds=360)


@pytest.mark.parametrize("statement", ["UPDATE control_records SET verdict = 'pass'", "DELETE FROM control_records"])
def test_control_records_are_never_changed(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        record_control(connection, "risk", "fail", {})
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.execute(sa.text(statement))
    with engine.connect() as connection:
        assert connection.execute(sa.select(control_records.c.verdict)).scalar_one() == "fail"
