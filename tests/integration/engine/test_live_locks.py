"""Live trading with every lock on record: policy file, promotion and approval in the ledger, attestations.

Each lock alone keeps the gate closed with its own code. What verifies attestations is said by the test: nothing does
yet, and that lock is closed in every engine.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest
import sqlalchemy as sa
import yaml
from alpaca_streams import until
from engine_world import Timed
from live_engine import Desk, desk, desks, entry
from stop_world import NOWHERE, Flags

from torghut_runtime.clock import SystemClock
from torghut_runtime.engine.flag_source import LIVE_ENABLED
from torghut_runtime.engine.live_catalog import LiveCatalog, without_attestations
from torghut_runtime.engine.live_locks import LiveLocks
from torghut_runtime.engine.market_system import features_of
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.risk.limits import Gate
from torghut_runtime.risk.live_gate import (
    APPROVAL,
    EMERGENCY_STOP,
    EXPIRED,
    FLAG,
    LIMITS,
    POLICY,
    PROVENANCE,
    SETTINGS,
)
from torghut_runtime.storage import ledger
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.tables import governance_ledger, research_runs
from torghut_runtime.strategies.registry import default_registry
from torghut_runtime.trading_settings import load_trading_settings

__all__ = ["desk", "desks"]

NAME, RUN, TOKEN = "momentum", "run-1", "a" * 64
PROMOTED = {
    "name": NAME, "run_id": RUN, "action": "promote", "promotion_target": "live", "recommended_mode": "live",
    "policy_sha256": "b" * 64, "reasons": [],
}  # fmt: skip
OPEN = {
    "MODE": "live", "LIVE_ENABLED": "true", "EXECUTION_ADAPTER": "alpaca", "MAX_NOTIONAL_PER_TRADE": "1000",
    "PORTFOLIO_MAX_GROSS_EXPOSURE": "5000", "MAX_DAILY_LOSS": "100",
}  # fmt: skip
Change = Callable[["Locks"], object]


def grant(run: str = RUN, *, token: str = TOKEN, target: str = "live", hours: float = 24.0) -> dict[str, Any]:
    ends = datetime.now(UTC) + timedelta(hours=hours)
    return {
        "action": "grant", "token_sha256": token, "run_id": run, "target": target, "approver": "grace",
        "expires_at": ends.isoformat(),
    }  # fmt: skip


class Locks:
    """Everything that live trading needs, in place; a test takes one thing away."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn, self.folder = dsn, folder
        self.flags: Mapping[str, bool] = {}
        self.environment = {**OPEN, "GATE_POLICY_PATH": str(folder / "policy.json")}
        self.attested: Callable[[Any], list[str]] = lambda _: []
        self.edited: tuple[str, str, str] | None = None
        self.entries: list[dict[str, Any]] = [self.entry(NAME, RUN)]
        self.policy({"gate5_live_enabled": True})
        self.records: dict[ledger.LedgerKind, list[tuple[str, Mapping[str, Any]]]] = {
            "promotion": [(NAME, PROMOTED)],
            "approval": [(NAME, grant())],
        }
        self.run(RUN)

    def entry(self, strategy: str, run: str | None, **given: Any) -> dict[str, Any]:
        provenance = {} if run is None else {
            "provenance": {"candidate_id": "c", "run_id": run, "sha256": "c" * 64}
        }  # fmt: skip
        return {**entry(strategy, **given), **provenance}

    def policy(self, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / "policy.json").write_text(text)

    def run(self, run: str, name: str = NAME) -> None:
        """A run as the lane records it."""
        with connect(create_engine(self.dsn)) as connection, connection.begin():
            connection.execute(
                sa.text(
                    "INSERT INTO research_candidates (candidate_id, dataset_id, spec) VALUES ('c', 'd', '{}')"
                    " ON CONFLICT DO NOTHING"
                )
            )
            connection.execute(
                sa.insert(research_runs).values(
                    run_id=run,
                    name=name,
                    candidate_id="c",
                    policy_sha256="b" * 64,
                    evidence_sha256="e" * 64,
                    code_version="1",
                    promotion_target="live",
                    recommended_mode="live",
                    action="promote",
                    reasons=[],
                    report={},
                )
            )

    def write(self) -> None:
        """The rows of the ledger."""
        for kind, rows in self.records.items():
            for name, body in rows:
                self.append(kind, body, name)

    def append(self, kind: ledger.LedgerKind, body: Mapping[str, Any], name: str = NAME) -> int:
        with connect(create_engine(self.dsn)) as connection:
            return ledger.append(connection, kind=kind, subject=name, actor="grace", body=body).seq

    def record(self, kind: ledger.LedgerKind, body: Mapping[str, Any], name: str = NAME) -> None:
        """Have a row written after those that are in place."""
        self.records[kind].append((name, body))

    def edit(self, kind: str, key: str, value: str) -> None:
        """Somebody who owns the database edits a row of the ledger."""
        body = governance_ledger.c.body.op("||")(sa.cast({key: value}, governance_ledger.c.body.type))
        with connect(create_engine(self.dsn)) as connection, connection.begin():
            connection.execute(sa.text("ALTER TABLE governance_ledger DISABLE TRIGGER immutable"))
            connection.execute(sa.update(governance_ledger).where(governance_ledger.c.kind == kind).values(body=body))

    def built(self, *, dsn: str | None = None) -> tuple[LiveLocks, StopSystem]:
        self.write()
        if self.edited is not None:
            self.edit(*self.edited)
        catalog = self.folder / "strategies.yaml"
        catalog.write_text(yaml.safe_dump(self.entries))
        names = {f"TRADING_{name}": value for name, value in self.environment.items()}
        keys = {"APCA_API_KEY_ID": "k", "APCA_API_SECRET_KEY": "s", "TRADING_STRATEGY_CONFIG_PATH": str(catalog)}
        with patch.dict(os.environ, {**keys, **names}):
            settings = load_trading_settings()
        flags, nobody, clock = Flags(settings), cast("Any", None), SystemClock()
        flags.answers.update(self.flags)
        database = create_engine(dsn or self.dsn)
        stops = StopSystem(
            settings=settings,
            base_url="https://api.alpaca.markets",
            database=database,
            stance=Stance(Gate()),
            firewall=nobody,
            reader=nobody,
            flags=flags,
            clock=clock,
            lease=lambda: None,
        )
        registry = default_registry().extended(Timed)
        loaded = LiveCatalog(settings.strategies, features_of, clock, self.attested, registry=registry)
        loaded.load([])
        return LiveLocks(settings, database, stops, loaded, clock), stops


@pytest.fixture
def locks(database_dsn: str, tmp_path: Path) -> Locks:
    return Locks(database_dsn, tmp_path)


def attest(*codes: str) -> Change:
    def change(locks: Locks) -> None:
        locks.attested = lambda _: list(codes)

    return change


def environment(**changes: str | None) -> Change:
    def change(locks: Locks) -> None:
        given = {**locks.environment, **changes}
        locks.environment = {name: value for name, value in given.items() if value is not None}

    return change


def replaced(kind: ledger.LedgerKind, *bodies: Mapping[str, Any]) -> Change:
    """Other rows of a kind than the one in place."""

    def change(locks: Locks) -> None:
        locks.records[kind] = [(NAME, body) for body in bodies]

    return change


def edited(kind: ledger.LedgerKind, key: str, value: str, before: Mapping[str, Any] | None = None) -> Change:
    """A row that was edited after it was written; ``before``: what it was."""

    def change(locks: Locks) -> None:
        locks.edited = (kind, key, value)
        if before is not None:
            locks.records[kind] = [(NAME, before)]

    return change


def flag(setting: str, *, on: bool) -> Change:
    def change(locks: Locks) -> None:
        locks.flags = {setting: on}

    return change


def second(run: str | None, **given: Any) -> Change:
    """One more enabled strategy."""
    return lambda locks: locks.entries.append(locks.entry("other", run, **given))


CASES: Sequence[tuple[str, Change, tuple[str, ...]]] = (
    ("paper", environment(MODE="paper", LIVE_ENABLED="false", REQUIRE_PROVENANCE="true"), (SETTINGS, FLAG)),
    ("the flag off", flag(LIVE_ENABLED, on=False), (FLAG,)),
    ("no policy file named", environment(GATE_POLICY_PATH=None), (POLICY,)),
    ("a policy file that is not there", environment(GATE_POLICY_PATH="/nowhere/policy.json"), (POLICY,)),
    ("a policy file that is a folder", environment(GATE_POLICY_PATH="/"), (POLICY,)),
    ("the policy says no", lambda locks: locks.policy({"gate5_live_enabled": False}), (POLICY,)),
    ("the policy says nothing", lambda locks: locks.policy({}), (POLICY,)),
    ("a quoted true", lambda locks: locks.policy({"gate5_live_enabled": "true"}), (POLICY,)),
    ("a one", lambda locks: locks.policy({"gate5_live_enabled": 1}), (POLICY,)),
    ("no JSON", lambda locks: locks.policy("gate5_live_enabled: true"), (POLICY,)),
    ("a list", lambda locks: locks.policy([True]), (POLICY,)),
    ("a nest", lambda locks: locks.policy("[" * 100_000), (POLICY,)),
    ("said twice", lambda locks: locks.policy('{"gate5_live_enabled":false,"gate5_live_enabled":true}'), (POLICY,)),
    ("never promoted", replaced("promotion"), (POLICY,)),
    ("promoted to paper", replaced("promotion", {**PROMOTED, "promotion_target": "paper"}), (POLICY,)),
    ("recommended for paper", replaced("promotion", {**PROMOTED, "recommended_mode": "paper"}), (POLICY,)),
    ("denied", replaced("promotion", {**PROMOTED, "action": "deny"}), (POLICY,)),
    ("another run promoted", replaced("promotion", {**PROMOTED, "run_id": "run-2"}), (POLICY,)),
    ("denied since", lambda locks: locks.record("promotion", {**PROMOTED, "action": "deny"}), (POLICY,)),
    ("a denial edited", edited("promotion", "action", "promote", {**PROMOTED, "action": "deny"}), (POLICY,)),
    ("never approved", replaced("approval"), (APPROVAL,)),
    ("approved for paper", replaced("approval", grant(target="paper")), (APPROVAL,)),
    ("another run approved", replaced("approval", grant("run-2")), (APPROVAL,)),
    ("revoked", lambda locks: locks.record("approval", {"action": "revoke", "token_sha256": TOKEN}), (APPROVAL,)),
    ("no end", replaced("approval", {**grant(), "expires_at": None}), (APPROVAL,)),
    ("an end without zone", replaced("approval", {**grant(), "expires_at": "2100-01-01T00:00:00"}), (APPROVAL,)),
    ("an approval edited", edited("approval", "expires_at", "2100-01-01T00:00:00Z"), (APPROVAL,)),
    ("a revocation edited", lambda locks: (
        locks.record("approval", {"action": "revoke", "token_sha256": TOKEN}),
        edited("approval", "action", "grant")(locks),
    ), (APPROVAL,)),
    ("expired", replaced("approval", grant(hours=-0.001)), (EXPIRED,)),
    ("no attestation", attest("provenance_missing"), (PROVENANCE,)),
    ("a bad signature", attest("provenance_signature_invalid"), (PROVENANCE,)),
    ("no cap", environment(MAX_NOTIONAL_PER_TRADE=None), (LIMITS,)),
    ("the emergency stop off", environment(EMERGENCY_STOP_ENABLED="false"), (EMERGENCY_STOP,)),
    ("a strategy of nowhere", second(None), (POLICY, APPROVAL)),
    ("a strategy of an unknown run", second("run-9"), (POLICY, APPROVAL)),
)  # fmt: skip


def test_with_every_lock_open_nothing_is_missing_and_nothing_halts(locks: Locks) -> None:
    found, stops = locks.built()
    assert found.check() == ()
    assert stops.stance.trading_state.state == "ACTIVE"


@pytest.mark.parametrize(("change", "missing"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_lock_alone_keeps_live_trading_closed_with_its_code(
    locks: Locks, change: Change, missing: tuple[str, ...]
) -> None:
    change(locks)
    found, stops = locks.built()
    with connect(create_engine(locks.dsn)) as connection:
        found.look(connection)
    assert found.check() == missing
    live = locks.environment["MODE"] == "live"
    assert stops.stance.trading_state.state == ("HALTED" if live else "ACTIVE")
    assert stops.stance.trading_state.codes == ((f"live_gate_closed:{','.join(missing)}",) if live else ())


@pytest.mark.parametrize(
    "change",
    [
        lambda locks: locks.entries.append(locks.entry("other", None, enabled=False)),
        lambda locks: locks.record("approval", {"action": "revoke", "token_sha256": "d" * 64}),
        lambda locks: locks.record("approval", grant(token="d" * 64, hours=-1)),
        lambda locks: locks.record("promotion", {**PROMOTED, "run_id": "run-2"}),
        lambda locks: locks.record("promotion", {**PROMOTED, "action": "deny"}, "another candidate"),
    ],
    ids=["a disabled strategy", "another token revoked", "an older approval", "a successor promoted", "another denied"],
)
def test_what_concerns_somebody_else_closes_nothing(locks: Locks, change: Change) -> None:
    change(locks)
    assert locks.built()[0].check() == ()


def test_without_an_enabled_strategy_nobody_has_approved_anything(locks: Locks) -> None:
    locks.entries = []
    assert locks.built()[0].check() == (APPROVAL,)


def test_a_strategy_that_cannot_run_is_not_verified_by_that(locks: Locks) -> None:
    locks.entries = [{**locks.entry(NAME, RUN), "strategy_type": "unheard_of"}]
    locks.attested = without_attestations(required=True)
    assert locks.built()[0].check() == (PROVENANCE,)


def test_without_a_database_the_records_are_missing(locks: Locks) -> None:
    found, stops = locks.built(dsn=NOWHERE)
    assert found.check() == (POLICY, APPROVAL)
    assert stops.stance.trading_state.state == "HALTED"


def test_a_lock_that_closes_while_it_trades_is_seen(locks: Locks) -> None:
    found, stops = locks.built()
    assert found.check() == ()
    stops.keeper.start()
    with closing(cast("Any", Closing(stops))):
        locks.append("approval", {"action": "revoke", "token_sha256": TOKEN})
        until(lambda: found.check() == (APPROVAL,))
        assert stops.stance.trading_state.state == "HALTED"
        locks.policy({"gate5_live_enabled": False})
        until(lambda: found.check() == (POLICY, APPROVAL))


class Closing:
    """Ends the thread of a state keeper."""

    def __init__(self, stops: StopSystem) -> None:
        self._stops = stops

    def close(self) -> None:
        self._stops.keeper.stop()


def test_a_running_engine_reads_the_records_and_stays_closed_for_what_nothing_verifies(
    desk: Desk, tmp_path: Path
) -> None:
    kept = Locks(desk.dsn, tmp_path)
    kept.write()
    desk.write(*kept.entries)
    caps = {name: value for name, value in OPEN.items() if name.startswith(("MAX_", "PORTFOLIO_"))}
    engine = desk.ready(desk.engine(None, GATE_POLICY_PATH=kept.environment["GATE_POLICY_PATH"], **caps))
    paper = [SETTINGS, FLAG, PROVENANCE]
    until(lambda: engine.status()["live_gate"]["missing"] == paper)
    assert engine.status()["live_gate"]["allowed"] is False
    assert engine.status()["trading_state"]["state"] == "ACTIVE", "paper is not halted by the live gate"
