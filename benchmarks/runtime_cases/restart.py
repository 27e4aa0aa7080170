"""A new process over what the one before has left: restore, resolve, compare over HTTP; the slowest of some counts.

The first of them finds answers of the broker that the one before has not stored.
"""

import gc
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from engine_world import settings_of

from runtime_cases.figures import Measured
from runtime_cases.world import CASH, FIRST, FREE, Events, core_of
from torghut_runtime.broker.alpaca import AlpacaReader, AlpacaWriter
from torghut_runtime.broker.simulator.engine import BrokerSettings, SimulatedBroker
from torghut_runtime.broker.simulator.server.app import ServerSettings
from torghut_runtime.broker.simulator.server.launch import running_simulator
from torghut_runtime.broker.simulator.server.pacing import Pace
from torghut_runtime.broker.simulator.tape import synthetic_tape
from torghut_runtime.canonical import utc_text
from torghut_runtime.clock import SimulatedClock, moment_of
from torghut_runtime.engine.metrics import TradingMetrics
from torghut_runtime.engine.step_writer import StepWriter
from torghut_runtime.order_feed.ingest import ingest_values
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.trading_settings import BrokerAccess

HISTORY, OPEN, POSITIONS = 10_000, 200, 100


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
            steps = StepWriter(dsn, settings.mode.account_label, clock)
            events = Events(dsn, settings.mode.account_label)
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
    note = f"{open_orders} open, {held} positions, {found} differences, slowest of {rounds}"
    slowest = times["all"].index(max(times["all"]))
    shown = {name: values[slowest] for name, values in times.items()}
    return [
        Measured("restart", f"restart to reconciled, {HISTORY} orders", shown["all"], "s", 5.0, note=note),
        *(Measured("restart", f"of it {name}", shown[name], "s") for name in ("restore", "resolve", "compare")),
        Measured("restart", "peer: reading the orders over HTTP", shown["peer"], "s"),
        Measured("restart", "restart / peer", shown["all"] / shown["peer"], "times"),
    ]
