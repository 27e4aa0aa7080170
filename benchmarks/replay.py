"""How fast a replay is and how flat its memory stays, against the backtest of the same bars in the same run.

Run with ``uv run python benchmarks/replay.py [--json PATH] [--symbols N] [--sessions N] [--record]``. Times are CPU
seconds of this process after compilation; resident memory is read from ``/proc``.

* Replay: one-minute bars of ``--symbols`` symbols through engine and simulator under two strategies, every row streamed
  into a hash. Memory at a quarter, a half, three quarters and the end of the bars, beside that before the first bar;
  the target is growth of less than 5 % from the quarter to the end. Run again, the hashes must be equal.
* ``--record``: every step is made into a record as well, and thrown away.
* Peer: the same strategies over the same bars in the compiled simulation of research: features, account, costs, without
  orders at a broker. What no event-driven engine in Python comes near, and what a researcher would use.
"""

import argparse
import gc
import hashlib
import json
import time
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation import Window, prepare_market, simulate
from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape
from torghut_runtime.canonical import compact_json
from torghut_runtime.clock import moment_of
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.engine.replay import Replay
from torghut_runtime.market.bars import bars_from_frame
from torghut_runtime.market.signals import signals_from_bars
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve
from torghut_runtime.trading_settings import load_trading_settings

TARGET_GROWTH = 0.05
MEGABYTE = 1024
MACD = {"qty": 5.0, "buy_rsi_threshold": 60, "sell_rsi_threshold": 45}


def resident_kilobytes() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS")


class Hashed:
    """Rows as the command would write them, hashed; memory is read as bars pass."""

    def __init__(self, decisions_at: Sequence[int]) -> None:
        self.hashes = [hashlib.sha256() for _ in range(3)]
        self.memory: list[int] = []
        self.counts = [0, 0, 0]
        self._at = list(decisions_at)
        self._last_ns = 0

    def decision(self, row: dict[str, Any]) -> None:
        """Take a decision, and look at memory when its time has come."""
        self._take(0, row)
        at = int(row["decided_at"].timestamp())
        while self._at and at >= self._at[0]:
            self._at.pop(0)
            self.memory.append(resident_kilobytes())

    def order(self, row: dict[str, Any]) -> None:
        """Take an order."""
        self._take(1, row)

    def fill(self, row: dict[str, Any]) -> None:
        """Take a fill."""
        self._take(2, row)

    def _take(self, stream: int, row: dict[str, Any]) -> None:
        self.counts[stream] += 1
        self.hashes[stream].update(compact_json(row))


class Thrown:
    """A sink that keeps nothing."""

    is_full = False

    def __init__(self) -> None:
        self.steps = 0

    def take(self, steps: Sequence[StepRecord]) -> None:
        """Count."""
        self.steps += len(steps)


def strategies() -> list[BoundStrategy]:
    """A rule that trades now and then, and one that is always in or on its way out."""
    entries = [
        {"strategy_id": "macd", "strategy_type": "legacy_macd_rsi", "params": MACD},
        {
            "strategy_id": "hold",
            "strategy_type": "buy_and_hold",
            "params": {"exits": {"stop_pct": 0.004, "max_bars": 12}},
            "max_notional_per_trade": 1_000.0,
        },
    ]
    return [resolve(StrategyEntry.model_validate(each), None) for each in entries]


def replayed(tape: Tape, bound: list[BoundStrategy], *, record: bool) -> dict[str, Any]:
    """One replay."""
    times = sorted({bar.closes_at for bar in tape.bars})
    quarters = [times[len(times) * part // 4 - 1] // 10**9 for part in (1, 2, 3)]
    sink, thrown = Hashed(quarters), Thrown()
    recorder = Recorder("paper", thrown, mode="paper", adapter="simulator") if record else None
    gc.collect()
    before, began = resident_kilobytes(), time.process_time()
    replay = Replay(tape, bound, load_trading_settings(), cash=Decimal(10_000_000), recorder=recorder)
    done = replay.stream(sink)
    seconds = time.process_time() - began
    return {
        "seconds": seconds,
        "bars_per_second": done.bars / seconds,
        "rows_per_second": sum(sink.counts) / seconds,
        "decisions": sink.counts[0],
        "orders": sink.counts[1],
        "fills": sink.counts[2],
        "steps": thrown.steps,
        "memory_before_mb": before / MEGABYTE,
        "memory_mb": [kilobytes / MEGABYTE for kilobytes in [*sink.memory, resident_kilobytes()]],
        "state": done.state,
        "sha256": [each.hexdigest() for each in sink.hashes],
    }


def backtested(tape: Tape, bound: list[BoundStrategy]) -> dict[str, Any]:
    """The same bars through features and compiled simulation."""
    rows = [
        (bar.symbol, moment_of(bar.opens_at), bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in tape.bars
    ]
    names = ["symbol", "ts", "open", "high", "low", "close", "volume"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("ts").dt.cast_time_unit("us"))

    def once() -> Any:
        market = prepare_market(signals_from_bars(bars_from_frame(frame, "1Min")).frame)
        window = Window(market.sessions[0], market.sessions[-1])
        return simulate(market, bound, ResearchSettings(), window, 10_000_000.0, 0, close_out=False)

    once()
    began = time.process_time()
    found = once()
    seconds = time.process_time() - began
    return {"seconds": seconds, "bars_per_second": len(tape.bars) / seconds, "decisions": len(found.decisions)}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="How fast a replay is and how flat its memory stays.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    bound = strategies()
    symbols = [f"S{number:03d}" for number in range(given.symbols)]
    warm = synthetic_tape(symbols[:2], seed=1, first=date(2026, 1, 5))
    replayed(warm, bound, record=given.record)
    tape = synthetic_tape(symbols, seed=1, first=date(2026, 1, 5), sessions=given.sessions)
    first = replayed(tape, bound, record=given.record)
    second = replayed(tape, bound, record=given.record)
    peer = backtested(tape, bound)
    memory = first["memory_mb"]
    growth = memory[-1] / memory[0] - 1 if len(memory) > 1 else 0.0
    report = {
        "bars": len(tape.bars),
        "replay": first,
        "identical_again": first["sha256"] == second["sha256"],
        "growth_from_a_quarter": growth,
        "target_growth": TARGET_GROWTH,
        "peer": peer,
        "times_the_peer": first["seconds"] / peer["seconds"],
    }
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{report['bars']} bars, {first['decisions']} decisions, {first['orders']} orders, {first['fills']} fills")
    rates = f"{first['bars_per_second']:10.0f} bars/s  {first['rows_per_second']:.0f} rows/s"
    print(f"replay   {first['seconds']:8.2f} s  {rates}")
    print(f"backtest {peer['seconds']:8.2f} s  {peer['bars_per_second']:10.0f} bars/s  {peer['decisions']} decisions")
    shown = ", ".join(f"{each:.0f}" for each in memory)
    print(f"memory   {first['memory_before_mb']:.0f} MB before; {shown} MB at 1/4, 1/2, 3/4 and the end: {growth:+.1%}")
    print(f"the same bytes again: {'yes' if report['identical_again'] else 'NO'}")


if __name__ == "__main__":
    main()
