"""Resident memory over bars that trade."""

import gc
import os
import time
from pathlib import Path

from runtime_cases.figures import Measured
from runtime_cases.world import WARM_MINUTES, World


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(world: World, minutes: int) -> list[Measured]:
    """Minutes unpaced; the simulator forgets what has ended, whose memory is not the engine's."""
    world.warm()
    seen = [resident_mb()]
    for done in range(1, minutes + 1):
        world.take(world.arrive(WARM_MINUTES + done - 1), time.perf_counter())
        world.between()
        if done * 4 % minutes < 4:
            world.drain()
            world.metrics.clear()
            gc.collect()
            seen.append(resident_mb())
    shown = ", ".join(f"{each:.0f}" for each in seen)
    growth = 100 * (seen[-1] / seen[1] - 1)
    orders = len(world.broker.desk.book.listed(status="all", limit=1 << 62))
    bars = minutes * len(world.minutes[0][1])
    note = f"{shown} MB; {bars} bars, {orders} orders kept by the simulator too"
    return [Measured("memory", "growth from a quarter to the end", growth, "%", 5.0, note=note)]
