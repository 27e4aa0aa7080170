"""Forwarder, outbox, publisher and stream put together from the settings: what ``torghut-runtime forward`` runs."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torghut_runtime.errors import InputError
from torghut_runtime.order_feed.asked_broker import AlpacaBroker
from torghut_runtime.order_feed.forwarder import Forwarder
from torghut_runtime.order_feed.forwarder_metrics import ForwarderMetrics
from torghut_runtime.order_feed.log import connection_settings
from torghut_runtime.order_feed.outbox import Outbox
from torghut_runtime.order_feed.publisher import FLUSH_SECONDS, Checkpoint, Publisher, nothing
from torghut_runtime.order_feed.trade_stream import TradeStream
from torghut_runtime.settings import Settings
from torghut_runtime.trading_settings import TradingSettings

LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True)
class Recording:
    """A forwarder whose frames come from somebody else's connection."""

    forwarder: Forwarder
    metrics: ForwarderMetrics
    outbox: Outbox


@dataclass(frozen=True)
class Forwarding(Recording):
    """A forwarder with its own connection to the broker."""

    stream: TradeStream


def stream_url(broker_url: str) -> str:
    """Address of the ``trade_updates`` stream that belongs to a REST address."""
    scheme, _, rest = broker_url.partition("://")
    return f"{'wss' if scheme == 'https' else 'ws'}://{rest.rstrip('/').removesuffix('/v2')}/stream"


@contextmanager
def recording(
    settings: Settings,
    trading: TradingSettings,
    *,
    outbox_dir: Path | None = None,
    account_label: str | None = None,
    checkpoint: Checkpoint = nothing,
    flush_seconds: float = FLUSH_SECONDS,
) -> Generator[Recording]:
    """A forwarder that runs while the block does and is fed by the caller; leaving it flushes for so long at most.

    Raises:
        InputError: missing settings, or an outbox that cannot be used.
    """
    if settings.order_feed_bootstrap_servers is None:
        raise InputError("is needed to forward", field="TRADING_ORDER_FEED_BOOTSTRAP_SERVERS")
    broker = AlpacaBroker(trading)
    outbox = Outbox(outbox_dir or settings.forwarder_outbox_dir, settings.forwarder_outbox_max_bytes)
    metrics = ForwarderMetrics(outbox)
    publisher = Publisher(
        outbox, connection_settings(settings, "forwarder"), settings.order_feed_topics[0], metrics, checkpoint
    )
    forwarder = Forwarder(
        outbox=outbox,
        broker=broker,
        publisher=publisher,
        metrics=metrics,
        account_label=account_label or settings.account_label,
        checkpoint=checkpoint,
    )
    forwarder.start()
    try:
        yield Recording(forwarder, metrics, outbox)
    finally:
        forwarder.stop(flush_seconds)
        outbox.close()


@contextmanager
def forwarding(
    settings: Settings,
    trading: TradingSettings,
    *,
    outbox_dir: Path | None = None,
    account_label: str | None = None,
    checkpoint: Checkpoint = nothing,
    longest_pause: float = LONGEST_PAUSE_SECONDS,
) -> Generator[Forwarding]:
    """A forwarder that runs while the block does, with its own connection. Raises as :func:`recording`."""
    with recording(
        settings, trading, outbox_dir=outbox_dir, account_label=account_label, checkpoint=checkpoint
    ) as running:
        forwarder = running.forwarder
        stream = TradeStream(
            *trading.broker.keys,
            url=stream_url(trading.broker_url),
            on_update=forwarder.accept,
            on_listening=forwarder.connected,
            on_gone=forwarder.disconnected,
            longest_pause=longest_pause,
        )
        stream.start()
        try:
            yield Forwarding(forwarder, running.metrics, running.outbox, stream)
        finally:
            stream.stop()
