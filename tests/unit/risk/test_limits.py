"""Every cap on both sides of its threshold, by reason code."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from risk_cases import entry, exposure, limits

from torghut_runtime.risk.limits import Gate, MarketView, drawdown, entry_reasons, gate_reasons, market_reasons

Changes = dict[str, Any]
NONE: Changes = {}


@pytest.mark.parametrize(
    ("reason", "cap", "at", "beyond"),
    [
        ("qty_below_min", NONE, {"entry": {"qty": 1}}, {"entry": {"qty": 0}}),
        ("qty_below_min", NONE, {"entry": {"qty": 2, "min_qty": 2}}, {"entry": {"qty": 1, "min_qty": 2}}),
        ("min_notional_not_met", {"min_notional_per_trade": 1_000}, NONE, {"entry": {"qty": 9}}),
        ("max_notional_exceeded", {"max_notional_per_trade": 1_000}, NONE, {"entry": {"qty": 11}}),
        ("max_notional_exceeded", {"max_notional_per_trade": 0}, None, NONE),
        (
            "max_notional_exceeded",
            {"max_notional_per_trade": 1_000},
            {"entry": {"strategy_notional_cap": 5_000}},
            {"entry": {"strategy_notional_cap": 999}},
        ),
        (
            "max_notional_exceeded",
            {"notional_per_position": 5_000},
            {"exposure": {"strategy_symbol": 4_000}},
            {"exposure": {"strategy_symbol": 4_001}},
        ),
        (
            "max_position_pct_exceeded",
            {"max_position_pct": "0.05"},
            {"exposure": {"strategy_symbol": 4_000}},
            {"exposure": {"strategy_symbol": 4_001}},
        ),
        (
            "symbol_notional_exceeded",
            {"max_notional_per_symbol": 5_000},
            {"exposure": {"symbol_net": 4_000}},
            {"exposure": {"symbol_net": 4_001}},
        ),
        (
            "max_positions_exceeded",
            {"max_positions": 3},
            {"exposure": {"symbols": 2}},
            {"exposure": {"symbols": 3}},
        ),
        (
            "max_positions_exceeded",
            {"max_positions": 3},
            {"exposure": {"symbols": 3, "in_symbol": True}},
            {"exposure": {"symbols": 3}},
        ),
        (
            "shorts_not_allowed",
            {"allow_shorts": True},
            {"entry": {"side": "sell", "opens_short": True}},
            {"limits": {"allow_shorts": False}, "entry": {"side": "sell", "opens_short": True}},
        ),
        (
            "participation_exceeds_max",
            NONE,
            {"entry": {"average_daily_volume": 100}},
            {"entry": {"average_daily_volume": "99.9"}},
        ),
        ("participation_exceeds_max", NONE, None, {"entry": {"qty": 2_000, "average_daily_volume": 1_000}}),
        (
            "adv_unavailable",
            {"participation_is_explicit": True},
            {"entry": {"average_daily_volume": 1_000}},
            {"entry": {"average_daily_volume": None}},
        ),
        ("insufficient_buying_power", NONE, {"exposure": {"buying_power": 1_000}}, {"exposure": {"buying_power": 999}}),
        (
            "gross_exposure_exceeded",
            {"max_gross": 50_000},
            {"exposure": {"gross": 49_000}},
            {"exposure": {"gross": 49_001}},
        ),
        (
            "gross_exposure_exceeded",
            {"max_gross": 90_000, "max_gross_pct": "0.5"},
            {"exposure": {"gross": 49_000}},
            {"exposure": {"gross": 49_001}},
        ),
        ("net_exposure_exceeded", {"max_net": 9_000}, {"exposure": {"net": 8_000}}, {"exposure": {"net": 8_001}}),
        (
            "net_exposure_exceeded",
            {"max_net_pct": "0.09"},
            {"exposure": {"net": -50_000}},
            {"exposure": {"net": 50_000}},
        ),
        (
            "order_rate_exceeded",
            NONE,
            {"exposure": {"orders_last_minute": 59}},
            {"exposure": {"orders_last_minute": 60}},
        ),
        (
            "order_rate_exceeded",
            NONE,
            {"exposure": {"orders_in_symbol_last_minute": 5}},
            {"exposure": {"orders_in_symbol_last_minute": 6}},
        ),
        ("max_open_orders_exceeded", NONE, {"exposure": {"open_orders": 49}}, {"exposure": {"open_orders": 50}}),
        (
            "max_open_orders_exceeded",
            NONE,
            {"exposure": {"open_orders_in_symbol": 1}},
            {"exposure": {"open_orders_in_symbol": 2}},
        ),
        (
            "daily_loss_limit_reached",
            NONE,
            {"exposure": {"equity": "97000.01"}},
            {"exposure": {"equity": 97_000}},
        ),
        (
            "daily_loss_limit_reached",
            {"max_daily_loss": 400},
            {"exposure": {"equity": "99600.01"}},
            {"exposure": {"equity": 99_600}},
        ),
        (
            "max_drawdown_exceeded",
            NONE,
            {"exposure": {"equity": 92_001, "opening_equity": 92_001}},
            {"exposure": {"equity": 92_000, "opening_equity": 92_000}},
        ),
        (
            "cooldown_active",
            {"cooldown_seconds": 60},
            {"exposure": {"seconds_since_entry": 60.0}},
            {"exposure": {"seconds_since_entry": 59.999}},
        ),
        (
            "precheck_opposite_side_open_order",
            NONE,
            NONE,
            {"exposure": {"opposite_order_open": True}},
        ),
    ],
)
def test_a_cap_holds_from_its_threshold_on(reason: str, cap: Changes, at: Changes | None, beyond: Changes) -> None:
    def judged(changes: Changes) -> list[str]:
        return entry_reasons(
            entry(**changes.get("entry", {})),
            exposure(**changes.get("exposure", {})),
            limits(**{**cap, **changes.get("limits", {})}),
        )

    assert at is None or judged(at) == []
    assert judged(beyond) == [reason]


def test_a_larger_short_counts_against_the_symbol() -> None:
    found = entry_reasons(
        entry(side="sell", qty=50, opens_short=True),
        exposure(symbol_net=-4_000, in_symbol=True),
        limits(max_notional_per_symbol=5_000, allow_shorts=True),
    )
    assert found == ["symbol_notional_exceeded"]


def test_all_reasons_are_collected_in_the_order_of_the_contract() -> None:
    found = entry_reasons(
        entry(qty=2_000, average_daily_volume=1_000),
        exposure(buying_power=5, open_orders=50),
        limits(max_notional_per_trade=1_000, cooldown_seconds=0),
    )
    assert found == [
        "max_notional_exceeded",
        "participation_exceeds_max",
        "insufficient_buying_power",
        "max_open_orders_exceeded",
    ]


def test_four_hundred_dollars_of_a_hundred_thousand_are_a_small_drawdown() -> None:
    assert drawdown(Decimal(99_600), Decimal(100_000)) == Decimal("0.004")
    assert drawdown(Decimal(100_001), Decimal(100_000)) == 0
    assert drawdown(Decimal(5), Decimal(0)) == 0


@pytest.mark.parametrize(
    ("change", "reason", "stops_exits"),
    [
        ({"trading_enabled": False}, "trading_disabled", True),
        ({"kill_switch": True}, "kill_switch_enabled", True),
        ({"state": "REDUCING"}, "state_reducing", False),
        ({"state": "HALTED"}, "state_halted", True),
        ({"reconciled": False}, "not_reconciled", True),
        ({"lease_held": False}, "lease_not_held", True),
        ({"account_matches": False}, "account_mismatch", True),
        ({"backpressure": True}, "backpressure", False),
    ],
)
def test_a_stop_refuses_entries_and_lets_exits_go_where_the_contract_does(
    change: Changes, reason: str, stops_exits: bool
) -> None:
    gate = Gate(**change)
    assert gate_reasons(gate, is_exit=False) == [reason]
    assert gate_reasons(gate, is_exit=True) == ([reason] if stops_exits else [])
    assert gate_reasons(Gate(), is_exit=False) == []


MARKET = MarketView(bar_age=60.0, bar_max_age=70.0, reference_price=Decimal(100), order_price=Decimal(100))


@pytest.mark.parametrize(
    ("good", "bad", "reason", "stops_exits"),
    [
        (NONE, {"is_open": False}, "market_closed", False),
        (NONE, {"calendar_agrees": False}, "calendar_broker_mismatch", False),
        (NONE, {"halted": True}, "symbol_halted", True),
        (NONE, {"frozen": True}, "symbol_frozen", True),
        ({"bar_age": 70.0}, {"bar_age": 70.001}, "signal_stale", False),
        (NONE, {"trades": False}, "signal_stale", False),
        (NONE, {"reference_price": None}, "missing_price", False),
        (NONE, {"reference_stale": True}, "price_stale", False),
        ({"order_price": Decimal(102)}, {"order_price": Decimal("102.01")}, "price_collar_exceeded", False),
        ({"order_price": Decimal(98)}, {"order_price": Decimal("97.99")}, "price_collar_exceeded", False),
        (NONE, {"tradable": False}, "asset_not_tradable", False),
    ],
)
def test_a_market_refuses_entries_and_lets_exits_go_where_the_contract_does(
    good: Changes, bad: Changes, reason: str, stops_exits: bool
) -> None:
    assert market_reasons(replace(MARKET, **good), limits(), is_exit=False) == []
    assert market_reasons(replace(MARKET, **bad), limits(), is_exit=False) == [reason]
    assert market_reasons(replace(MARKET, **bad), limits(), is_exit=True) == ([reason] if stops_exits else [])


def test_only_a_short_needs_a_shortable_asset() -> None:
    market = replace(MARKET, shortable=False)
    assert market_reasons(market, limits(), is_exit=False) == []
    assert market_reasons(market, limits(), is_exit=False, opens_short=True) == ["asset_not_shortable"]
