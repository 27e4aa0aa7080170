"""Bars to orders: one by one at their time, and what their commits alone cost."""

import statistics
import time

import psycopg

from runtime_cases.figures import Measured, percentile
from runtime_cases.servers import plain
from runtime_cases.world import SHARE, WARM_MINUTES, World

MOST_AGAIN = 500
"""Orders whose commits are tried again."""


def latency(world: World, minutes: int, rate: float) -> list[Measured]:
    """Bars one by one, each at its time."""
    world.warm()
    number, started, bars_taken = 0, time.perf_counter(), 0
    used = list[float]()
    for minute in range(WARM_MINUTES, WARM_MINUTES + minutes):
        # The simulated market moves while no bar is due: the broker's time is not the engine's.
        bars = world.arrive(minute)
        begin = max(started + number / rate, time.perf_counter())
        for index, bar in enumerate(bars):
            due = begin + index / rate
            while (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            cpu, ordered = time.thread_time(), len(world.metrics.seconds["total"])
            world.take([bar], due)
            if len(world.metrics.seconds["total"]) > ordered:
                used.append(time.thread_time() - cpu)
            world.between()
        number += len(bars)
        bars_taken += len(bars)
    seconds = time.perf_counter() - started
    parts = world.metrics.seconds
    totals, commits = parts["total"], parts["commit"]
    world.drain()
    peer = bare_commits(world.dsn, min(len(commits), MOST_AGAIN), 1.0 / (rate * SHARE))
    p99, bare = percentile(totals, 0.99) * 1e3, statistics.median(peer) * 1e3
    return [
        Measured("latency", "bar in to order out, p99", p99, "ms", 5.0, note=f"{len(totals)} orders"),
        Measured("latency", "bar in to order out, median", statistics.median(totals) * 1e3, "ms"),
        Measured("latency", "of it the intent's commit, median", statistics.median(commits) * 1e3, "ms"),
        Measured("latency", "of it the intent's commit, p99", percentile(commits, 0.99) * 1e3, "ms"),
        Measured("latency", "of it deciding, median", statistics.median(parts["decide"]) * 1e3, "ms"),
        Measured("latency", "processor time of a bar with its order, median", statistics.median(used) * 1e3, "ms"),
        Measured("latency", "waiting behind earlier bars, p99", percentile(parts["queue"], 0.99) * 1e3, "ms"),
        Measured("latency", "peer: commit of the same rows, median", bare, "ms"),
        Measured("latency", "peer: commit of the same rows, p99", percentile(peer, 0.99) * 1e3, "ms"),
        Measured("latency", "commit / peer", statistics.median(commits) * 1e3 / bare, "times"),
        Measured("latency", "bars", bars_taken / seconds, "bars/s", note=f"asked: {rate:g}"),
        Measured("latency", "bars that traded", 100 * len(commits) / bars_taken, "%"),
    ]


def bare_commits(dsn: str, most: int, every: float) -> list[float]:
    """Seconds of each transaction that writes the rows of one order again, to tables that are like their own.

    One every so many seconds, as orders come: on a machine that is idle in between the same commit takes several times
    what it takes in a row.
    """
    tables = {"trade_decisions": "d", "order_intents": "i", "decision_inputs": "s"}
    with psycopg.connect(plain(dsn), autocommit=True) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE again_{table} (LIKE {table} INCLUDING ALL)".encode())
        rows = connection.execute(
            """SELECT d::text, i::text, s::text FROM order_intents i
            JOIN trade_decisions d ON d.id = i.trade_decision_id
            JOIN decision_inputs s ON (s.strategy_id, s.symbol, s.bar_ts) = (d.strategy_id, d.symbol, d.bar_ts)
            ORDER BY i.created_at DESC LIMIT %s""",
            [most],
        ).fetchall()
        seconds: list[float] = []
        for row in rows:
            time.sleep(every)
            began = time.perf_counter()
            with connection.transaction(), connection.pipeline():
                for table, text in zip(tables, row, strict=True):
                    insert = f"INSERT INTO again_{table} OVERRIDING SYSTEM VALUE SELECT (%s::again_{table}).*"
                    connection.execute(insert.encode(), [text], prepare=True)
            seconds.append(time.perf_counter() - began)
    return seconds
