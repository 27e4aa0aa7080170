"""A trader with a live market around it and the simulator in the same process: bars are given by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from engine_world import MONDAY, minute_tape, settings_of

from torghut_runtime.broker.in_process import InProcessBroker
from torghut_runtime.broker.protocol import Document
from torghut_runtime.broker.simulator.engine import SimulatedBroker
from torghut_runtime.broker.simulator.server.documents import asset_document, clock_document
from torghut_runtime.clock import SimulatedClock, nanoseconds_of
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.driver import StrategyDriver
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.trader import Trader
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.market.features import Bar
from torghut_runtime.market_data.board import Board
from torghut_runtime.market_data.broker_facts import AssetBook, CalendarGuard
from torghut_runtime.market_data.feature_gate import FeatureGate
from torghut_runtime.market_data.live_market import LiveMarket
from torghut_runtime.market_data.universe import Universe
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.journal import MemoryJournal, NoEvents
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.limits import Gate
from torghut_runtime.strategies.registry import BoundStrategy

_BELL = TradingCalendar().session_open(MONDAY)
assert _BELL is not None
BELL: datetime = _BELL
MINUTE = timedelta(minutes=1)


class SimulatedFacts:
    """What the simulator answers to questions about clock and assets, without a server."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def clock(self) -> Document:
        """``GET /v2/clock``."""
        return clock_document(self._broker)

    def asset(self, symbol: str) -> Document | None:
        """``GET /v2/assets/{symbol}``."""
        return asset_document(self._broker, symbol) if symbol in self._broker.market.symbols else None

    def assets(self) -> list[Document]:
        """``GET /v2/assets``."""
        return [asset_document(self._broker, symbol) for symbol in sorted(self._broker.market.symbols)]


class MarketWorld:
    """One account whose bars, quotes and halts are given by the test."""

    def __init__(self, *strategies: BoundStrategy, prices: Sequence[float] = (100.0,) * 30, **environment: str) -> None:
        self.settings = settings_of(**{"STATIC_SYMBOLS": "AAPL,MSFT", **environment})
        self.broker = SimulatedBroker(minute_tape({"AAPL": prices, "MSFT": prices}))
        self.frames: list[bytes] = []
        self.broker.on_trade_update(self.frames.append)
        self.clock = SimulatedClock(self.broker.now)
        self.board = Board()
        self.universe = Universe(self.settings.universe, self.clock)
        self.universe.refresh()
        self.gate = FeatureGate(self.settings.quality, strategies)
        facts = SimulatedFacts(self.broker)
        self.assets = AssetBook(facts)
        self.assets.refresh(["AAPL", "MSFT"])
        self.calendar = CalendarGuard(facts, self.clock)
        self.calendar.check()
        self.frozen: set[str] = set()
        self.market = LiveMarket(
            self.settings,
            board=self.board,
            universe=self.universe,
            gate=self.gate,
            assets=self.assets,
            calendar=self.calendar,
            is_frozen=self.frozen.__contains__,
        )
        self.journal = MemoryJournal()
        client = InProcessBroker(self.broker)
        stance = Stance(Gate())
        account = Portfolio(Decimal(100_000))
        tracker = OrderTracker(self.settings.mode.account_label, account)
        manager = OrderManager(
            journal=self.journal,
            events=NoEvents(),
            firewall=Firewall(client, stance.gate, RequestBudget(200, self.broker.now), self.clock),
            reader=client,
            tracker=tracker,
            clock=self.clock,
            max_retries=0,
        )
        self.trader = Trader(
            settings=self.settings,
            driver=StrategyDriver(strategies, observe=self.market.observe),
            account=AccountView(account, tracker, self.broker.settings.multiplier),
            manager=manager,
            journal=self.journal,
            stance=stance,
            clock=self.clock,
            market=self.market,
        )

    def move_to(self, moment: datetime) -> None:
        """Let time come to a moment."""
        self.broker.advance_to(nanoseconds_of(moment))
        self.clock.advance_to(max(nanoseconds_of(moment), self.clock.now_ns()))
        self.pump()

    def pump(self) -> None:
        """Deliver what the broker has sent."""
        while self.frames:
            frames, self.frames[:] = list(self.frames), []
            for frame in frames:
                self.trader.on_order_event(frame)

    def decide(self, *bars: Bar, after: float = 0.0) -> None:
        """Have bars decided so many seconds after the last one's close."""
        self.move_to(max(bar.event_ts for bar in bars) + timedelta(seconds=after))
        self.trader.on_bars(bars)
        self.pump()

    @property
    def refusals(self) -> list[list[str]]:
        """Reasons of every decision, in order; empty for one that was ordered."""
        return [list(decision.detail["risk_reasons"]) for decision in self.journal.decisions.values()]

    @property
    def intents(self) -> list[Any]:
        """Every intent, in order."""
        return [written.intent for written in self.journal.intents.values()]


def minute_bar(number: int, symbol: str = "AAPL", *, close: float = 100.0, **changes: Any) -> Bar:
    """The bar of a minute of Monday, counted from 0."""
    opens_at = BELL + number * MINUTE
    bar = Bar(symbol, "1Min", opens_at, opens_at + MINUTE, MONDAY, close, close, close, 1_000.0)
    return replace(bar, **changes)
