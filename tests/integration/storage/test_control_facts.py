"""What the runtime writes for the guard: trading state with freeze and incident, control records, stops."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from torghut_runtime.storage.controls import newest_controls, record_control
from torghut_runtime.storage.freezes import (
    freeze_cause,
    lift_freezes,
    open_freeze,
    open_freezes,
    trading_halted,
)
from torghut_runtime.storage.guard_tables import control_records, trading_state
from torghut_runtime.storage.incidents import close_incident, open_incident, open_incidents
from torghut_runtime.storage.ledger import history, verify
from torghut_runtime.storage.trading_state import read_trading_state, save_stops, save_trading_state

REASON = {"code": "daily_loss_limit_reached", "clears": "operator", "at": "2026-11-25T18:00:00Z"}


def save(connection: sa.Connection, state: str, *reasons: dict[str, str], token: int = 1) -> bool:
    return save_trading_state(
        connection,
        "paper",
        state,  # pyright: ignore[reportArgumentType]
        reasons=reasons,
        actor="runtime",
        fencing_token=token,
    )


def test_a_fresh_install_has_no_state_and_no_freeze(connection: sa.Connection) -> None:
    assert read_trading_state(connection, "paper") is None
    assert freeze_cause(connection) is None
    assert newest_controls(connection) == {}


def test_entering_halted_opens_one_freeze_and_one_incident_with_the_record(connection: sa.Connection) -> None:
    assert save(connection, "HALTED", REASON)
    assert [(freeze.cause, freeze.reason, freeze.opened_by) for freeze in open_freezes(connection)] == [
        ("trading_halted", "daily_loss_limit_reached", "runtime")
    ]
    assert [incident.reason for incident in open_incidents(connection)] == ["daily_loss_limit_reached"]
    assert save(connection, "HALTED", REASON, {**REASON, "code": "operator_halt"})
    assert (len(open_freezes(connection)), len(open_incidents(connection))) == (1, 1)
    rows = list(history(connection, "paper"))
    assert [(row.kind, row.body["to"], "freeze_id" in row.body) for row in rows] == [
        ("trading_state", "HALTED", True),
        ("trading_state", "HALTED", False),
    ]
    assert verify(connection).reason is None


def test_a_halt_is_stored_with_its_freeze_or_not_at_all(engine: sa.Engine) -> None:
    with engine.connect() as connection, connection.begin() as begun:
        save(connection, "HALTED", REASON)
        begun.rollback()
    with engine.connect() as connection:
        assert read_trading_state(connection, "paper") is None
        assert open_freezes(connection) == []
        assert open_incidents(connection) == []


def test_the_same_state_again_is_no_change(connection: sa.Connection) -> None:
    assert save(connection, "REDUCING", REASON)
    before = read_trading_state(connection, "paper")
    assert not save(connection, "REDUCING", REASON)
    assert read_trading_state(connection, "paper") == before
    assert len(list(history(connection, "paper"))) == 1


def test_since_stays_while_only_reasons_change(connection: sa.Connection) -> None:
    save(connection, "REDUCING", REASON)
    first = read_trading_state(connection, "paper")
    save(connection, "REDUCING", token=2)
    second = read_trading_state(connection, "paper")
    save(connection, "ACTIVE", token=3)
    third = read_trading_state(connection, "paper")
    assert first is not None
    assert second is not None
    assert third is not None
    assert (second.since, second.reasons, second.fencing_token) == (first.since, [], 2)
    assert third.since > second.since


def test_leaving_halted_closes_its_own_incident_and_lifts_no_freeze(connection: sa.Connection) -> None:
    somebody_elses = open_incident(connection, reason="odd fills", actor="ada")
    save(connection, "HALTED", REASON)
    assert trading_halted(connection)
    save(connection, "REDUCING", REASON)
    assert len(open_incidents(connection)) == 2
    save(connection, "ACTIVE")
    assert not trading_halted(connection)
    assert [incident.id for incident in open_incidents(connection)] == [somebody_elses]
    assert freeze_cause(connection) == "incident_open"
    assert close_incident(connection, somebody_elses, actor="ada")
    assert freeze_cause(connection) == "trading_halted"
    assert len(lift_freezes(connection, actor="ada", reason="go on")) == 1
    assert freeze_cause(connection) is None
    assert lift_freezes(connection, actor="ada", reason="go on") == []


def test_causes_have_their_order(connection: sa.Connection) -> None:
    open_freeze(connection, cause="operator", reason="stop", actor="ada")
    assert freeze_cause(connection) == "operator"
    incident = open_incident(connection, reason="odd fills", actor="ada")
    assert freeze_cause(connection) == "incident_open"
    now = sa.func.now()
    unknown = {"account_label": "live", "state": "SLEEPING", "actor": "x", "since": now, "updated_at": now}
    connection.execute(sa.insert(trading_state).values(**unknown))
    assert freeze_cause(connection) == "trading_state_unreadable"
    save(connection, "HALTED")
    assert freeze_cause(connection) == "trading_halted"
    assert close_incident(connection, incident, actor="ada")
    assert not close_incident(connection, incident, actor="ada")


def test_stops_are_kept_beside_the_state(connection: sa.Connection) -> None:
    save_stops(connection, "paper", {"kill_switch": True}, actor="runtime")
    fresh = read_trading_state(connection, "paper")
    assert fresh is not None
    assert (fresh.state, fresh.stops) == ("ACTIVE", {"kill_switch": True})
    save(connection, "REDUCING", REASON)
    save_stops(connection, "paper", {"kill_switch": False}, actor="runtime")
    later = read_trading_state(connection, "paper")
    assert later is not None
    assert (later.state, later.stops, later.reasons) == ("REDUCING", {"kill_switch": False}, [REASON])


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
