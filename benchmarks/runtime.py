"""How fast the engine is: bar to order, bursts, throughput, restart, memory; each beside its target and a peer.

PostgreSQL runs on this machine with its durable settings. The trading thread's own objects (``TradingCore``: journal,
fold, limits, recording) are driven here as the trading loop drives them, on the tape's clock; the broker is the
simulator in the same process, whose own time is not counted, and over HTTP for the restart. Run with
``python benchmarks/runtime.py [--json PATH] [--only CASE ...] [--minutes N] [--bars-per-second N] [--day]``.

* ``latency``: bars of ``--symbols`` symbols one by one at 500/s, 5 % of them trade. From the moment a bar is due to the
  moment its order leaves, write-ahead commits included. Peer: the rows of those orders (decision, intent, step) written
  again to like tables at the same pace, in one transaction and one round trip each.
* ``burst``: the same bars, a whole minute at once: from its arrival to its last order, less the simulator's answers to
  those before it.
* ``throughput``: minutes as fast as they go, every bar asked of one strategy and recorded, nothing ordered; the end is
  when the last row is stored. Peers: features and compiled steps alone, and the COPY of the same rows alone.
* ``restart``: 10,000 orders, 200 of them open, 100 positions: restore, resolve, compare over HTTP. Peer: reading the
  same orders from the broker.
* ``memory``: resident memory over the bars of ``latency`` unpaced, at the quarters; with ``--day`` a whole session.

Kill switch to cancel-all is ``benchmarks/stops.py``. Exit 1 when a target is missed.
"""

import argparse
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


from runtime_cases.burst import burst
from runtime_cases.figures import Measured
from runtime_cases.latency import latency
from runtime_cases.memory import memory
from runtime_cases.restart import restart
from runtime_cases.servers import durable_server, new_database
from runtime_cases.throughput import throughput
from runtime_cases.world import FIRST, SHARE, WARM_MINUTES, World, strategies_for

from torghut_runtime.broker.simulator.tape import Tape, synthetic_tape

CASES = ("latency", "burst", "throughput", "restart", "memory")


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
