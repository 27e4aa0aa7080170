"""What the simulated account does with orders: prices, sizes, cash, costs, the end of a window."""

from datetime import timedelta

import numpy as np
import pytest
from simulation_frames import BUY, EXIT, SHORT, TARGET, minutes, run, scripted

from torghut_runtime.risk.costs import CostModel


def test_a_decision_fills_at_the_next_bars_open_and_never_at_the_price_it_has_seen():
    result = run(minutes("AAPL", [100, 101, 102, 103], opens=[100, 100.5, 101.5, 102.5], signals={0: BUY, 2: EXIT}))
    assert result.fills.select("side", "price").rows() == [("buy", 100.5), ("sell", 102.5)]
    assert (result.fills["filled_at"] >= result.fills["decided_at"]).all()


def test_a_spike_of_one_bar_gains_nothing_for_the_strategy_that_buys_on_it():
    spike = run(minutes("AAPL", [100, 200, 100, 100], opens=[100, 100, 100, 100], signals={1: BUY, 2: EXIT}))
    assert spike.fills["price"].to_list() == [100, 100]
    assert spike.closing_cash == 100_000


def test_prices_that_stay_make_no_profit_before_costs():
    script = {index: (BUY if index % 4 == 0 else EXIT) for index in range(0, 40, 2)}
    result = run(minutes("AAPL", [100.0] * 40, signals=script))
    assert len(result.fills) == 20
    assert result.closing_cash == 100_000


def test_the_account_is_marked_on_every_bar_not_only_where_decisions_fall():
    result = run(minutes("AAPL", [100, 100, 50, 101, 101], signals={0: BUY, 3: EXIT}))
    equity = result.equity["equity"].to_numpy()
    assert equity.min() == 50_000
    assert 1 - equity.min() / equity[:2].max() == pytest.approx(0.5)


def test_latency_moves_the_first_possible_fill_by_whole_bars():
    frame = minutes("AAPL", [100, 101, 102, 103, 104], signals={0: BUY})
    assert [run(frame, latency_bars=bars).fills["price"][0] for bars in (0, 1, 2)] == [100, 101, 102]


def test_a_fill_takes_its_share_of_the_volume_and_the_rest_waits_for_the_next_bar():
    frame = minutes("AAPL", [100.0] * 6, signals={0: BUY}, volume=[1000, 1000, 505, 0, 1000, 1000])
    result = run(frame, max_participation_rate=0.1, max_order_bars=3, cash=100_000)
    assert result.fills.filter(side="buy")["qty"].to_list() == [100, 50]


def test_an_entry_is_cancelled_after_its_bars_and_an_exit_stays_until_it_is_done():
    frame = minutes("AAPL", [100.0] * 12, signals={0: BUY, 4: EXIT}, volume=1000)
    result = run(frame, max_participation_rate=0.1, max_order_bars=2)
    assert result.fills.filter(side="buy")["qty"].to_list() == [100, 100]
    assert result.fills.filter(side="sell")["qty"].to_list() == [100, 100]
    slow = minutes("AAPL", [100.0] * 12, signals={0: BUY, 4: EXIT}, volume=[1000] * 5 + [100] * 7)
    sells = run(slow, max_participation_rate=0.1, max_order_bars=1).fills.filter(side="sell")["qty"].to_list()
    assert sells == [10, 10, 10, 10, 10, 10, 10, 30]


def test_an_exit_cancels_what_is_left_of_its_entry_and_sells_what_was_filled():
    frame = minutes("AAPL", [100.0] * 8, signals={0: BUY, 1: EXIT}, volume=1000)
    result = run(frame, max_participation_rate=0.1)
    assert result.fills.select("side", "qty").rows() == [("buy", 100), ("sell", 100)]


def test_an_entry_waits_for_its_share_without_buying_twice():
    frame = minutes("AAPL", [100.0] * 8, signals=[BUY] * 8, volume=1000)
    result = run(frame, strategies=[scripted(max_notional_per_trade=25_000)], max_participation_rate=0.1)
    assert result.fills.filter(side="buy")["qty"].to_list() == [100, 100, 50]


@pytest.mark.parametrize(
    ("entry", "settings", "qty"),
    [
        ({}, {}, 1000),
        ({"max_notional_per_trade": 25_050}, {}, 250),
        ({"max_position_pct_equity": 0.1}, {}, 100),
        ({"max_notional_per_trade": 5_000, "max_position_pct_equity": 0.1}, {}, 50),
        ({"max_notional_per_trade": 0}, {}, 0),
        ({"params": {"qty": 7}}, {}, 7),
        ({"params": {"qty": 500}, "max_notional_per_trade": 5_000}, {}, 50),
        ({}, {"gross_limit": 0.5}, 500),
        ({"max_notional_per_trade": 150}, {"fractional_shares": True}, 1.5),
    ],
)
def test_size_is_the_smallest_of_caps_and_room_in_whole_shares(entry, settings, qty):
    result = run(minutes("AAPL", [100.0] * 4, signals={0: BUY}), strategies=[scripted(**entry)], **settings)
    assert result.fills.filter(side="buy")["qty"].sum() == qty


def test_an_entry_that_does_not_fit_says_which_limit_it_met():
    small = run(minutes("AAPL", [100.0] * 3, signals={0: BUY}), strategies=[scripted(max_notional_per_trade=99)])
    assert small.decisions["reason"].to_list() == ["qty_below_min"]
    full = run(
        minutes("AAPL", [100.0] * 4, signals={0: BUY}),
        minutes("MSFT", [100.0] * 4, signals={1: BUY}),
    )
    assert full.decisions.select("symbol", "reason").rows() == [("AAPL", "entry"), ("MSFT", "gross_exposure_exceeded")]


def test_room_counts_orders_that_wait():
    a, b = (minutes(symbol, [100.0] * 4, signals={0: BUY}) for symbol in ("AAPL", "MSFT"))
    result = run(a, b, strategies=[scripted(max_notional_per_trade=80_000)])
    assert result.decisions["target_qty"].to_list() == [800, 200]


def test_a_buy_is_cut_to_the_cash_at_hand_and_cash_never_goes_negative():
    gap = minutes("AAPL", [100, 110, 110], opens=[100, 110, 110], signals={0: BUY})
    costs = CostModel(commission_bps=10)
    result = run(gap, costs=costs)
    bought = result.fills.filter(side="buy")["qty"].item()
    assert result.equity["cash"].min() >= 0
    assert bought == 908  # 100,000 / (110 × 1.001 and the spread and impact of this model) in whole shares
    assert result.fills.filter(side="buy").height == 1


@pytest.mark.parametrize("fractional", [False, True])
@pytest.mark.parametrize(("cash", "bought"), [(9.99, 0.0), (10.0, 0.0), (10.01, 0.0), (110.0, 1.0), (1010.0, 10.0)])
def test_a_minimum_commission_is_paid_before_the_first_share(cash, bought, fractional):
    frame = minutes("AAPL", [100.0] * 4, signals={0: BUY})
    free = {"default_half_spread_bps": 0, "impact_bps_at_full_participation": 0, "sec_fee_rate": 0, "taf_per_share": 0}
    costs = CostModel.model_validate({**free, "commission_minimum": 10.0})
    result = run(frame, cash=cash, gross_limit=2.0, costs=costs, fractional_shares=fractional, close_out=False)
    qty = result.fills["qty"].sum()
    assert qty == pytest.approx(bought if not fractional else max(cash - 10.0, 0.0) / 100.0, abs=1e-12)
    assert result.closing_cash >= 0


def test_exits_at_the_same_open_make_cash_for_entries():
    a = minutes("ZM", [100.0] * 5, signals={0: BUY, 2: EXIT})
    b = minutes("AAPL", [100.0] * 5, signals={2: TARGET}, fractions={2: 0.4})
    result = run(a, b, strategies=[scripted(params={"pyramid": False})], gross_limit=2.0)
    assert result.fills.select("symbol", "side", "qty").rows()[1:3] == [("ZM", "sell", 1000), ("AAPL", "buy", 800)]


def test_a_sell_without_a_position_is_a_short_only_where_shorts_are_allowed():
    frame = minutes("AAPL", [100, 100, 90, 90], signals={0: SHORT, 2: EXIT})
    refused = run(frame)
    assert refused.decisions["reason"].to_list() == ["shorts_not_allowed"]
    assert refused.fills.height == 0
    allowed = run(frame, allow_shorts=True)
    assert allowed.fills.select("side", "qty", "price").rows() == [("sell", 1000, 100), ("buy", 1000, 90)]
    assert allowed.closing_cash == 110_000


def test_a_sell_signal_closes_a_long_position():
    result = run(minutes("AAPL", [100, 100, 110, 110, 110], signals={0: BUY, 2: SHORT}), allow_shorts=True)
    assert result.fills.select("side", "qty").rows() == [("buy", 1000), ("sell", 1000)]


def test_a_target_buys_and_sells_only_the_difference():
    frame = minutes("AAPL", [100.0] * 8, signals={0: TARGET, 2: TARGET, 4: TARGET}, fractions={0: 0.5, 2: 0.8, 4: 0.2})
    result = run(frame, close_out=False)
    assert result.fills.select("side", "qty").rows() == [("buy", 500), ("buy", 300), ("sell", 600)]
    assert result.decisions["target_qty"].to_list() == [500, 800, 200]


def test_the_end_of_the_window_closes_everything_at_its_last_close_with_full_costs():
    costs = CostModel(
        default_half_spread_bps=10, impact_bps_at_full_participation=0, sec_fee_rate=0.001, taf_per_share=0.01
    )
    result = run(minutes("AAPL", [100, 100, 120], opens=[100, 100, 110], signals={0: BUY}), costs=costs)
    last = result.fills.rows(named=True)[-1]
    assert (last["side"], last["price"]) == ("sell", 120)
    assert last["half_spread_cost"] == pytest.approx(last["qty"] * 120 * 0.001)
    assert last["fees"] == pytest.approx(last["qty"] * 120 * 0.001 + min(8.30, last["qty"] * 0.01))
    assert result.equity["gross_exposure"][-1] == 0
    assert result.equity["equity"][-1] == pytest.approx(result.closing_cash)


def test_a_symbol_without_further_bars_is_held_at_its_last_price_until_the_window_ends():
    gone = minutes("AAPL", [100.0, 100, 104], signals={0: BUY})
    stays = minutes("MSFT", [50.0] * 6)
    result = run(gone, stays)
    sold = result.fills.filter(side="sell").rows(named=True)[0]
    assert sold["price"] == 104
    assert sold["filled_at"] == result.equity["ts"][-1]


def test_a_spread_of_five_on_a_price_of_100_costs_250_bps_on_every_fill():
    result = run(
        minutes("AAPL", [100.0] * 6, signals={0: BUY, 2: EXIT}, half_spread_bps=250),
        strategies=[scripted(max_notional_per_trade=10_000)],
        costs=CostModel(impact_bps_at_full_participation=0, sec_fee_rate=0, taf_per_share=0),
    )
    notional = result.fills["qty"] * result.fills["price"]
    assert (result.fills["half_spread_cost"] / notional * 1e4).to_list() == pytest.approx([250, 250])
    assert not result.fills["assumed_inputs"].any()


def test_costs_explain_the_difference_between_gross_and_net_to_the_cent():
    frame = minutes("AAPL", [100, 101, 99, 103, 102, 104], signals={0: BUY, 2: EXIT, 3: BUY}, volume=20_000)
    costs = CostModel(commission_per_share=0.005, commission_minimum=1.0)
    result = run(frame, costs=costs, strategies=[scripted(max_notional_per_trade=40_000)])
    fills = result.fills
    flow = (fills["qty"] * fills["price"] * fills["side"].replace_strict({"buy": -1, "sell": 1})).sum()
    charged = sum(fills[name].sum() for name in ("half_spread_cost", "impact_cost", "commission", "fees"))
    assert result.closing_cash - 100_000 == pytest.approx(flow - charged, abs=1e-9)


def test_session_returns_compound_to_the_closing_cash():
    closes = list(np.linspace(100, 130, 30))
    result = run(minutes("AAPL", closes, signals={0: BUY}, per_session=10))
    assert len(result.session_returns) == 3
    assert np.prod(1 + result.session_returns) * 100_000 == pytest.approx(result.closing_cash)
    assert result.equity["session_return"].null_count() == 27


def test_rows_without_a_required_feature_are_skipped():
    frame = minutes("AAPL", [100.0] * 4, signals={0: BUY, 1: np.nan})
    assert run(frame).decisions.height == 1
    assert run(minutes("AAPL", [100.0] * 4, signals=[np.nan] * 4)).decisions.height == 0


def test_an_output_out_of_range_is_counted_and_leads_to_nothing():
    result = run(minutes("AAPL", [100.0] * 4, signals={0: 7.0}))
    assert result.invalid_outputs == {"scripted": 1}
    assert result.fills.height == 0


def test_opposite_entries_of_two_strategies_are_netted_in_favour_of_the_larger():
    frame = minutes("AAPL", [100.0] * 4, signals={0: BUY})
    buyer = scripted("a", max_notional_per_trade=10_000)
    other = minutes("AAPL", [100.0] * 4, signals={0: SHORT})
    assert run(frame, strategies=[buyer]).fills.filter(side="buy")["qty"].item() == 100
    assert run(other, strategies=[buyer], allow_shorts=True).fills.filter(side="sell")["qty"].item() == 100


def test_stop_and_time_exits_leave_with_their_own_reason():
    stop = scripted(params={"exits": {"stop_pct": 0.05}})
    result = run(minutes("AAPL", [100, 100, 94, 94], signals={0: BUY}), strategies=[stop])
    assert result.decisions["reason"].to_list() == ["entry", "stop_loss"]
    clock = scripted(params={"exits": {"max_bars": 2}})
    result = run(minutes("AAPL", [100.0] * 7, signals={0: BUY}), strategies=[clock])
    assert result.decisions["reason"].to_list() == ["entry", "time_stop"]


def test_bars_of_two_timeframes_fill_on_their_own_bars():
    late = minutes("AAPL", [100.0] * 4, signals={0: BUY}, offset=timedelta(seconds=30))
    early = minutes("MSFT", [50.0] * 4, signals={0: BUY})
    result = run(late, early, strategies=[scripted(max_notional_per_trade=5000)])
    assert sorted(result.fills.filter(side="buy")["symbol"].to_list()) == ["AAPL", "MSFT"]


def test_equal_inputs_give_equal_tables():
    frame = minutes("AAPL", list(100 + np.sin(np.arange(50))), signals=[BUY, EXIT] * 25)
    first, second = run(frame), run(frame)
    assert first.fills.equals(second.fills)
    assert first.equity.equals(second.equity)
    assert first.decisions.equals(second.decisions)
