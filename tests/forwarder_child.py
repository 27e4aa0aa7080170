"""A forwarder in a process of its own that can be told to die at a labelled point of an event's way.

Settings come from the environment as for ``torghut-runtime forward``; ``FORWARDER_KILL`` is ``label:count``: the
process kills itself with SIGKILL when it passes that point for the count-th time.
"""

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

from torghut_runtime.order_feed.forwarding import forwarding
from torghut_runtime.settings import load_settings
from torghut_runtime.trading_settings import load_trading_settings

LABELS = (
    "before_append",
    "after_append",
    "before_produce",
    "after_produce",
    "after_delivery",
    "after_removal",
    "backfill_read",
    "backfill_part",
)


def main() -> None:
    label, _, count = os.environ.get("FORWARDER_KILL", "").partition(":")
    passed: Counter[str] = Counter()

    def checkpoint(name: str) -> None:
        passed[name] += 1
        if name == label and passed[name] == int(count):
            os.kill(os.getpid(), signal.SIGKILL)

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings(), load_trading_settings()
    with forwarding(*settings, outbox_dir=Path(sys.argv[1]), checkpoint=checkpoint, longest_pause=0.2):
        print("forwarding", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
