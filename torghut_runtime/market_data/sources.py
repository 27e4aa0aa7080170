"""Where market data come from, by the settings: the simulator's address, one that is given, or Alpaca's own."""

from torghut_runtime.broker.corporate_actions import CorporateActions
from torghut_runtime.market_data.history import History
from torghut_runtime.market_data.stream import DataStream, StreamEvents, Wanted
from torghut_runtime.trading_settings import BrokerAccess


def source_name(broker: BrokerAccess, account_label: str) -> str:
    """Name of a source of bars in cursors: account and feed."""
    return f"{account_label}:{broker.data_feed}"[:64]


def open_history(broker: BrokerAccess) -> History:
    """The client of history."""
    key, secret = broker.keys
    return History(key, secret, feed=broker.data_feed, url=_data_url(broker))


def open_announcements(broker: BrokerAccess) -> CorporateActions:
    """The client of announced splits."""
    return CorporateActions(broker, _data_url(broker))


def _data_url(broker: BrokerAccess) -> str | None:
    return broker.simulator_url if broker.adapter == "simulator" else broker.data_url


def open_stream(broker: BrokerAccess, events: StreamEvents, wanted: Wanted, longest_pause: float) -> DataStream:
    """The stream, not yet connected."""
    key, secret = broker.keys
    url: str | None = None
    if broker.adapter == "simulator" and broker.simulator_url is not None:
        scheme, _, rest = broker.simulator_url.partition("://")
        url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v2/{broker.data_feed}"
    return DataStream(
        key, secret, feed=broker.data_feed, url=url, events=events, wanted=wanted, longest_pause=longest_pause
    )
