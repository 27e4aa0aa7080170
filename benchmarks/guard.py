"""Latency of the guard's decisions against PostgreSQL, with 10,000 and with 100,000 rows in the governance ledger.

Promise: p99 below 20 ms for a decision that is applied, denied, or only looked up, and flat in the size of the ledger.
The peer, in the same run, is the least that any recorded change costs: a transaction that locks one row, changes it and
appends to the ledger. Run: ``python benchmarks/guard.py [--decisions N]``; exit 1 when the promise is broken.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from guard_world import CANDIDATE, RUN, World, evaluation_bytes
from postgres import new_database, session_server

from torghut_assets.artifacts import ArtifactStore
from torghut_runtime.canonical import compact_json, sha256_hex
from torghut_runtime.storage.guard_tables import guard_candidates
from torghut_runtime.storage.ledger import append, lock_head, verify
from torghut_runtime.storage.tables import governance_ledger, governance_ledger_head

SIZES = (10_000, 100_000)
TARGET_P99_MS = 20.0
FLAT = 2.0
"""The larger ledger's median may be at most this many times the smaller one's, beside what the peer's grew."""
WARM_UP = 10


def grow(engine: sa.Engine, rows: int) -> None:
    """Fill the ledger up to ``rows`` with a chain that verifies."""
    now = datetime.now(UTC)
    with engine.begin() as connection:
        seq, last = lock_head(connection)
        while seq < rows:
            batch: list[dict[str, object]] = []
            for number in range(seq + 1, min(rows, seq + 5_000) + 1):
                content = {
                    "seq": number,
                    "kind": "operator_action",
                    "subject": f"filler-{number % 50}",
                    "at": now,
                    "actor": "bench",
                    "body": {"action": "filler", "number": number},
                }
                row_hash = sha256_hex(last.encode() + compact_json(content))
                batch.append({**content, "prev_hash": last, "hash": row_hash})
                last = row_hash
            connection.execute(sa.insert(governance_ledger), batch)
            seq += len(batch)
        connection.execute(sa.update(governance_ledger_head).values(seq=seq, hash=last))
    with engine.connect() as connection:
        assert verify(connection).reason is None


def timed(work: Callable[[], object], times: int, between: Callable[[], object] = lambda: None) -> list[float]:
    """Milliseconds of each call, after a few that warm up; what happens ``between`` calls is not counted."""
    taken: list[float] = []
    for number in range(times + WARM_UP):
        between()
        before = time.perf_counter()
        work()
        if number >= WARM_UP:
            taken.append((time.perf_counter() - before) * 1e3)
    return taken


def peer(engine: sa.Engine) -> Callable[[], object]:
    """The least that a recorded change costs."""

    def change() -> None:
        table = guard_candidates
        with engine.begin() as connection:
            connection.execute(sa.select(table).where(table.c.candidate_id == CANDIDATE).with_for_update()).one()
            connection.execute(sa.update(table).values(updated_at=sa.func.clock_timestamp()))
            append(connection, kind="operator_action", subject="peer", actor="bench", body={"action": "peer"})

    return change


def measure(world: World, times: int) -> dict[str, list[float]]:
    """Four kinds of work; live-ramp and continuous-monitoring are entered in turn, as a candidate that trades does."""
    world.controls()
    blob = world.artifacts.put(evaluation_bytes(label="bench"))
    other = {"live-ramp": "continuous-monitoring", "continuous-monitoring": "live-ramp"}

    def concluded() -> None:
        world.guard.record_result(CANDIDATE, RUN, None, "passed", blob_sha256=blob, actor="bench")

    def move() -> None:
        stage = turn.pop()
        turn.append(other[stage])
        decision = world.enter(stage)
        assert decision.applied, decision.reason

    turn = [other[world.state().active_stage or ""]]
    return {
        "peer: lock, update, append": timed(peer(world.engine), times),
        "check (read only)": timed(lambda: world.check("shadow-paper"), times),
        "denied and recorded": timed(lambda: world.enter("shadow-paper", run="run-000002"), times),
        "allowed, moved and recorded": timed(move, times, concluded),
    }


def main() -> int:
    """Measure, print, and say whether the promise is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=400, help="measured calls of each kind and size")
    times = parser.parse_args().decisions
    found: dict[str, dict[int, tuple[float, float]]] = {}
    with ExitStack() as stack:
        port = stack.enter_context(session_server())
        dsn = stack.enter_context(new_database(port))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        engine = sa.create_engine(dsn, connect_args={"options": "-c timezone=UTC"})
        stack.callback(engine.dispose)
        world = World(engine, ArtifactStore(Path(folder)))
        world.walk("live-ramp")
        for rows in SIZES:
            grow(engine, rows)
            for kind, taken in measure(world, times).items():
                quantiles = statistics.quantiles(taken, n=100)
                found.setdefault(kind, {})[rows] = (statistics.median(taken), quantiles[98])
    broken: list[str] = []
    peers = found["peer: lock, update, append"]
    print(f"{'':34}" + "".join(f"{rows:>12,} rows: p50, p99 ms" for rows in SIZES))
    for kind, by_size in found.items():
        print(f"{kind:34}" + "".join(f"{p50:18.2f} {p99:10.2f}" for p50, p99 in by_size.values()))
        small, large = by_size[SIZES[0]], by_size[SIZES[1]]
        if not kind.startswith("peer"):
            broken += [f"{kind}: p99 {p99:.1f} ms" for _, p99 in (small, large) if p99 >= TARGET_P99_MS]
            if large[0] > FLAT * max(small[0], small[0] * peers[SIZES[1]][0] / peers[SIZES[0]][0]):
                broken.append(f"{kind}: median {small[0]:.2f} ms grew to {large[0]:.2f} ms")
    print(json.dumps({kind: {str(rows): values for rows, values in sizes.items()} for kind, sizes in found.items()}))
    for each in broken:
        print(f"not kept: {each}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
