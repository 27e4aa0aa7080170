"""Bars to orders: a minute's bars at once."""

import statistics
import time

from runtime_cases.figures import Measured
from runtime_cases.world import WARM_MINUTES, World


def burst(world: World, minutes: int) -> list[Measured]:
    """A minute's bars at once."""
    world.warm()
    last, broker, done, used, orders = list[float](), list[float](), list[float](), list[float](), list[int]()
    for minute in range(WARM_MINUTES, WARM_MINUTES + minutes):
        bars = world.arrive(minute)
        world.metrics.clear()
        world.client.answered.clear()
        began, cpu = time.perf_counter(), time.thread_time()
        world.take(bars, began)
        done.append((time.perf_counter() - began) * 1e3)
        used.append((time.thread_time() - cpu) * 1e3)
        world.between()
        if world.metrics.seconds["total"]:
            # The last order has left when the broker has answered those before it, which is not the engine's time.
            broker.append(sum(world.client.answered[:-1]) * 1e3)
            last.append(max(world.metrics.seconds["total"]) * 1e3 - broker[-1])
            orders.append(len(world.metrics.seconds["total"]))
        world.drain()
    size, count = len(world.minutes[0][1]), statistics.median(orders)
    return [
        Measured("burst", f"{size} bars to the last order, median", statistics.median(last), "ms", 60.0),
        Measured("burst", f"{size} bars to the last order, largest", max(last), "ms", note=f"of {len(last)}"),
        Measured("burst", "besides: the broker's answers before it, median", statistics.median(broker), "ms"),
        Measured("burst", f"{size} bars taken, median", statistics.median(done), "ms"),
        Measured("burst", "of it processor time of the thread, median", statistics.median(used), "ms"),
        Measured("burst", "orders of a burst, median", count, ""),
    ]
