"""A process that trades, as far as its stops go: the real database, the simulator over HTTP, one trading thread."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from engine_world import settings_of
from event_sinks import StoredAtOnce
from order_cases import ACCOUNT, BAR, decision, intent

from torghut_runtime.broker.alpaca import AlpacaReader, AlpacaWriter
from torghut_runtime.broker.simulator.server.launch import RunningSimulator
from torghut_runtime.clock import SystemClock
from torghut_runtime.engine.account_view import AccountView
from torghut_runtime.engine.dispatcher import Dispatcher
from torghut_runtime.engine.flag_source import KILL_SWITCH, Switch, environment_values, merged
from torghut_runtime.engine.flatten import Flattener
from torghut_runtime.engine.market_view import PriceSnapshot
from torghut_runtime.engine.operator_desk import OperatorDesk
from torghut_runtime.engine.stance import Stance
from torghut_runtime.engine.stop_system import StopSystem
from torghut_runtime.orders.firewall import Firewall
from torghut_runtime.orders.manager import OrderManager, Outcome
from torghut_runtime.orders.portfolio import Portfolio
from torghut_runtime.orders.rate_limit import RequestBudget
from torghut_runtime.orders.tracker import OrderTracker
from torghut_runtime.risk.limits import Gate
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.lease import Lease, acquire
from torghut_runtime.storage.order_journal import PostgresJournal
from torghut_runtime.trading_settings import BrokerAccess, TradingSettings

PATIENCE = 30.0
NOWHERE = "postgresql://torghut:torghut@127.0.0.1:9/torghut"


class Flags:
    """A flag service that a test speaks for; without answers it is the environment alone."""

    def __init__(self, settings: TradingSettings) -> None:
        self.environment = environment_values(settings)
        self.answers: dict[str, bool] = {}
        self.degraded: tuple[str, ...] = ()

    def switch(self, setting: str) -> Switch:
        value, answer = self.environment[setting], self.answers.get(setting)
        if answer is None:
            return Switch(value, None, value)
        kind = "stop" if setting == KILL_SWITCH else "permission"
        return Switch(value, answer, merged(kind, value, answer, usable=True, last=None))


class StopWorld:
    """Leader, or standby with ``leads=False``; :meth:`close` ends it as a crash would, :meth:`settle` waits before."""

    def __init__(
        self,
        dsn: str,
        simulator: RunningSimulator,
        *,
        leads: bool = True,
        holder: str = "leader",
        database: str | None = None,
        writer: Callable[[AlpacaWriter], Any] = lambda writer: writer,
        ttl: float = 600.0,
        **settings: str,
    ) -> None:
        given = {"KILL_SWITCH_ENABLED": "false", "ENABLED": "true", **settings}
        self.settings = settings_of(**given)
        self.dsn, self.simulator = dsn, simulator
        self.clock = SystemClock()
        self.engine = create_engine(database or dsn)
        self.lease = self._leased(holder, ttl) if leads else None
        self.stance = Stance(Gate())
        self.reader = AlpacaReader(BrokerAccess(), simulator.url)
        budget = RequestBudget(100_000, self.clock.now_ns())
        self.may_submit = True
        self.firewall = Firewall(
            writer(AlpacaWriter(BrokerAccess(), simulator.url)),
            self.stance.gate,
            budget,
            self.clock,
            may_submit=lambda: self.may_submit,
        )
        self.flags = Flags(self.settings)
        self.portfolio = Portfolio(Decimal(100_000))
        self.tracker = OrderTracker(ACCOUNT, self.portfolio)
        self.stops = StopSystem(
            settings=self.settings,
            base_url=simulator.url,
            database=self.engine,
            stance=self.stance,
            firewall=self.firewall,
            reader=self.reader,
            flags=self.flags,
            clock=self.clock,
            lease=lambda: self.lease,
        )
        self.thread = ThreadPoolExecutor(1, "trading")
        self.stance.deliver = self.thread.submit
        self.number = 0
        self.missing: list[str] = []
        self.mismatched: set[str] = set()
        self.desk = OperatorDesk(
            stops=self.stops,
            is_leader=lambda: self.lease is not None,
            tracker=self.tracker,
            in_trading_thread=self.in_trading_thread,
            strategies=lambda: {"s1", "s2"},
            live_gate=lambda: self.missing,
            mismatched=lambda: self.mismatched,
        )
        if self.lease is not None:
            self._trades(self.lease)

    def _trades(self, lease: Lease) -> None:
        journal = PostgresJournal(self.dsn, ACCOUNT, "simulator", lease)
        self.manager = OrderManager(
            journal=journal,
            events=StoredAtOnce(self.dsn),
            firewall=self.firewall,
            reader=self.reader,
            tracker=self.tracker,
            clock=self.clock,
        )
        self.account = AccountView(self.portfolio, self.tracker, Decimal(2))
        self.dispatcher = Dispatcher(
            account_label=ACCOUNT,
            manager=self.manager,
            account=self.account,
            stance=self.stance,
            recheck=lambda each: self.stops.blocks.reasons(each.strategy_id, is_exit=each.is_exit),
            order_ttl_seconds=600,
            price_of=lambda symbol: PriceSnapshot(Decimal(100), self.clock.now(), "bar_close"),
            clock=self.clock,
            blocks=self.stops.blocks,
        )
        self.stops.serve(self.dispatcher)
        self.desk.flattener = Flattener(
            account_label=ACCOUNT,
            manager=self.manager,
            firewall=self.firewall,
            reader=self.reader,
            cancel_all=self.stops.cancel_all,
            clock=self.clock,
        )

    def start(self) -> "StopWorld":
        """Begin, and wait until what is stored is known."""
        self.stops.start()
        self.stops.account.see(self.reader.account())
        return self

    def restored(self) -> "StopWorld":
        """Wait for what is stored."""
        assert self.stops.keeper.restored.wait(PATIENCE)
        return self

    def close(self) -> None:
        """End."""
        self.stops.stop()
        self.thread.shutdown()

    def in_trading_thread(self, call: Callable[[], Any]) -> Any:
        """See :data:`~torghut_runtime.engine.operator_desk.InTradingThread`."""
        return self.thread.submit(call).result(PATIENCE)

    def place(self, symbol: str = "AAPL", *, strategy: str = "s1", **terms: Any) -> Outcome:
        """Place an order in the trading thread, each on a bar of its own."""
        self.number += 1
        bar_ts = BAR + timedelta(seconds=self.number)
        order = intent(bar_ts=bar_ts, symbol=symbol, strategy=strategy, **terms)
        return self.in_trading_thread(lambda: self.manager.place(decision(order, bar_ts), order))

    def rest(self, symbol: str = "AAPL", **terms: Any) -> Outcome:
        """Place a buy that nobody meets."""
        return self.place(symbol, qty=1, order_type="limit", limit_price=Decimal(1), **terms)

    def reconcile(self) -> None:
        """Take the broker's word on every order."""
        self.in_trading_thread(lambda: self.manager.take_all([*self.reader.orders(), *self.reader.open_orders()]))

    def open_orders(self) -> list[Mapping[str, Any]]:
        """What is open at the broker."""
        return list(self.reader.open_orders())

    def at_broker(self) -> Decimal:
        """Signed shares of AAPL that the broker holds."""
        return next((Decimal(each["qty"]) for each in self.reader.positions() if each["symbol"] == "AAPL"), Decimal(0))

    def rows(self, statement: str) -> list[Any]:
        """Rows of the database."""
        with connect(create_engine(self.dsn)) as connection:
            return list(connection.execute(sa.text(statement)).all())

    def _leased(self, holder: str, ttl: float) -> Lease:
        with connect(create_engine(self.dsn)) as connection:
            lease = acquire(connection, ACCOUNT, holder, timedelta(seconds=ttl))
        assert lease is not None
        return lease


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not become so in time"
        time.sleep(0.01)
