"""``torghut-runtime forward``: the broker's trade updates to Kafka, where no trading runtime does it."""

import logging
import signal
import threading
from pathlib import Path

import click

from torghut_runtime.command_line import examples, path_option


@click.command(epilog=examples("torghut-runtime forward", "torghut-runtime forward --outbox-dir var/outbox"))
@path_option("--outbox-dir", help="Directory of the outbox; TRADING_FORWARDER_OUTBOX_DIR when left out.")
@click.option("--account-label", help="Whose orders these are; TRADING_ACCOUNT_LABEL when left out.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=8182,
    show_default=True,
    help="Port of /metrics on 127.0.0.1; 0 for none.",
)
def forward(outbox_dir: Path | None, account_label: str | None, metrics_port: int) -> None:
    """Forward the account's trade updates to Kafka through an outbox on disk, until interrupted.

    For installations without a trading runtime only: the broker allows one connection per key. SIGTERM stops reading,
    flushes for up to 10 seconds and exits with 0; what is left stays in the outbox.
    """
    from torghut_runtime.addresses import metrics_server
    from torghut_runtime.order_feed.forwarding import forwarding
    from torghut_runtime.settings import load_settings
    from torghut_runtime.trading_settings import load_trading_settings

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()

    def interrupted(number: int, frame: object) -> None:
        del number, frame
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupted)
    settings = load_settings(), load_trading_settings()
    with forwarding(*settings, outbox_dir=outbox_dir, account_label=account_label) as running:
        if metrics_port:
            metrics_server(metrics_port, running.metrics.registry)
        click.echo("forwarding")
        stop.wait()
