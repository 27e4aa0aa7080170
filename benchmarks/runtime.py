"""How fast the engine is: bar to order, bursts, throughput, restart, memory; each beside its target and a peer.

PostgreSQL runs on this machine with its durable settings. The trading thread's own objects (``TradingCore``: journal,
fold, limits, recording) are driven here as the trading loop drives them, on the tape's clock; the broker is the
simulator in the same process, whose own time is not counted, and over HTTP for the restart. Run with
``python benchmarks/runtime.py [--json PATH] [--only CASE ...] [--minutes N] [--bars-per-second N] [--day]``.

* ``latency``: bars of ``--symbols`` symbols one by one at 500/s, 5 % of them trade. From the moment a bar is due to the
  moment its order leaves, write-ahead commits included. Peer: the rows of those orders (decision, intent, step) written
  again to like tables, in one transaction and one round trip each.
* ``burst``: the same bars, a whole minute at once: from its arrival to its last order.
* ``throughput``: minutes as fast as they go, every bar asked of one strategy and recorded, nothing ordered; the end is
  when the last row is stored. Peers: features and compiled steps alone, and the COPY of the same rows alone.
* ``restart``: 10,000 orders, 200 of them open, 100 positions: restore, resolve, compare over HTTP. Peer: reading the
  same orders from the broker.
* ``memory``: resident memory over the bars of ``latency`` unpaced, at the quarters; with ``--day`` a whole session.

Kill switch to cancel-all is ``benchmarks/stops.py``. Exit 1 when a target is missed.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psycopg
import sqlalchemy as sa
from engine_world import settings_of
from postgres import free_port

from torghut_runtime.broker.alpaca import AlpacaReader, AlpacaWriter
from torghut_runtime.broker.in_process import InProcessBroker
from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.server.app import ServerSettings
from torghut_runtime.broker.simulator.server.documents import asset_document, clock_document
from torghut_runtime.broker.simulator.server.launch import running_simulator
from torghut_runtime.broker.simulator.server.pacing import Pace
from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape
from torghut_runtime.canonical import utc_text
from torghut_runtime.clock import SimulatedClock, moment_of
from torghut_runtime.engine.core import Outside, TradingCore
from torghut_runtime.engine.driver import StrategyDriver
from torghut_runtime.engine.event_writer import EventWriter
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.replay import market_bar
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.step_writer import StepWriter
from torghut_runtime.engine.strategy_blocks import StrategyBlocks
from torghut_runtime.engine.trader import Trader
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market.features import Bar
from torghut_runtime.market_data.board import Board
from torghut_runtime.market_data.broker_facts import AssetBook, CalendarGuard
from torghut_runtime.market_data.feature_gate import FeatureGate
from torghut_runtime.market_data.live_market import LiveMarket
from torghut_runtime.market_data.universe import Universe
from torghut_runtime.order_feed.ingest import ingest_values
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.orders.splits import Split
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.risk.limits import Gate
from torghut_runtime.settings import embedded_dsn
from torghut_runtime.storage.database import connect, create_engine, transaction
from torghut_runtime.storage.decision_inputs import copy_steps
from torghut_runtime.storage.embedded import EmbeddedServer
from torghut_runtime.storage.lease import acquire
from torghut_runtime.storage.migrations import migrate
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve
from torghut_runtime.trading_settings import BrokerAccess, TradingSettings

CASES = ("latency", "burst", "throughput", "restart", "memory")
SHARE = 0.05
WARM_MINUTES = 40
FIRST = date(2026, 1, 5)
CASH = Decimal(1_000_000_000)
FREE = {
    "ENABLED": "true",
    "KILL_SWITCH_ENABLED": "false",
    "BROKER_RATE_LIMIT_PER_MINUTE": "100000",
    "MAX_ORDERS_PER_MINUTE": "100000",
    "MAX_ORDERS_PER_SYMBOL_PER_MINUTE": "1000",
    "MAX_OPEN_ORDERS": "1000",
}
HISTORY, OPEN, POSITIONS = 10_000, 200, 100


@dataclass(frozen=True)
class Measured:
    """One figure; ``holds`` is None where there is no target."""

    case: str
    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is met."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value < self.target

    def line(self) -> str:
        """As it is printed."""
        goal = "" if self.target is None else f"target {'>=' if self.at_least else '<'} {self.target:g} {self.unit}"
        missed = "  MISSED" if self.holds is False else ""
        return f"{self.case:<11}{self.name:<46}{self.value:>11.2f} {self.unit:<7}{goal:<24}{self.note}{missed}"


class Parts(TradingMetrics):
    """The engine's metrics, which keep every single duration besides."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, list[float]] = {"queue": [], "decide": [], "commit": [], "total": []}

    def bar_to_order(self, part: Any, seconds: float) -> None:
        """See :class:`TradingMetrics`."""
        super().bar_to_order(part, seconds)
        self.seconds[part].append(seconds)

    def clear(self) -> None:
        """Begin anew."""
        for each in self.seconds.values():
            each.clear()


class InProcess(InProcessBroker):
    """The simulator in this process, with what it says of market and assets."""

    def __init__(self, broker: SimulatedBroker, symbols: Sequence[str]) -> None:
        super().__init__(broker)
        self._simulated, self._symbols = broker, symbols

    def clock(self) -> dict[str, Any]:
        """The broker's clock."""
        return clock_document(self._simulated)

    def asset(self, symbol: str) -> dict[str, Any]:
        """One asset."""
        return asset_document(self._simulated, symbol)

    def assets(self) -> list[dict[str, Any]]:
        """Every asset."""
        return [asset_document(self._simulated, symbol) for symbol in self._symbols]


class NoSplits:
    """Announcements of a market without splits."""

    def splits(self, _symbols: Iterable[str], _first: date, _last: date) -> list[Split]:
        """None."""
        return []


class World:
    """What trades in one term, over its own database; played minute by minute."""

    def __init__(self, dsn: str, tape: Tape, strategies: Sequence[BoundStrategy]) -> None:
        symbols = tape.symbols
        self.tape, self.dsn = tape, dsn
        self.settings = settings_of(STATIC_SYMBOLS=",".join(symbols), **FREE)
        self.broker = SimulatedBroker(tape, BrokerSettings(cash=CASH))
        self.frames: list[bytes] = []
        self.broker.on_trade_update(self.frames.append)
        self.clock, self.metrics = SimulatedClock(self.broker.now), Parts()
        self.client = InProcess(self.broker, symbols)
        self.steps = StepWriter(dsn, self.settings.mode.account_label, self.clock)
        self.steps.start()
        self.events = Events(dsn, self.settings.mode.account_label)
        outward = self.client, self.client, self.clock
        self.core = core_of(dsn, self.settings, *outward, self.metrics, self.steps, self.events.writer)
        self.core.restore()
        self.core.resolve()
        self.core.compare()
        self.market = self._market(symbols, strategies)
        self.trader: Trader = self.core.take_up(
            strategies, self.market, lambda _strategy, _symbol: (), StrategyBlocks(), None
        )
        self.session = TradingCalendar().session_at(moment_of(tape.bars[0].opens_at))
        groups = groupby(tape.bars, key=lambda bar: bar.closes_at)
        self.minutes = [(at, [market_bar(bar, "1Min", self.session) for bar in group]) for at, group in groups]

    def _market(self, symbols: Sequence[str], strategies: Sequence[BoundStrategy]) -> LiveMarket:
        universe, assets = Universe(self.settings.universe, self.clock), AssetBook(self.client)
        calendar = CalendarGuard(self.client, self.clock)
        universe.refresh()
        assets.refresh(symbols)
        calendar.check()
        return LiveMarket(
            self.settings,
            board=Board(),
            universe=universe,
            gate=FeatureGate(self.settings.quality, strategies),
            assets=assets,
            calendar=calendar,
            daily_volumes=dict.fromkeys(symbols, 20_000_000.0),
        )

    def arrive(self, minute: int) -> list[Bar]:
        """Let the simulator's market come to the end of a minute; its bars."""
        closes_at, bars = self.minutes[minute]
        while (due := self.trader.next_due_ns) is not None and due < closes_at:
            self.broker.advance_to(max(due, self.clock.now_ns()))
            self.hear(self.broker.now)
            self.trader.on_time()
            self.hear(self.broker.now)
        self.broker.step(len(bars))
        self.hear(closes_at)
        return bars

    def take(self, bars: Sequence[Bar], due: float) -> None:
        """What the trading loop does with bars that have closed."""
        self.trader.on_time()
        self.trader.on_bars(bars, time.perf_counter() - due)
        self.core.cursors.processed(bars)

    def between(self) -> None:
        """What it does before the next item: order updates, cursors."""
        self.hear(self.clock.now_ns())
        self.core.cursors.write()
        self.core.sweep()

    def hear(self, at: int) -> None:
        """The time, and what the broker has sent."""
        self.clock.advance_to(max(at, self.clock.now_ns()))
        while self.frames:
            frames, self.frames[:] = list(self.frames), []
            for frame in frames:
                self.trader.on_order_event(frame)
                self.events.writer.take([frame], "stream")

    def warm(self) -> None:
        """The first minutes, unmeasured: indicators, compiled code, prepared statements."""
        for minute in range(WARM_MINUTES):
            self.take(self.arrive(minute), time.perf_counter())
            self.between()
        self.drain()
        self.metrics.clear()
        gc.collect()

    def drain(self) -> None:
        """Wait until every recorded step and every event is stored."""
        while self.steps.waiting or self.events.writer.waiting:
            time.sleep(0.001)

    def close(self) -> None:
        """The end."""
        self.steps.stop()
        self.events.stop()
        self.core.end()


class Events:
    """The writer of the broker's events, with its thread, as the supervisor runs it."""

    def __init__(self, dsn: str, label: str) -> None:
        self.writer, self._stop = EventWriter(dsn, label), threading.Event()
        self._thread = threading.Thread(target=self.writer.run, args=(Heartbeat(), self._stop), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, and end."""
        self.writer.drain(60.0)
        self._stop.set()
        self._thread.join()


def core_of(
    dsn: str,
    settings: TradingSettings,
    writer: Any,
    reader: Any,
    clock: SimulatedClock,
    metrics: TradingMetrics,
    steps: StepWriter,
    events: EventWriter,
) -> TradingCore:
    """What is restored and trades in one term."""
    label, engine, stance = settings.mode.account_label, create_engine(dsn), Stance(Gate())
    with connect(engine) as connection:
        lease = acquire(connection, label, "benchmark")
    assert lease is not None
    outside = Outside(
        settings=settings,
        dsn=dsn,
        firewall=Firewall(writer, stance.gate, RequestBudget(100_000, clock.now_ns()), clock),
        reader=reader,
        flatten_reader=reader,
        announcements=NoSplits(),
        account_fault=lambda _account: None,
        stance=stance,
        clock=clock,
        metrics=metrics,
        recorder=Recorder(label, steps, mode="paper", adapter="simulator"),
        events=events,
        fills=lambda _since, _until: (),
    )
    return TradingCore(outside, lease, engine)


def strategies_for(symbols: Sequence[str], trading: int) -> list[BoundStrategy]:
    """One that always is on its way in or out in some symbols, evenly spread, one that never acts in the others."""
    busy = list(symbols[:: len(symbols) // trading])[:trading] if trading else []
    base = {"base_timeframe": "1Min"}
    quiet = {"buy_rsi_threshold": 0, "sell_rsi_threshold": 100}
    entries = [
        {
            **base,
            "strategy_id": "busy",
            "strategy_type": "buy_and_hold",
            "params": {"exits": {"max_bars": 1}},
            "universe_symbols": busy,
            "max_notional_per_trade": 1_000.0,
        },
        {
            **base,
            "strategy_id": "quiet",
            "strategy_type": "legacy_macd_rsi",
            "params": quiet,
            "universe_symbols": sorted(set(symbols) - set(busy)),
        },
    ]
    return [resolve(StrategyEntry.model_validate(each), None) for each in entries if each["universe_symbols"]]


def plain(dsn: str) -> str:
    """A URL as the driver itself takes it."""
    return dsn.replace("postgresql+psycopg://", "postgresql://")


def percentile(values: Sequence[float], share: float) -> float:
    """By rank."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


# Bars to orders -------------------------------------------------------------------------------------------------------


def latency(world: World, minutes: int, rate: float) -> list[Measured]:
    """Bars one by one, each at its time."""
    world.warm()
    number, started, bars_taken = 0, time.perf_counter(), 0
    used = list[float]()
    for minute in range(WARM_MINUTES, WARM_MINUTES + minutes):
        # The simulated market moves while no bar is due: the broker's time is not the engine's.
        bars = world.arrive(minute)
        begin = max(started + number / rate, time.perf_counter())
        for index, bar in enumerate(bars):
            due = begin + index / rate
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            cpu, ordered = time.thread_time(), len(world.metrics.seconds["total"])
            world.take([bar], due)
            if len(world.metrics.seconds["total"]) > ordered:
                used.append(time.thread_time() - cpu)
            world.between()
        number += len(bars)
        bars_taken += len(bars)
    seconds = time.perf_counter() - started
    parts = world.metrics.seconds
    totals, commits = parts["total"], parts["commit"]
    world.drain()
    peer = bare_commits(world.dsn, len(commits))
    p99, bare = percentile(totals, 0.99) * 1e3, statistics.median(peer) * 1e3
    return [
        Measured("latency", "bar in to order out, p99", p99, "ms", 5.0, note=f"{len(totals)} orders"),
        Measured("latency", "bar in to order out, median", statistics.median(totals) * 1e3, "ms"),
        Measured("latency", "of it the intent's commit, median", statistics.median(commits) * 1e3, "ms"),
        Measured("latency", "of it the intent's commit, p99", percentile(commits, 0.99) * 1e3, "ms"),
        Measured("latency", "of it deciding, median", statistics.median(parts["decide"]) * 1e3, "ms"),
        Measured("latency", "processor time of a bar with its order, median", statistics.median(used) * 1e3, "ms"),
        Measured("latency", "waiting behind earlier bars, p99", percentile(parts["queue"], 0.99) * 1e3, "ms"),
        Measured("latency", "peer: commit of the same rows, median", bare, "ms"),
        Measured("latency", "peer: commit of the same rows, p99", percentile(peer, 0.99) * 1e3, "ms"),
        Measured("latency", "commit / peer", statistics.median(commits) * 1e3 / bare, "times"),
        Measured("latency", "bars", bars_taken / seconds, "bars/s", note=f"asked: {rate:g}"),
        Measured("latency", "bars that traded", 100 * len(commits) / bars_taken, "%"),
    ]


def bare_commits(dsn: str, most: int) -> list[float]:
    """Seconds of each transaction that writes the rows of one order again, to tables that are like their own."""
    tables = {"trade_decisions": "d", "order_intents": "i", "decision_inputs": "s"}
    with psycopg.connect(plain(dsn), autocommit=True) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE again_{table} (LIKE {table} INCLUDING ALL)".encode())
        rows = connection.execute(
            """SELECT d::text, i::text, s::text FROM order_intents i
            JOIN trade_decisions d ON d.id = i.trade_decision_id
            JOIN decision_inputs s ON (s.strategy_id, s.symbol, s.bar_ts) = (d.strategy_id, d.symbol, d.bar_ts)
            ORDER BY i.created_at DESC LIMIT %s""",
            [most],
        ).fetchall()
        seconds: list[float] = []
        for row in rows:
            began = time.perf_counter()
            with connection.transaction(), connection.pipeline():
                for table, text in zip(tables, row, strict=True):
                    insert = f"INSERT INTO again_{table} OVERRIDING SYSTEM VALUE SELECT (%s::again_{table}).*"
                    connection.execute(insert.encode(), [text], prepare=True)
            seconds.append(time.perf_counter() - began)
    return seconds


def burst(world: World, minutes: int) -> list[Measured]:
    """A minute's bars at once."""
    world.warm()
    last, done, used, orders = list[float](), list[float](), list[float](), list[int]()
    for minute in range(WARM_MINUTES, WARM_MINUTES + minutes):
        bars = world.arrive(minute)
        world.metrics.clear()
        began, cpu = time.perf_counter(), time.thread_time()
        world.take(bars, began)
        done.append((time.perf_counter() - began) * 1e3)
        used.append((time.thread_time() - cpu) * 1e3)
        world.between()
        if world.metrics.seconds["total"]:
            last.append(max(world.metrics.seconds["total"]) * 1e3)
            orders.append(len(world.metrics.seconds["total"]))
        world.drain()
    size, count = len(world.minutes[0][1]), statistics.median(orders)
    return [
        Measured("burst", f"{size} bars to the last order, median", statistics.median(last), "ms", 60.0),
        Measured("burst", f"{size} bars to the last order, largest", max(last), "ms", note=f"of {len(last)}"),
        Measured("burst", f"{size} bars taken, median", statistics.median(done), "ms"),
        Measured("burst", "of it processor time of the thread, median", statistics.median(used), "ms"),
        Measured("burst", "orders of a burst, median", count, ""),
    ]


# Throughput -----------------------------------------------------------------------------------------------------------


class Kept:
    """A sink that keeps the steps, for the peer."""

    is_full = False

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []

    def take(self, steps: Sequence[StepRecord]) -> None:
        """Keep."""
        self.steps.extend(steps)


def throughput(world: World, minutes: int, strategies: Sequence[BoundStrategy]) -> list[Measured]:
    """Minutes as fast as they go; nothing is ordered."""
    world.warm()
    span = world.minutes[WARM_MINUTES : WARM_MINUTES + minutes]
    count = sum(len(bars) for _, bars in span)
    began, used = time.perf_counter(), time.process_time()
    for at, bars in span:
        world.clock.advance_to(at)
        world.take(bars, time.perf_counter())
        world.between()
    taken = time.perf_counter() - began
    world.drain()
    stored, used = time.perf_counter() - began, time.process_time() - used
    driver = StrategyDriver(strategies)
    flat = world.trader._position  # noqa: SLF001 - the same question of the position
    for _, bars in world.minutes[:WARM_MINUTES]:
        for bar in bars:
            driver.push(bar, world.trader.seconds_to_close(bar), flat)
    began = time.perf_counter()
    verdicts = [driver.push(bar, world.trader.seconds_to_close(bar), flat) for _, bars in span for bar in bars]
    alone = time.perf_counter() - began
    kept = Kept()
    recorder = Recorder("again", kept, mode="paper", adapter="simulator")
    account = world.trader.account.document()
    for each in verdicts:
        price = world.market.price_now(each[0].bar.symbol, world.clock.now())
        assert price is not None
        with recorder.steps(each, 0.0, account, price, world.clock.now()):
            pass
    began = time.perf_counter()
    with connect(create_engine(world.dsn)) as connection:
        for start in range(0, len(kept.steps), 1_000):
            with transaction(connection):
                copy_steps(connection, kept.steps[start : start + 1_000])
    copied = time.perf_counter() - began
    rate, note = count / stored, f"{count} bars, {count / used:.0f} per CPU second"
    return [
        Measured("throughput", "bars judged, recorded and stored", rate, "bars/s", 10_000.0, at_least=True, note=note),
        Measured("throughput", "bars judged", count / taken, "bars/s"),
        Measured("throughput", "peer: features and steps alone", count / alone, "bars/s"),
        Measured("throughput", "peer: rows stored alone", len(kept.steps) / copied, "rows/s"),
        Measured("throughput", "peers one after the other / engine", (alone + copied) / stored, "times"),
        Measured("throughput", "records lost", float(world.steps.lost), "", 1.0),
    ]


# Memory ---------------------------------------------------------------------------------------------------------------


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(world: World, minutes: int) -> list[Measured]:
    """Minutes unpaced; the simulator forgets what has ended, whose memory is not the engine's."""
    world.warm()
    seen = [resident_mb()]
    for done in range(1, minutes + 1):
        world.take(world.arrive(WARM_MINUTES + done - 1), time.perf_counter())
        world.between()
        if done * 4 % minutes < 4:
            world.drain()
            world.metrics.clear()
            gc.collect()
            seen.append(resident_mb())
    shown = ", ".join(f"{each:.0f}" for each in seen)
    growth = 100 * (seen[-1] / seen[1] - 1)
    orders = len(world.broker.desk.book.listed(status="all", limit=1 << 62))
    bars = minutes * len(world.minutes[0][1])
    note = f"{shown} MB; {bars} bars, {orders} orders kept by the simulator too"
    return [Measured("memory", "growth from a quarter to the end", growth, "%", 5.0, note=note)]


# Restart --------------------------------------------------------------------------------------------------------------


def history(dsn: str, label: str, broker: SimulatedBroker, call: Any, symbols: Sequence[str]) -> None:
    """Orders of an earlier process: decisions and intents as it wrote them, the broker's events through the ingest."""
    frames: list[bytes] = []
    call(lambda each: each.on_trade_update(frames.append))
    with connect(create_engine(dsn)) as connection:
        connection.execute(
            sa.text("""
            WITH n AS (SELECT n, 'k' || n AS key, (CAST(:names AS text[]))[1 + n % :symbols] AS symbol,
                    n >= :filled AS is_open FROM generate_series(0, :count - 1) n), d AS (
                INSERT INTO trade_decisions (id, decision_hash, strategy_id, alpaca_account_label, symbol, timeframe,
                    bar_ts, decided_at, decision_json)
                SELECT gen_random_uuid(), key, 's', :label, symbol, '1Min', :at, :at, '{}' FROM n
                RETURNING id, decision_hash)
            INSERT INTO order_intents (id, trade_decision_id, intent_seq, alpaca_account_label, client_order_id,
                strategy_id, adapter, symbol, side, order_type, time_in_force, qty, limit_price, extended_hours,
                arrival_price, worst_price, submit_payload, state, sent_at)
            SELECT gen_random_uuid(), d.id, 0, :label, key, 's', 'simulator', symbol, 'buy',
                CASE WHEN is_open THEN 'limit' ELSE 'market' END, 'day', 1, CASE WHEN is_open THEN 1 END, false, 100,
                CASE WHEN is_open THEN 1 ELSE 200 END, '{}', 'submitting', :at
            FROM n JOIN d ON d.decision_hash = key"""),
            {
                "names": list(symbols),
                "symbols": len(symbols),
                "count": HISTORY,
                "filled": HISTORY - OPEN,
                "label": label,
                "at": moment_of(broker.now),
            },
        )

    def submit(each: SimulatedBroker) -> None:
        for number in range(HISTORY):
            limit = {"type": "limit", "limit_price": "1"} if number >= HISTORY - OPEN else {"type": "market"}
            order = {"symbol": symbols[number % len(symbols)], "qty": "1", "side": "buy", "time_in_force": "day"}
            each.submit({**order, **limit, "client_order_id": f"k{number}"})

    call(submit)
    call(lambda each: each.step(2 * len(symbols)))
    with connect(create_engine(dsn)) as connection:
        for start in range(0, len(frames), 1_000):
            ingest_values(connection, frames[start : start + 1_000], "stream", label)


def restart(dsn: str, rounds: int) -> list[Measured]:
    """A new process over what the one before has left."""
    symbols = [f"S{number:03d}" for number in range(POSITIONS)]
    settings = settings_of(**FREE)
    broker = SimulatedBroker(synthetic_tape(symbols, seed=1, first=FIRST), BrokerSettings(cash=CASH))
    broker.step(2 * POSITIONS)
    times: dict[str, list[float]] = {name: [] for name in ("restore", "resolve", "compare", "all", "peer")}
    found = open_orders = held = 0
    with running_simulator(broker, ServerSettings(pace=Pace(lockstep=True))) as simulator:
        history(dsn, settings.mode.account_label, broker, simulator.call, symbols)
        access = BrokerAccess()
        for _ in range(rounds):
            clock = SimulatedClock(broker.now)
            steps, events = (
                StepWriter(dsn, settings.mode.account_label, clock),
                Events(dsn, settings.mode.account_label),
            )
            reader, writer = AlpacaReader(access, simulator.url), AlpacaWriter(access, simulator.url)
            gc.collect()
            began = time.perf_counter()
            core = core_of(dsn, settings, writer, reader, clock, TradingMetrics(), steps, events.writer)
            marks = [began]
            core.restore()
            marks.append(time.perf_counter())
            core.resolve()
            marks.append(time.perf_counter())
            found = len(core.compare().found)
            marks.append(time.perf_counter())
            open_orders, held = len(core.tracker.open_orders()), len(list(core.portfolio.positions()))
            core.end()
            events.stop()
            for name, start, end in zip(("restore", "resolve", "compare"), marks, marks[1:], strict=False):
                times[name].append(end - start)
            times["all"].append(marks[-1] - began)
            began = time.perf_counter()
            AlpacaReader(access, simulator.url).orders(after=utc_text(moment_of(broker.now - 7 * 86_400 * 10**9)))
            times["peer"].append(time.perf_counter() - began)
    note = f"{open_orders} open, {held} positions, {found} differences, median of {rounds}"
    middle = {name: statistics.median(values) for name, values in times.items()}
    return [
        Measured("restart", f"restart to reconciled, {HISTORY} orders", middle["all"], "s", 5.0, note=note),
        *(Measured("restart", f"of it {name}", middle[name], "s") for name in ("restore", "resolve", "compare")),
        Measured("restart", "peer: reading the orders over HTTP", middle["peer"], "s"),
        Measured("restart", "restart / peer", middle["all"] / middle["peer"], "times"),
    ]


# ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def durable_server() -> Generator[int]:
    """A PostgreSQL with its durable settings, on disk; yields its port."""
    with tempfile.TemporaryDirectory(prefix="torghut-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root the server runs as another user
        with EmbeddedServer.at(folder / "postgres").used(free_port()) as port:
            yield port


@contextmanager
def new_database(port: int, name: str) -> Generator[str]:
    """A migrated database of the server."""
    with psycopg.connect(plain(embedded_dsn(port)), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE bench_{name}".encode())
    dsn = embedded_dsn(port, f"bench_{name}")
    migrate(create_engine(dsn))
    yield dsn


def measured(case: str, dsn: str, given: argparse.Namespace) -> list[Measured]:
    """One case in its own database."""
    if case == "restart":
        return restart(dsn, given.rounds)
    symbols = [f"S{number:03d}" for number in range(given.symbols)]
    trading = 0 if case == "throughput" else round(given.symbols * SHARE)
    day = 390 - WARM_MINUTES
    paced = max(round(given.minutes * 60 * given.bars_per_second / given.symbols), 4)
    minutes = {"burst": given.bursts, "throughput": given.throughput, "memory": day if given.day else 100}
    count = minutes.get(case, paced)
    sessions = -(-(count + WARM_MINUTES) // 390)
    strategies = strategies_for(symbols, trading)
    whole = synthetic_tape(symbols, seed=1, first=FIRST, sessions=sessions)
    world = World(dsn, Tape(whole.bars[: (count + WARM_MINUTES) * len(symbols)], "1Min"), strategies)
    try:
        if case == "latency":
            return latency(world, count, given.bars_per_second)
        if case == "burst":
            return burst(world, count)
        if case == "throughput":
            return throughput(world, count, strategies)
        return memory(world, count)
    finally:
        world.close()


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--bars-per-second", type=float, default=500.0)
    parser.add_argument("--minutes", type=float, default=1.0, help="real minutes of paced bars")
    parser.add_argument("--bursts", type=int, default=40)
    parser.add_argument("--throughput", type=int, default=60, help="simulated minutes")
    parser.add_argument("--rounds", type=int, default=3, help="restarts")
    parser.add_argument("--day", action="store_true", help="memory over a whole session")
    given = parser.parse_args()
    found: list[Measured] = []
    loads = [os.getloadavg()[0]]
    with ExitStack() as stack:
        port = stack.enter_context(durable_server())
        for case in given.only:
            with new_database(port, case) as dsn:
                for each in measured(case, dsn, given):
                    found.append(each)
                    print(each.line(), flush=True)
            loads.append(os.getloadavg()[0])
    print(f"load of the machine's {os.cpu_count()} cores: {', '.join(f'{each:.1f}' for each in loads)}")
    if given.json is not None:
        rows = [{**asdict(each), "holds": each.holds} for each in found]
        given.json.write_text(json.dumps({"load": loads, "cores": os.cpu_count(), "measured": rows}, indent=2) + "\n")
    return 1 if any(each.holds is False for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
