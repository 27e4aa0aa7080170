"""A replay that streams its rows writes those of one that keeps them, and keeps nothing."""

import hashlib
from collections import Counter
from datetime import date
from typing import Any

import pytest
from engine_world import settings_of

from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape
from torghut_runtime.canonical import compact_json
from torghut_runtime.engine.replay import Replay
from torghut_runtime.engine.replay_records import CollectedRecords
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve


def strategies(timeframe: str) -> list[BoundStrategy]:
    exits = {"stop_pct": 0.002, "max_bars": 7}
    entries: list[dict[str, Any]] = [
        {"strategy_id": "hold", "strategy_type": "buy_and_hold", "params": {"exits": exits}},
        {
            "strategy_id": "macd",
            "strategy_type": "legacy_macd_rsi",
            "params": {"buy_rsi_threshold": 60, "sell_rsi_threshold": 45, "qty": 3.0},
        },
    ]
    return [
        resolve(
            StrategyEntry.model_validate({**each, "base_timeframe": timeframe, "max_notional_per_trade": 2_000.0}), None
        )
        for each in entries
    ]


def replay(tape: Tape, seed: int = 3) -> Replay:
    return Replay(tape, strategies(tape.timeframe), settings_of(), seed=seed)


TAPES = {
    "minutes": synthetic_tape(["AAPL", "MSFT", "SPY"], seed=2, first=date(2026, 1, 5)),
    "days": synthetic_tape(["AAPL", "MSFT"], seed=2, first=date(2026, 1, 5), sessions=60, timeframe="1Day"),
}


@pytest.mark.parametrize("name", TAPES)
def test_streamed_rows_are_the_kept_ones_and_the_account_ends_alike(name: str) -> None:
    kept = replay(TAPES[name]).run()
    streamed, world = CollectedRecords(), replay(TAPES[name])
    done = world.stream(streamed)
    assert len(kept.orders) > 20
    assert streamed.decisions == kept.decisions
    assert streamed.orders == kept.orders
    assert streamed.fills == kept.fills
    assert (done.cash, done.equity, done.state) == (kept.cash, kept.equity, kept.state)
    assert (done.decision_count, done.order_count, done.fill_count) == tuple(
        map(len, (kept.decisions, kept.orders, kept.fills))
    )
    assert (done.decisions, done.orders, done.fills) == ([], [], [])


def test_what_was_streamed_is_forgotten() -> None:
    world = replay(TAPES["minutes"])
    done = world.stream(CollectedRecords())
    assert done.order_count > 50
    assert (world.journal.decisions, world.journal.intents, world.journal.chains) == ({}, {}, {})
    assert list(world.tracker.orders()) == []


def test_fills_come_by_time_and_share_the_trace_of_their_decision() -> None:
    rows = CollectedRecords()
    replay(TAPES["minutes"]).stream(rows)
    times = [(row["filled_at"], row["execution_id"]) for row in rows.fills]
    assert [at for at, _ in times] == sorted(at for at, _ in times)
    traces = {row["decision_hash"]: row["trace_id"] for row in rows.decisions}
    orders = {row["client_order_id"]: row for row in rows.orders}
    for order in rows.orders:
        assert order["trace_id"] == traces[order["decision_hash"]]
    for fill in rows.fills:
        assert fill["trace_id"] == orders[fill["client_order_id"]]["trace_id"]
    assert max(Counter(row["execution_id"] for row in rows.fills).values()) == 1


class Hashed:
    """Rows as the command writes them, hashed."""

    def __init__(self) -> None:
        self.hashes = [hashlib.sha256() for _ in range(3)]

    def decision(self, row: dict[str, Any]) -> None:
        self.hashes[0].update(compact_json(row))

    def order(self, row: dict[str, Any]) -> None:
        self.hashes[1].update(compact_json(row))

    def fill(self, row: dict[str, Any]) -> None:
        self.hashes[2].update(compact_json(row))

    @property
    def digests(self) -> list[str]:
        return [each.hexdigest() for each in self.hashes]


def hashes_of(tape: Tape, seed: int) -> list[str]:
    rows = Hashed()
    replay(tape, seed).stream(rows)
    return rows.digests


@pytest.mark.parametrize(
    ("symbols", "sessions"), [(3, 1), pytest.param(20, 2, marks=pytest.mark.full, id="many symbols")]
)
def test_a_replay_repeated_has_the_same_bytes(symbols: int, sessions: int) -> None:
    tape = synthetic_tape([f"S{n:02d}" for n in range(symbols)], seed=8, first=date(2026, 1, 5), sessions=sessions)
    first = hashes_of(tape, 1)
    assert hashes_of(tape, 1) == first
    assert hashes_of(tape, 2)[0] == first[0]
    assert hashes_of(tape, 2)[1] != first[1]
