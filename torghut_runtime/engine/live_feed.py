"""The market feed as the engine asks for it: by symbol, timeframe and bars of history, on the engine's clock."""

from torghut_runtime.clock import Clock
from torghut_runtime.engine.bar_source import Emit, Wanted
from torghut_runtime.engine.simulated_time import FollowingClock
from torghut_runtime.market_data.closed_bars import ClosedBars
from torghut_runtime.market_data.feed import MarketFeed
from torghut_runtime.market_data.subscriptions import subscriptions_to
from torghut_runtime.trading_settings import TradingSettings


def live_feed(settings: TradingSettings, wanted: Wanted, clock: Clock, emit: Emit) -> MarketFeed:
    """A feed that has not started; a clock that follows a simulator hears the time of what comes first."""

    def hand_on(closed: ClosedBars) -> None:
        emit(closed)

    subscriptions = subscriptions_to(wanted)
    if isinstance(clock, FollowingClock):
        return MarketFeed(settings, subscriptions, clock, hand_on, hear_time=clock.hear_moment)
    return MarketFeed(settings, subscriptions, clock, hand_on)
