"""The locks of live trading, put together for a running engine: gate policy, records of the ledger, attestations.

The policy's file and the records are read every few seconds by the thread that keeps the trading state; the trading
thread only looks, and reads itself once when a term begins or the catalog names a run that was not read yet. What is
not known, or was read too long ago, is missing. Which lock says what is :mod:`torghut_runtime.risk.live_gate`.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import sqlalchemy as sa

from torghut_runtime.clock import Clock
from torghut_runtime.engine.live_catalog import LiveCatalog, LoadedStrategy
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.risk.live_gate import LiveApproval, LivePolicy
from torghut_runtime.storage.database import connect
from torghut_runtime.storage.live_records import RunOnRecord, read_live_records
from torghut_runtime.trading_settings import TradingSettings

log = logging.getLogger(__name__)

READ_SECONDS: Final = 5.0
KNOWN_SECONDS: Final = 60.0
"""So long what was read counts as known."""
_SWITCH: Final = "gate5_live_enabled"
_LARGEST_POLICY: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Read:
    at: float
    policy_enabled: bool | None
    runs: Mapping[str, RunOnRecord]


class LiveLocks:
    """Those of one engine."""

    def __init__(
        self, settings: TradingSettings, database: sa.Engine, stops: StopSystem, catalog: LiveCatalog, clock: Clock
    ) -> None:
        self._settings = settings
        self._database = database
        self._stops = stops
        self._catalog = catalog
        self._clock = clock
        self._read: _Read | None = None
        self._fault: str | None = None
        stops.keeper.on_look.append(self.look)

    def look(self, connection: sa.Connection) -> None:
        """Read what has to be known, when it is time to; over the connection of the thread that calls."""
        read, runs = self._read, self._runs()
        if read is None or time.monotonic() - read.at >= READ_SECONDS or not runs <= read.runs.keys():
            records = read_live_records(connection, runs)
            self._read = _Read(time.monotonic(), self._policy_enabled(), records)

    def check(self) -> tuple[str, ...]:
        """What is missing for live trading now; in live mode anything that is halts. In the trading thread."""
        enabled = [each for each in self._catalog.current.strategies if each.enabled]
        if self._settings.mode.mode == "live" and (self._read is None or not self._runs() <= self._read.runs.keys()):
            try:
                with connect(self._database) as connection:
                    self.look(connection)
            except StoreUnavailableError:
                log.warning("what the live gate needs to know could not be read")
        read = self._read
        if read is not None and time.monotonic() - read.at > KNOWN_SECONDS:
            read = None
        required = self._settings.require_provenance
        attested = {each.strategy_id: not each.provenance for each in enabled} if required else None
        return tuple(self._stops.check_live_gate(_policy(read, enabled), self._approval(read, enabled), attested))

    def _runs(self) -> frozenset[str]:
        strategies = self._catalog.current.strategies
        return frozenset(run for each in strategies if each.enabled and (run := _run_of(each)) is not None)

    def _approval(self, read: _Read | None, enabled: list[LoadedStrategy]) -> LiveApproval | None:
        """The approval that ends first; None where a strategy's run has none, or no strategy is enabled."""
        ends = [_record(read, each).approved_until for each in enabled]
        known = [end for end in ends if end is not None]
        if not known or len(known) < len(ends):
            return None
        return LiveApproval(expires_at=min(known), judged_at=self._clock.now())

    def _policy_enabled(self) -> bool | None:
        path = self._settings.mode.gate_policy_path
        if path is None:
            return None
        try:
            enabled, fault = _switch_of(path), None
        except (OSError, ValueError, RecursionError) as error:
            enabled, fault = None, f"{path}: the gate policy cannot be used: {error}"
        if fault is not None and fault != self._fault:
            log.error("%s", fault)
        self._fault = fault
        return enabled


def _run_of(strategy: LoadedStrategy) -> str | None:
    provenance = strategy.entry.provenance
    return None if provenance is None else provenance.run_id


def _record(read: _Read | None, strategy: LoadedStrategy) -> RunOnRecord:
    run = _run_of(strategy)
    return RunOnRecord() if read is None or run is None else read.runs.get(run, RunOnRecord())


def _policy(read: _Read | None, enabled: list[LoadedStrategy]) -> LivePolicy | None:
    if read is None or read.policy_enabled is None:
        return None
    return LivePolicy(read.policy_enabled, all(_record(read, each).promoted for each in enabled))


def _switch_of(path: Path) -> bool:
    """``gate5_live_enabled`` of a policy file; false where it is left out, as in the policy.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no file or no JSON object, names a key twice, or the switch is no JSON boolean.
        RecursionError: nothing that somebody wrote by hand.
    """
    if path.exists() and not path.is_file():
        raise ValueError("is no file")
    with path.open("rb") as stream:
        text = stream.read(_LARGEST_POLICY + 1)
    if len(text) > _LARGEST_POLICY:
        raise ValueError(f"is larger than {_LARGEST_POLICY} bytes")
    content: Any = json.loads(text.decode(), object_pairs_hook=_unique)
    switch: Any = cast("dict[str, Any]", content).get(_SWITCH, False) if isinstance(content, dict) else None
    if switch is True or switch is False:
        return switch
    raise ValueError(f"is no JSON object in which {_SWITCH} is a boolean")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found
