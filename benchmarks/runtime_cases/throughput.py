"""Bars as fast as they go, judged, recorded and stored; nothing is ordered."""

import time
from collections.abc import Sequence

from runtime_cases.figures import Measured
from runtime_cases.world import WARM_MINUTES, World
from torghut_runtime.engine.driver import StrategyDriver
from torghut_runtime.engine.recording import Recorder
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.storage.database import connect, create_engine, transaction
from torghut_runtime.storage.decision_inputs import copy_steps
from torghut_runtime.strategies.registry import BoundStrategy


class Kept:
    """A sink that keeps the steps, for the peer."""

    is_full = False

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []

    def take(self, steps: Sequence[StepRecord]) -> None:
        """Keep."""
        self.steps.extend(steps)


def throughput(world: World, minutes: int, strategies: Sequence[BoundStrategy]) -> list[Measured]:
    """Minutes as fast as they go; nothing is ordered."""
    world.warm()
    span = world.minutes[WARM_MINUTES : WARM_MINUTES + minutes]
    count = sum(len(bars) for _, bars in span)
    began, used = time.perf_counter(), time.process_time()
    for at, bars in span:
        world.clock.advance_to(at)
        world.take(bars, time.perf_counter())
        world.between()
    taken = time.perf_counter() - began
    world.drain()
    stored, used = time.perf_counter() - began, time.process_time() - used
    driver = StrategyDriver(strategies)
    flat = world.trader._position  # noqa: SLF001 - the same question of the position
    for _, bars in world.minutes[:WARM_MINUTES]:
        for bar in bars:
            driver.push(bar, world.trader.seconds_to_close(bar), flat)
    began = time.perf_counter()
    verdicts = [driver.push(bar, world.trader.seconds_to_close(bar), flat) for _, bars in span for bar in bars]
    alone = time.perf_counter() - began
    kept = Kept()
    recorder = Recorder("again", kept, mode="paper", adapter="simulator")
    account = world.trader.account.document()
    for each in verdicts:
        price = world.market.price_now(each[0].bar.symbol, world.clock.now())
        assert price is not None
        with recorder.steps(each, 0.0, account, price, world.clock.now()):
            pass
    began = time.perf_counter()
    with connect(create_engine(world.dsn)) as connection:
        for start in range(0, len(kept.steps), 1_000):
            with transaction(connection):
                copy_steps(connection, kept.steps[start : start + 1_000])
    copied = time.perf_counter() - began
    rate, note = count / stored, f"{count} bars, {count / used:.0f} per CPU second"
    return [
        Measured("throughput", "bars judged, recorded and stored", rate, "bars/s", 10_000.0, at_least=True, note=note),
        Measured("throughput", "bars judged", count / taken, "bars/s"),
        Measured("throughput", "peer: features and steps alone", count / alone, "bars/s"),
        Measured("throughput", "peer: rows stored alone", len(kept.steps) / copied, "rows/s"),
        Measured("throughput", "peers one after the other / engine", (alone + copied) / stored, "times"),
        Measured("throughput", "records lost", float(world.steps.lost), "", 1.0),
    ]
