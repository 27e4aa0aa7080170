"""Room under caps: what is used up is exactly what the limits refuse."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from engine_world import settings_of
from risk_cases import EXPOSURE

from torghut_runtime.risk.limits import Entry, Exposure, Limits, entry_reasons
from torghut_runtime.risk.room import caps

CALM = replace(EXPOSURE, buying_power=Decimal(100_000))
ONE_SHARE = Entry("buy", Decimal(1), Decimal(1), average_daily_volume=Decimal(1_000_000))


def used_up(exposure: Exposure | None, **environment: str) -> set[str]:
    return {cap.code for cap in caps(Limits.of(settings_of(**environment)), exposure) if cap.is_used_up}


def changed(**fields: Any) -> Exposure:
    return replace(CALM, **fields)


@pytest.mark.parametrize(
    ("environment", "exposure", "code"),
    [
        ({}, CALM, None),
        ({"MAX_NOTIONAL_PER_TRADE": "0"}, CALM, "max_notional_exceeded"),
        ({"PORTFOLIO_MAX_POSITIONS": "3"}, changed(symbols=3), "max_positions_exceeded"),
        ({"PORTFOLIO_MAX_POSITIONS": "3"}, changed(symbols=2), None),
        ({"PORTFOLIO_MAX_GROSS_EXPOSURE": "500"}, changed(gross=Decimal(500)), "gross_exposure_exceeded"),
        ({"PORTFOLIO_MAX_GROSS_EXPOSURE": "500"}, changed(gross=Decimal(499)), None),
        ({"PORTFOLIO_MAX_NET_EXPOSURE": "500"}, changed(net=Decimal(500)), "net_exposure_exceeded"),
        ({"MAX_ORDERS_PER_MINUTE": "2"}, changed(orders_last_minute=2), "order_rate_exceeded"),
        ({"MAX_OPEN_ORDERS": "2"}, changed(open_orders=2), "max_open_orders_exceeded"),
        ({"MAX_OPEN_ORDERS": "2"}, changed(open_orders=1), None),
        ({}, changed(buying_power=Decimal(0)), "insufficient_buying_power"),
        ({"MAX_DAILY_LOSS": "400"}, changed(equity=Decimal(99_600)), "daily_loss_limit_reached"),
        ({"MAX_DAILY_LOSS": "400"}, changed(equity=Decimal(99_601)), None),
        ({}, changed(high_water_mark=Decimal(110_000)), "max_drawdown_exceeded"),
        ({}, changed(high_water_mark=Decimal(108_000)), None),
    ],
)
def test_a_cap_is_used_up_where_the_limits_refuse_one_share(
    environment: dict[str, str], exposure: Exposure, code: str | None
) -> None:
    assert used_up(exposure, **environment) == ({code} if code else set())
    assert entry_reasons(ONE_SHARE, exposure, Limits.of(settings_of(**environment))) == ([code] if code else [])


def test_without_an_account_only_caps_of_zero_are_known_to_bind() -> None:
    assert used_up(None) == set()
    assert used_up(None, PORTFOLIO_MAX_GROSS_EXPOSURE="0") == {"gross_exposure_exceeded"}
    assert used_up(None, PORTFOLIO_MAX_GROSS_EXPOSURE="1") == set()


def shown(exposure: Exposure | None = CALM, **environment: str) -> dict[str, tuple[Decimal, Decimal | None]]:
    """Value and room by variable."""
    return {cap.source: (cap.value, cap.room) for cap in caps(Limits.of(settings_of(**environment)), exposure)}


def test_a_cap_is_named_by_its_variable_with_value_and_room() -> None:
    found = caps(Limits.of(settings_of(MAX_OPEN_ORDERS="2")), changed(open_orders=1))
    (cap,) = [each for each in found if each.source == "TRADING_MAX_OPEN_ORDERS"]
    assert cap.document == {
        "code": "max_open_orders_exceeded",
        "source": "TRADING_MAX_OPEN_ORDERS",
        "value": Decimal(2),
        "room": Decimal(1),
    }


@pytest.mark.parametrize(
    ("amount", "share", "source", "value"),
    [
        ("2999", "0.03", "TRADING_MAX_DAILY_LOSS", 2_999),
        ("3001", "0.03", "TRADING_MAX_DAILY_LOSS_PCT_EQUITY", 3_000),
        ("", "0.01", "TRADING_MAX_DAILY_LOSS_PCT_EQUITY", 1_000),
    ],
)
def test_of_two_variables_for_one_cap_the_one_that_binds_is_named(
    amount: str, share: str, source: str, value: int
) -> None:
    named = {name: each for name, each in shown(MAX_DAILY_LOSS=amount, MAX_DAILY_LOSS_PCT_EQUITY=share).items()
             if "LOSS" in name}  # fmt: skip
    assert named == {source: (value, value)}


def test_a_cap_that_is_not_set_is_not_shown() -> None:
    assert "TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE" not in shown()
    assert shown(PORTFOLIO_MAX_GROSS_EXPOSURE="500")["TRADING_PORTFOLIO_MAX_GROSS_EXPOSURE"] == (500, 500)
