"""The demo's second half: the runtime trades on the simulator, over a database of its own that is thrown away.

Everything is what a paper account has: engine, PostgreSQL, orders over HTTP, bars and order updates over websockets.
Only time is the tape's, bar by bar: a bar is played when everything that followed from the one before has been taken.
What is told afterwards is read from the tables.
"""

import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import requests
import sqlalchemy as sa
import yaml

from torghut_assets.promotion.configmap import apply_patch, render_patch
from torghut_assets.promotion.configmap_file import apply_in_place, read_text
from torghut_assets.shipped_files import SAMPLE_BARS, shipped
from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.server.app import ServerSettings
from torghut_runtime.broker.simulator.server.launch import RunningSimulator, running_simulator
from torghut_runtime.broker.simulator.server.pacing import Pace
from torghut_runtime.broker.simulator.tape import Tape, read_tape, synthetic_tape
from torghut_runtime.clock import NANOSECONDS, moment_of, nanoseconds_of
from torghut_runtime.command_line import Listener
from torghut_runtime.durable_file import write_atomically
from torghut_runtime.engine.engine import Engine
from torghut_runtime.engine.parity import Parity, parity
from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.order_feed.launchers.launcher import free_port
from torghut_runtime.settings import Settings, embedded_dsn
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.decision_inputs import recorded_rows
from torghut_runtime.storage.embedded import EmbeddedServer
from torghut_runtime.storage.migrations import migrate
from torghut_runtime.trading_settings import (
    BrokerAccess,
    StopSettings,
    StrategySettings,
    TradingMode,
    TradingSettings,
    UniverseSettings,
    load_trading_settings,
)

if TYPE_CHECKING:
    from torghut_assets.lane import LaneResult

ACCOUNT: Final = "demo"
_MONTH: Final = 21
_WEEK: Final = 5
_FIRST_DAY: Final = date(2013, 3, 1)
_LAST_DAY: Final = date(2013, 3, 31)
_LIMIT_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.002
_AFTER_THE_CLOSE: Final = 60 * NANOSECONDS
_BEFORE_THE_BELL: Final = 10 * 60 * NANOSECONDS
_KEYS: Final = {"APCA-API-KEY-ID": "simulator", "APCA-API-SECRET-KEY": "simulator"}

Told = Callable[[int, int], None]
"""Hears how many of how many bars have been played."""

_DECISIONS: Final = """
SELECT d.strategy_id, d.rationale, d.status, d.decision_json -> 'risk_reasons' AS reasons, count(*) AS count
FROM trade_decisions d GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
_FILLS: Final = """
SELECT f.event_ts AS at, f.symbol, f.side, f.qty, f.price, i.strategy_id
FROM order_fills f
LEFT JOIN executions e USING (alpaca_account_label, alpaca_order_id) LEFT JOIN order_intents i ON i.id = e.intent_id
WHERE f.state = 'counted' ORDER BY f.event_ts, f.broker_execution_id
"""
_TCA: Final = """
SELECT strategy_id, symbol, count(*) AS orders, sum(filled_qty) AS qty,
    sum(slippage_bps * filled_qty) / nullif(sum(filled_qty), 0) AS slippage_bps, sum(shortfall_notional) AS shortfall
FROM execution_tca_metrics WHERE filled_qty > 0 GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Traded:
    """What the account did, from its tables; the equity is the broker's."""

    bars: int
    decisions: Sequence[Mapping[str, Any]]
    fills: Sequence[Mapping[str, Any]]
    tca: Sequence[Mapping[str, Any]]
    parity: Parity
    equity: Decimal
    state: str
    differences: int
    """Discrepancies between our records and the broker that are open at the end."""


@dataclass(frozen=True)
class Leg:
    """One tape that was traded."""

    title: str
    traded: Traded


def write_catalog(results: "Sequence[LaneResult]", folder: Path) -> tuple[Path, str]:
    """A copy of the strategy ConfigMap in ``folder`` with what is to be traded, and one sentence that says why.

    Promoted candidates are applied by their patches. When the data denied all, it is the candidate with the fewest
    reasons against it, of those the one that earned most out of sample.
    """
    catalog = folder / "strategy-configmap.yaml"
    write_atomically(catalog, shipped("deploy/k8s/base/strategy-configmap.yaml").read_bytes())
    promoted = [each for each in results if each.decision.promotion_allowed]
    if promoted:
        # Every patch was made against the ConfigMap as it is shipped, so one of them can be applied.
        best = max(promoted, key=_earned)
        apply_in_place(catalog, best.output_dir / "paper-candidate" / "strategy-configmap-patch.yaml")
        return catalog, f"{best.decision.name} was promoted; its patch is applied to {catalog}"
    best = min(results, key=lambda each: (len(each.decision.reasons), -_earned(each)))
    decision, source = best.decision, read_text(catalog)
    patch = render_patch(
        source, best.applied, candidate_id=decision.candidate_id, run_id=decision.run_id, mode="shadow"
    )
    write_atomically(catalog, apply_patch(source, patch).encode())
    return catalog, (
        f"The data denied every candidate. {decision.name} has the fewest reasons against it and is traded on the "
        f"simulator only; it may not trade on paper. Catalog: {catalog}"
    )


def _earned(result: "LaneResult") -> float:
    return result.research.report.performance.net_pnl


def legs(catalog: Path, told: Listener) -> "Generator[Leg]":
    """A month of the real daily bars with the candidate, then a week of made-up minutes with the shipped sample."""
    with throwaway_database() as dsn:
        tape = read_tape(SAMPLE_BARS, DAILY)
        start = sorted({bar.closes_at for bar in tape.bars})[-_MONTH - 1]
        span = f"{moment_of(start):%Y-%m-%d} to {moment_of(tape.bars[-1].closes_at):%Y-%m-%d}"
        done = trade(tape, start, catalog, dsn, lambda played, of: told("a month of daily bars", played, of))
        yield Leg(f"A month of daily bars, {span}: {SAMPLE_BARS.name}", done)
    with throwaway_database() as dsn, tempfile.TemporaryDirectory(prefix="torghut-demo-") as folder:
        symbols = sorted({bar.symbol for bar in tape.bars})
        minutes = synthetic_tape(symbols, seed=1, first=_FIRST_DAY, sessions=_WEEK + 1)
        sample = Path(folder) / "strategies.yaml"
        sample.write_text(_for_symbols(shipped("config/autonomous-strategy-sample.yaml"), symbols))
        opens_at = TradingCalendar().session_open(TradingCalendar().sessions(_FIRST_DAY, _LAST_DAY)[1])
        assert opens_at is not None
        start = nanoseconds_of(opens_at)
        done = trade(minutes, start, sample, dsn, lambda played, of: told("a week of one-minute bars", played, of))
        yield Leg("A week of one-minute bars, made up (random walks): config/autonomous-strategy-sample.yaml", done)


def _for_symbols(sample: Path, symbols: Sequence[str]) -> str:
    """The sample catalog, for these symbols: where no universe is set, an entry without symbols trades nothing."""
    entries: dict[str, list[dict[str, Any]]] = yaml.safe_load(sample.read_text())
    for entry in entries["strategies"]:
        entry["universe_symbols"] = list(symbols)
    return yaml.safe_dump(entries)


@contextmanager
def throwaway_database() -> Generator[str]:
    """A PostgreSQL that lives as long as the block; yields the URL of its migrated database."""
    with tempfile.TemporaryDirectory(prefix="torghut-demo-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root the server runs as another user
        with EmbeddedServer.at(folder / "postgres", durable=False).used(free_port()) as port:
            migrate(create_engine(embedded_dsn(port)))
            yield embedded_dsn(port)


def trade(tape: Tape, start: int, catalog: Path, dsn: str, told: Told = lambda _done, _all: None) -> Traded:
    """Have the engine trade a catalog through a tape.

    Args:
        tape: what happens; bars that are over at ``start`` are history.
        start: nanoseconds since 1970 (UTC).
        catalog: strategies, a file of ``TRADING_STRATEGY_CONFIG_PATH``.
        dsn: of the database that takes the records.
        told: hears of the progress.

    Raises:
        StoreUnavailableError: the engine does not get ready, or stops taking bars; says why.
    """
    broker = SimulatedBroker(tape, BrokerSettings(start=start))
    with running_simulator(broker, ServerSettings(pace=Pace(lockstep=True))) as simulator:
        frames = _Frames()
        simulator.call(lambda each: each.on_trade_update(frames.count))
        engine = Engine(Settings.model_validate({"DB_DSN": dsn}), _settings(simulator.url, catalog, tape.symbols))
        engine.start()
        try:
            _until(lambda: bool(engine.status()["running"]) and not engine.unready_reasons, engine)
            bars = _play(tape, start, simulator, engine, frames, told)
            equity = Decimal(str(_account(simulator)["equity"]))
            state = str(engine.status()["trading_state"]["state"])
        finally:
            engine.stop()
    with connect(create_engine(dsn)) as connection:
        since, until = moment_of(start), moment_of(broker.now + 1_000_000_000)
        return Traded(
            bars=bars,
            decisions=_rows(connection, _DECISIONS),
            fills=_rows(connection, _FILLS),
            tca=_rows(connection, _TCA),
            parity=parity(recorded_rows(connection, since, until, None)),
            equity=equity,
            state=state,
            differences=len(_rows(connection, "SELECT kind FROM reconcile_discrepancies WHERE resolved_at IS NULL")),
        )


@dataclass
class _Frames:
    """How many order updates the simulator has sent."""

    sent: int = 0

    def count(self, frame: bytes) -> None:
        """One more."""
        del frame
        self.sent += 1


def _settings(url: str, catalog: Path, symbols: Sequence[str]) -> TradingSettings:
    """Caps and limits of the environment; account, broker, mode, universe and catalog are the demo's."""
    broker = {"TRADING_EXECUTION_ADAPTER": "simulator", "TRADING_SIMULATOR_URL": url}
    rate = {"TRADING_BROKER_RATE_LIMIT_PER_MINUTE": 10_000}
    mode = {"TRADING_ENABLED": True, "TRADING_MODE": "paper", "TRADING_LIVE_ENABLED": False}
    return replace(
        load_trading_settings(),
        broker=BrokerAccess.model_validate({**broker, **rate}),
        mode=TradingMode.model_validate({**mode, "TRADING_ACCOUNT_LABEL": ACCOUNT}),
        stops=StopSettings.model_validate({"TRADING_KILL_SWITCH_ENABLED": False}),
        universe=UniverseSettings.model_validate({"TRADING_STATIC_SYMBOLS": ",".join(symbols)}),
        strategies=StrategySettings.model_validate({"TRADING_STRATEGY_CONFIG_PATH": catalog}),
    )


def _play(tape: Tape, start: int, simulator: RunningSimulator, engine: Engine, frames: _Frames, told: Told) -> int:
    """Bar after bar; the next one when all that followed from the last has been taken."""
    ahead = [bar for bar in tape.bars if bar.closes_at > start]
    played = 0
    for _, group in groupby(ahead, key=lambda bar: bar.closes_at):
        bars = list(group)
        _let_queued_orders_go(bars[0].opens_at, simulator, engine)
        answer = requests.post(f"{simulator.url}/sim/step", json={"events": len(bars)}, timeout=60)
        answer.raise_for_status()
        played += len(bars)
        if tape.timeframe == DAILY:
            # A day that is told while our clock still stands before its close is asked for a little later.
            simulator.call(lambda broker, at=bars[0].closes_at: broker.advance_to(at + _AFTER_THE_CLOSE))
        _until(lambda done=played: engine.counts["bars_taken"] >= done, engine)
        _until(lambda: engine.counts["order_updates_taken"] >= frames.sent, engine)
        told(played, len(ahead))
    return played


def _let_queued_orders_go(opens_at: int, simulator: RunningSimulator, engine: Engine) -> None:
    """Stop before the bell, when what was decided after the close is sent for the opening."""
    if engine.counts["orders_queued"]:
        simulator.call(lambda broker: broker.advance_to(max(opens_at - _BEFORE_THE_BELL, broker.now)))
        _until(lambda: not engine.counts["orders_queued"], engine)
        engine.settle(_LIMIT_SECONDS)


def _until(condition: Callable[[], bool], engine: Engine) -> None:
    deadline = time.monotonic() + _LIMIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            reasons = ", ".join(engine.unready_reasons) or "it takes no bars"
            raise StoreUnavailableError(f"the engine of the demo does not go on: {reasons}")
        time.sleep(_LOOK_SECONDS)


def _account(simulator: RunningSimulator) -> dict[str, Any]:
    return requests.get(f"{simulator.url}/v2/account", headers=_KEYS, timeout=60).json()


def _rows(connection: sa.Connection, statement: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(sa.text(statement)).mappings()]
