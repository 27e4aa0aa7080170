"""Keys, ids and payloads: pure functions of what was decided."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from order_cases import intent

from torghut_runtime.orders.model import client_order_id, plain

BAR = datetime(2026, 2, 20, 14, 30, tzinfo=UTC)


def test_the_key_is_the_one_of_the_contract() -> None:
    key = client_order_id("paper", "intraday-tsmom-profit-v2", "NVDA", BAR, 0)
    assert key == "t1-jxfq6yvgjzia4pgtdd7unpskscwamdhgd2vuo4xvbqoja"
    assert len(key) == 48


def test_a_key_depends_on_the_moment_and_not_on_how_it_is_written() -> None:
    new_york = BAR.astimezone(timezone(timedelta(hours=-5)))
    assert client_order_id("paper", "s", "NVDA", new_york, 0) == client_order_id("paper", "s", "NVDA", BAR, 0)


def test_every_part_of_a_key_matters() -> None:
    keys = {
        client_order_id(account, strategy, symbol, bar, seq)
        for account in ("paper", "live")
        for strategy in ("a", "b")
        for symbol in ("NVDA", "BTC/USD")
        for bar in (BAR, BAR + timedelta(microseconds=1))
        for seq in (0, 1)
    }
    assert len(keys) == 32


def test_quantity_and_price_are_not_in_the_key() -> None:
    assert intent(qty=1, price=5).client_order_id == intent(qty=900, price=7).client_order_id


def test_a_payload_holds_decimal_text() -> None:
    order = intent(qty=1_000, order_type="limit", limit_price=Decimal("120.10"))
    assert order.terms.payload(order.client_order_id) == {
        "symbol": "AAPL",
        "qty": "1000",
        "side": "buy",
        "type": "limit",
        "time_in_force": "day",
        "client_order_id": order.client_order_id,
        "limit_price": "120.1",
    }
    assert "limit_price" not in intent().terms.payload("k")


@pytest.mark.parametrize(("number", "text"), [("1E+3", "1000"), ("0.50", "0.5"), ("-0", "0"), ("12", "12")])
def test_numbers_are_plain_text(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
