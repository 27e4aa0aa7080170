"""What trades in a benchmark: the trading thread's own objects over a database and a simulator, minute by minute."""

import threading
import time
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any

from engine_world import settings_of

from torghut_runtime.broker.in_process import InProcessBroker
from torghut_runtime.broker.protocol import Document
from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.server.documents import asset_document, clock_document
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.clock import SimulatedClock, moment_of
from torghut_runtime.collection import IdleCollector
from torghut_runtime.engine.core import Outside, TradingCore
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
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.orders.splits import Split
from torghut_runtime.risk.limits import Gate
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.lease import acquire
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve
from torghut_runtime.trading_settings import TradingSettings

SHARE = 0.05
"""Of the symbols trade."""
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
        self.answered = list[float]()
        """Seconds that each submit took the simulator."""

    def submit(self, payload: Document) -> Document:
        """Send an order."""
        began = time.perf_counter()
        try:
            return super().submit(payload)
        finally:
            self.answered.append(time.perf_counter() - began)

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
        self.board, self.collector = Board(), IdleCollector()
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
        self.board.connected(moment_of(self.broker.now))
        return LiveMarket(
            self.settings,
            board=self.board,
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
        """What the feed and the trading loop do with bars that have closed."""
        for bar in bars:
            self.board.minute_traded(bar.symbol, bar.open_ts)
        self.trader.on_time()
        self.trader.on_bars(bars, time.perf_counter() - due)
        self.core.cursors.processed(bars)

    def between(self) -> None:
        """What it does before the next item: order updates, cursors."""
        self.hear(self.clock.now_ns())
        self.core.cursors.write()
        self.core.sweep()
        self.collector.idle()

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
        self.collector.begin()

    def drain(self) -> None:
        """Wait until every recorded step and every event is stored."""
        while self.steps.waiting or self.events.writer.waiting:
            time.sleep(0.001)

    def close(self) -> None:
        """The end."""
        self.collector.end()
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
        keeps_stream=True,
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
