"""alpaca-py's websocket clients in a thread of their own, stopped at once when a test is done with them."""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import requests
from alpaca.data.live.stock import StockDataStream
from alpaca.trading.stream import TradingStream

from torghut_runtime.broker.simulator.server.launch import RunningSimulator


def covers(*methods: str) -> Callable[[Any], Any]:
    """Name the client methods that a test is about; the table in the documentation reads it."""
    del methods
    return lambda test: test


@contextmanager
def running(stream: TradingStream | StockDataStream) -> Generator[None]:
    """Run a stream while the block runs."""
    stream._reconnect_min_backoff = stream._reconnect_max_backoff = 0.05
    ready: Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def body() -> None:
        stop = asyncio.Event()
        task = asyncio.ensure_future(stream._run_forever())
        ready.put((asyncio.get_running_loop(), stop))
        await stop.wait()
        while not task.done():  # a cancellation can be swallowed by a receive that ends at the same moment
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        await stream.close()

    thread = threading.Thread(target=lambda: asyncio.run(body()), daemon=True)
    thread.start()
    loop, stop = ready.get(timeout=30)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)


def await_listening(simulator: RunningSimulator, stream: str, clients: int = 1) -> None:
    """Wait until so many clients listen to a stream of the simulator."""
    until(lambda: requests.get(f"{simulator.url}/sim/status", timeout=10).json()["listening"][stream] == clients)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("did not become so in time")
