"""The broker of ``torghut dev``: Kafka's protocol on this machine, and the order feed switched on over it.

It keeps what it holds in memory; the next start is a new incarnation of the topic for the feed, which knows its events
by their identity. A broker that the user names is used, and never started.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.launchers.tansu import TansuLauncher
from torghut_runtime.settings import Settings

PARTITIONS = 3


@contextmanager
def development_broker(settings: Settings, say: Callable[[str], None]) -> Generator[dict[str, str]]:
    """A broker with the feed's topics for as long as the block runs; yields the variables that point to it.

    Yields nothing where a broker is named already, or where the embedded one is not installed.

    Raises:
        UpstreamError: the embedded broker cannot be started.
    """
    if settings.order_feed_bootstrap_servers is not None:
        yield {}
        return
    try:
        launcher = TansuLauncher(settings.home / "broker")
    except UpstreamError as error:
        say(f"torghut    | the order feed stays off: {error}")
        yield {}
        return
    try:
        servers = launcher.start()
        admin: Any = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        topics = [NewTopic(topic, PARTITIONS, 1) for topic in settings.order_feed_topics]
        for future in admin.create_topics(topics).values():
            future.result(10)
        say(f"torghut    | the order feed's broker is ready on {servers}")
        yield {
            "TRADING_ORDER_FEED_ENABLED": "true",
            "TRADING_ORDER_FEED_BOOTSTRAP_SERVERS": servers,
            "TRADING_ORDER_FEED_AUTO_OFFSET_RESET": "earliest",
        }
    finally:
        launcher.stop()
