"""Fills that the stream of order updates did not bring: asked for while the engine trades, without Kafka.

What is compared are the rows of ``order_fills`` and the broker's activities.
"""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import requests
from alpaca_streams import until
from engine_world import settings_of
from live_engine import KEYS, MANY, Desk, desk, desks, entry, held, running
from simulator_fixtures import control, step

from torghut_runtime.engine.engine import Engine
from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.broker_answers import AlpacaHistory

__all__ = ["desk", "desks"]

Fill = tuple[str, Decimal, Decimal]
"""Order, quantity, price."""
UNTOLD = {"method": "GET", "path": "/v2/account/activities/FILL", "status": 500, "count": 100_000}
"""The broker tells no fills."""
GONE = {"stream": "trading", "seconds": 600}


def told(desk: Desk) -> list[Fill]:
    """Fills that the broker remembers."""
    answer = requests.get(
        f"{desk.simulator.url}/v2/account/activities", {"activity_types": "FILL"}, headers=KEYS, timeout=60
    ).json()
    return sorted((each["order_id"], Decimal(each["qty"]), Decimal(each["price"])) for each in answer)


def stored(desk: Desk, engine: Engine) -> list[Fill]:
    """Fills that count here."""
    desk.stored(engine)
    rows = desk.rows("SELECT alpaca_order_id, qty, price FROM order_fills WHERE state = 'counted'")
    return sorted((row.alpaca_order_id, row.qty, row.price) for row in rows)


def terms(desk: Desk) -> list[int]:
    return [row.fencing_token for row in desk.rows("SELECT fencing_token FROM runtime_lease")]


@pytest.fixture
def trading(desk: Desk) -> Engine:
    """Buys with every bar; each order is filled in three parts."""
    desk.write(entry(enter_at=1, until=60, pyramid=True))
    engine = desk.ready(desk.engine(**MANY))
    control(desk.simulator, partial_fill={"probability": 1, "parts": 3})
    desk.step(engine, 2)
    return engine


def away(desk: Desk, engine: Engine, minutes: int = 7) -> None:
    """The stream is gone, longer than the overlap of what is asked for; positions follow the broker's all the same."""
    control(desk.simulator, disconnect=[GONE])
    until(lambda: not running(engine).updates.listening)
    desk.step(engine, minutes)


def refused(desk: Desk) -> bool:
    return desk.simulator.call(lambda broker: broker.now < broker.trade_updates.refused_until)


def back(desk: Desk, engine: Engine) -> None:
    """Time goes on until the stream is there again."""
    while refused(desk):
        desk.step(engine)
    until(lambda: running(engine).updates.listening)
    desk.step(engine)


def test_what_was_filled_while_the_stream_was_away_is_known_fill_by_fill_within_the_term(
    desk: Desk, trading: Engine
) -> None:
    term = terms(desk)
    away(desk, trading)
    back(desk, trading)
    until(lambda: stored(desk, trading) == told(desk))
    assert len(told(desk)) > 3 * 7
    assert held(trading) == desk.held()
    assert terms(desk) == term


def test_a_mute_stream_keeps_no_fill_away(desk: Desk, trading: Engine) -> None:
    control(desk.simulator, mute=[GONE])
    desk.step(trading, 7)
    until(lambda: stored(desk, trading) == told(desk))
    assert len(told(desk)) > 3 * 7


def test_a_broker_that_does_not_tell_fills_ends_no_term_and_is_asked_again(desk: Desk, trading: Engine) -> None:
    term = terms(desk)
    control(desk.simulator, http_errors=[UNTOLD])
    away(desk, trading)
    back(desk, trading)
    sent = len(desk.orders())
    desk.step(trading, 2)
    assert len(desk.orders()) == sent + 2, "it goes on trading"
    until(lambda: "missing fills" in str(trading.status()["last_error"]))
    assert len(stored(desk, trading)) < len(told(desk))
    control(desk.simulator, http_errors=[])
    desk.step(trading)
    until(lambda: stored(desk, trading) == told(desk))
    assert terms(desk) == term


def test_a_request_for_fills_that_is_refused_is_not_silently_made_again(desk: Desk) -> None:
    control(desk.simulator, http_errors=[{**UNTOLD, "status": 429, "count": 1}])
    history = AlpacaHistory(settings_of(SIMULATOR_URL=desk.simulator.url))
    now = datetime.now(UTC)
    with pytest.raises(UpstreamError):
        list(history.fills(now, now))
    assert list(history.fills(now, now)) == []


def test_the_next_process_asks_as_far_back_as_fills_are_missing(desk: Desk, trading: Engine) -> None:
    control(desk.simulator, http_errors=[UNTOLD])
    away(desk, trading)
    trading.stop()
    control(desk.simulator, http_errors=[])
    while refused(desk):
        step(desk.simulator)
    second = desk.ready(desk.engine(**MANY))
    until(lambda: stored(desk, second) == told(desk))
    assert len(told(desk)) > 3 * 7
