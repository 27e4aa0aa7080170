"""Whether the server was told to end: a stream that never ends by itself asks, or the server waits for it for ever.

Uvicorn ends its connections before the application's shutdown begins, so the signal is the only early word.
"""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_told = threading.Event()


def is_closing() -> bool:
    """Whether SIGTERM or SIGINT came."""
    return _told.is_set()


@contextmanager
def told_by_signals() -> Generator[None]:
    """Listen beside the handlers that the server has set; only the main thread may."""
    _told.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}

    def tell(number: int, frame: FrameType | None) -> None:
        _told.set()
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for each in (signal.SIGTERM, signal.SIGINT):
        before[each] = signal.getsignal(each)
        signal.signal(each, tell)
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is tell:
                signal.signal(each, handler)
