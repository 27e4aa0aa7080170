"""The parts of an engine, made from the settings and put together; nothing is started here.

What a part does stands with it. Starting, showing and stopping them is :mod:`torghut_runtime.engine.engine`'s business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from torghut_runtime.broker.alpaca import AlpacaReader, AlpacaWriter
from torghut_runtime.broker.simulator.server.pacing import Pace
from torghut_runtime.clock import Clock
from torghut_runtime.engine.control_records import ControlRecorder
from torghut_runtime.engine.core import Outside
from torghut_runtime.engine.evaluation import Evaluation
from torghut_runtime.engine.event_writer import EventWriter
from torghut_runtime.engine.flag_source import EnvironmentFlags, FlagSource
from torghut_runtime.engine.heartbeat import Heartbeat
from torghut_runtime.engine.inbox import Inbox
from torghut_runtime.engine.leadership import MARGIN_SECONDS, RENEW_SECONDS, Leadership
from torghut_runtime.engine.live_catalog import Features, LiveCatalog, Provenance, without_attestations
from torghut_runtime.engine.live_locks import LiveLocks
from torghut_runtime.engine.market_system import MarketSystem, features_of
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.probe import Probe
from torghut_runtime.engine.reconciler import BrokerReading
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.step_writer import StepWriter
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.engine.supervisor import Supervisor
from torghut_runtime.engine.trade_updates import TradeUpdates, forwards
from torghut_runtime.engine.trading_loop import Item, Surroundings, TradingLoop
from torghut_runtime.engine.watchdog import LIMIT_SECONDS, Watchdog, end_process
from torghut_runtime.market_data.closed_bars import ClosedBars
from torghut_runtime.market_data.sources import open_announcements
from torghut_runtime.order_feed.broker_answers import AlpacaHistory
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.risk.limits import Gate
from torghut_runtime.settings import Settings
from torghut_runtime.storage.database import create_engine, reading_engine
from torghut_runtime.storage.lease import TTL
from torghut_runtime.strategies.registry import StrategyRegistry
from torghut_runtime.trading_settings import TradingSettings


@dataclass(frozen=True)
class EngineOptions:
    """What others than the settings decide: other parts of the runtime, and tests."""

    registry: StrategyRegistry | None = None
    provenance: Provenance | None = None
    features: Features = features_of
    lease_ttl: timedelta = TTL
    renew_seconds: float = RENEW_SECONDS
    margin_seconds: float = MARGIN_SECONDS
    watchdog_seconds: float = LIMIT_SECONDS
    end_process: Callable[[], None] = end_process
    flags: FlagSource | None = None
    """The environment alone where none is given."""
    simulator_pace: Pace | None = None


@dataclass
class Parts:
    """The parts of a started engine."""

    supervisor: Supervisor
    watchdog: Watchdog
    leadership: Leadership
    firewall: Firewall
    loop: TradingLoop
    updates: TradeUpdates
    market: MarketSystem
    catalog: LiveCatalog
    inbox: Inbox[Item]
    stance: Stance
    probe: Probe
    clock: Clock
    stops: StopSystem
    steps: StepWriter
    events: EventWriter
    controls: ControlRecorder


class Host(Protocol):
    """The engine that the parts are made for."""

    settings: Settings
    trading: TradingSettings
    options: EngineOptions
    metrics: TradingMetrics
    holder: str
    heartbeats: dict[str, Heartbeat]

    def gate(self) -> Gate:
        """What the firewall asks before a request leaves."""
        ...

    def publish(self, loop: TradingLoop) -> None:
        """Show what the trading thread has come to."""
        ...

    def cancel_everything(self, name: str) -> None:
        """Cancel all orders: part ``name`` hangs."""
        ...

    def store_stall(self, name: str) -> None:
        """Store that part ``name`` hangs."""
        ...


def assembled(host: Host, clock: Clock) -> Parts:
    """Every part for this engine and clock."""
    settings, trading, options, metrics = host.settings, host.trading, host.options, host.metrics
    label, url = trading.mode.account_label, trading.broker_url
    database = create_engine(settings.db_dsn)
    impatient = reading_engine(settings.db_dsn)
    stance = Stance(Gate(reconciled=False))
    leadership = Leadership(
        impatient,
        label,
        host.holder,
        ttl=options.lease_ttl,
        renew_seconds=options.renew_seconds,
        margin_seconds=options.margin_seconds,
    )
    budget = RequestBudget(trading.broker.rate_limit_per_minute, 0)
    writer = AlpacaWriter(trading.broker, url)
    firewall = Firewall(writer, host.gate, budget, clock, may_submit=lambda: leadership.may_submit)
    stops = StopSystem(
        settings=trading,
        base_url=url,
        database=impatient,
        stance=stance,
        firewall=firewall,
        reader=AlpacaReader(trading.broker, url),
        flags=options.flags or EnvironmentFlags(trading),
        clock=clock,
        lease=lambda: leadership.lease,
    )
    reader = AlpacaReader(trading.broker, url)
    announcements = open_announcements(trading.broker)
    writer_of_steps = StepWriter(settings.db_dsn, label, clock)
    events = EventWriter(settings.db_dsn, label)
    outside = Outside(
        settings=trading,
        dsn=settings.db_dsn,
        firewall=firewall,
        reader=reader,
        flatten_reader=AlpacaReader(trading.broker, url),
        announcements=announcements,
        account_fault=stops.account.fault_of,
        stance=stance,
        clock=clock,
        metrics=metrics,
        recorder=Recorder(
            label,
            writer_of_steps,
            mode=trading.mode.mode,
            adapter=trading.broker.adapter,
            commit=settings.commit,
        ),
        events=events,
        keeps_stream=not forwards(settings),
        fills=AlpacaHistory(trading).fills,
    )
    inbox: Inbox[Item] = Inbox()
    inbox.refuse("order_updates", "bars")

    def deliver(call: Callable[[], None]) -> None:
        inbox.put("commands", call)

    stance.deliver = deliver
    reading = BrokerReading(AlpacaReader(trading.broker, url), announcements)
    updates = TradeUpdates(
        settings, trading, lambda value: inbox.put("order_updates", value), lambda: loop.reconciliation.soon()
    )

    def emit(closed: ClosedBars) -> None:
        inbox.put("bars", closed)

    market = MarketSystem(trading, clock, AlpacaReader(trading.broker, url), emit, metrics)
    provenance = options.provenance or without_attestations(required=trading.require_provenance)
    catalog = LiveCatalog(trading.strategies, options.features, clock, provenance, registry=options.registry)
    locks = LiveLocks(trading, impatient, stops, catalog, clock)
    evaluation = Evaluation(trading, clock, stops, market, locks, updates.feed_reasons)
    loop = TradingLoop(
        Surroundings(
            outside=outside,
            database=database,
            leadership=leadership,
            updates=updates,
            market=market,
            catalog=catalog,
            reading=reading,
            inbox=inbox,
            events=events,
            stops=stops,
            evaluation=evaluation,
            publish=host.publish,
        )
    )
    probe = Probe(impatient, AlpacaReader(trading.broker, url))
    supervisor = Supervisor(
        lambda name: stance.latch(f"component_failed:{name}", clock.now()), restarted=metrics.process.restarted
    )
    for name, body in (
        ("lease", leadership.run),
        ("trade_updates", updates.run),
        ("market_data", market.run),
        ("market_facts", market.ask),
        ("reconciler", reading.run),
        ("event_writer", events.run),
        ("catalog", catalog.run),
        ("probe", probe.run),
    ):
        supervisor.add(name, body)
    stops.cancel_all.took = metrics.all_cancelled
    watchdog = Watchdog(
        host.heartbeats,
        (host.cancel_everything, host.store_stall),
        limit_seconds=options.watchdog_seconds,
        end=options.end_process,
    )
    return Parts(
        supervisor=supervisor,
        watchdog=watchdog,
        leadership=leadership,
        firewall=firewall,
        loop=loop,
        updates=updates,
        market=market,
        catalog=catalog,
        inbox=inbox,
        stance=stance,
        probe=probe,
        clock=clock,
        stops=stops,
        steps=writer_of_steps,
        events=events,
        controls=ControlRecorder(stops.keeper, lambda: evaluation.control_inputs, clock),
    )
