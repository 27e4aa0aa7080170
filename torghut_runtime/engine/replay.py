"""A session through the engine on the simulated clock: bars from a tape, orders to the broker simulator, no waiting.

The same trader, limits, order manager and fold as in a running process; only clock, broker and journal are other ones.
Equal bars, strategies, settings and seed give equal records, byte for byte. Reading files and writing results is the
command's business (:mod:`torghut_runtime.commands.replay`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Final

from torghut_runtime.broker.in_process import InProcessBroker
from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.market_event import MarketBar
from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.clock import SimulatedClock, moment_of
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.driver import StrategyDriver
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.replay_records import CollectedRecords, RecordingJournal, Records, RecordStream, Row
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.trader import Trader
from torghut_runtime.market.calendar import TradingCalendar, is_exchange_traded
from torghut_runtime.market.features import FEATURES, Bar
from torghut_runtime.market.timeframe import DAILY
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.journal import NoEvents
from torghut_runtime.orders.manager import OrderManager
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.orders.tracker import OrderTracker, TrackedOrder
from torghut_runtime.risk.limits import Gate
from torghut_runtime.strategies.registry import BoundStrategy
from torghut_runtime.trading_settings import TradingSettings

_NOT_IN_BARS: Final = frozenset({"vol_realized_w60s", "staleness_ms", "signal_quality_flag"})
_QUOTED: Final = frozenset({"spread", "imbalance_spread", "imbalance_bid_px", "imbalance_ask_px"})
_INTRADAY: Final = frozenset({"vwap_session", "vwap_w5m"})


@dataclass(frozen=True)
class Replayed:
    """What a replay did; the rows are plain values, in the order in which things happened, none where streamed."""

    bars: int
    cash: Decimal
    equity: Decimal
    state: str
    reasons: tuple[str, ...]
    decision_count: int
    order_count: int
    fill_count: int
    decisions: list[Row] = field(default_factory=list[Row])
    orders: list[Row] = field(default_factory=list[Row])
    fills: list[Row] = field(default_factory=list[Row])


def features_of_tape(tape: Tape) -> frozenset[str]:
    """The features that a tape's bars can have."""
    missing = set(_NOT_IN_BARS)
    if tape.timeframe == DAILY:
        missing |= _INTRADAY
    if all(math.isnan(bar.bid) for bar in tape.bars):
        missing |= _QUOTED
    return frozenset(FEATURES) - missing


class Replay:
    """One account, one tape."""

    def __init__(
        self,
        tape: Tape,
        strategies: Sequence[BoundStrategy],
        settings: TradingSettings,
        *,
        seed: int = 0,
        cash: Decimal = Decimal(100_000),
        recorder: Recorder | None = None,
    ) -> None:
        self._tape = tape
        self._broker = SimulatedBroker(tape, BrokerSettings(seed=seed, cash=cash))
        self._frames: list[bytes] = []
        self._broker.on_trade_update(self._frames.append)
        self._clock = SimulatedClock(self._broker.now)
        self._calendar = TradingCalendar()
        self.metrics = TradingMetrics()
        self.journal = RecordingJournal()
        self.stance = Stance(Gate())
        account = Portfolio(cash)
        client = InProcessBroker(self._broker)
        budget = RequestBudget(settings.broker.rate_limit_per_minute, self._broker.now)
        self.tracker = OrderTracker(settings.mode.account_label, account)
        manager = OrderManager(
            journal=self.journal,
            events=NoEvents(),
            firewall=Firewall(client, self.stance.gate, budget, self._clock),
            reader=client,
            tracker=self.tracker,
            clock=self._clock,
            max_retries=settings.execution.max_retries,
            metrics=self.metrics,
        )
        self.trader = Trader(
            settings=settings,
            driver=StrategyDriver(strategies, self.metrics),
            account=AccountView(account, self.tracker, self._broker.settings.multiplier),
            manager=manager,
            journal=self.journal,
            stance=self.stance,
            clock=self._clock,
            recorder=recorder,
            is_behind=lambda: recorder is not None and recorder.is_full,
        )

    def run(self) -> Replayed:
        """Play the tape to its end, and keep every row."""
        rows = CollectedRecords()
        done = self._play(RecordStream(self.journal, self.tracker, rows, self._still_open))
        return replace(done, decisions=rows.decisions, orders=rows.orders, fills=rows.fills)

    def stream(self, records: Records) -> Replayed:
        """Play the tape to its end and hand every row on; what was handed on is forgotten."""
        return self._play(RecordStream(self.journal, self.tracker, records, self._still_open, self._forget))

    def _still_open(self) -> frozenset[str]:
        return self.trader.dispatcher.open_decisions

    def _forget(self, order: TrackedOrder) -> None:
        self.tracker.drop(order)
        self._broker.desk.book.forget(order.order_id)
        self._broker.desk.activities.forget()

    def _play(self, stream: RecordStream) -> Replayed:
        for closes_at, group in groupby(self._tape.bars, key=lambda bar: bar.closes_at):
            bars = list(group)
            self._wait_until(closes_at)
            self._broker.step(len(bars))
            self._hear(closes_at)
            self.trader.on_time()
            self._pump()
            self.trader.on_bars([market_bar(bar, self._tape.timeframe, self._session_of(bar)) for bar in bars])
            self._pump()
            stream.advance(self._clock.now_ns())
        self._broker.step()
        self._hear(self._broker.now)
        stream.finish()
        portfolio = self.trader.portfolio
        return Replayed(
            decision_count=stream.decisions,
            order_count=stream.orders,
            fill_count=stream.fills,
            bars=len(self._tape.bars),
            cash=portfolio.cash,
            equity=portfolio.equity,
            state=self.stance.trading_state.state,
            reasons=self.stance.trading_state.codes,
        )

    def _wait_until(self, at: int) -> None:
        """Let everything happen that is due before ``at``."""
        while (due := self.trader.next_due_ns) is not None and due < at:
            self._broker.advance_to(max(due, self._clock.now_ns()))
            self._hear(self._broker.now)
            self.trader.on_time()
            self._pump()

    def _hear(self, at: int) -> None:
        self._clock.advance_to(max(at, self._clock.now_ns()))
        self._pump()

    def _pump(self) -> None:
        """Deliver the frames that the broker has sent, those that follow from them included."""
        while self._frames:
            frames, self._frames[:] = list(self._frames), []
            for frame in frames:
                self.trader.on_order_event(frame)

    def _session_of(self, bar: MarketBar) -> date | None:
        if not bar.in_session:
            return None
        opens_at = moment_of(bar.opens_at)
        return self._calendar.session_at(opens_at) if is_exchange_traded(bar.symbol) else opens_at.date()


def market_bar(bar: MarketBar, timeframe: str, session: date | None) -> Bar:
    """A bar of the tape as strategies see it."""
    return Bar(
        symbol=bar.symbol,
        timeframe=timeframe,
        open_ts=moment_of(bar.opens_at),
        event_ts=moment_of(bar.closes_at),
        session=session,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        bid=bar.bid,
        ask=bar.ask,
    )
