"""A driver as a process that may be told to die: ``feed_campaign_driver.py LABEL NTH``, settings from the environment.

It kills itself with SIGKILL when it passes the label for the n-th time; ``-`` never does. At the log's end it exits.
"""

import os
import signal
import sys

from torghut_runtime.order_feed.ingestor import OrderFeedIngestor
from torghut_runtime.order_feed.log import KafkaLog
from torghut_runtime.order_feed.report import Limits
from torghut_runtime.order_feed.session import ingest_engine
from torghut_runtime.settings import load_settings


def main(label: str, nth: int) -> None:
    left = nth

    def passes(passed: str) -> None:
        nonlocal left
        if passed == label:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    settings = load_settings()
    name = f"campaign-{os.getpid()}"
    driver = OrderFeedIngestor(settings, ingest_engine(settings.db_dsn), KafkaLog(settings, name), name, passes=passes)
    driver.ingest(Limits(until_end=label == "-"))
    driver.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
