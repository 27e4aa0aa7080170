"""Baselines over the same windows, and the check that nothing was known before its time."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from lane_signals import daily_rows, legacy_entry, wave
from research_world import FREE, momentum, nothing, setup_of

from torghut_assets.research.baseline import (
    BUY_AND_HOLD,
    CASH,
    LEGACY,
    Baseline,
    equal_baselines,
    run_baselines,
    scaled_pnl,
)
from torghut_assets.research.lookahead import LookaheadReport, check_lookahead, cut_offs
from torghut_assets.research.walkforward import chosen_points, parameter_points, run_chain, walk_forward
from torghut_runtime.market.features import FeaturePipeline, compute_features


def by_name(baselines: list[Baseline]) -> dict[str, Baseline]:
    return {each.name: each for each in baselines}


def test_buy_and_hold_puts_equal_weights_on_the_symbols_that_trade():
    rows = daily_rows(100, symbols=("AAA", "BBB"), price=lambda index: 100 + index)
    late = [row for row in rows if row["symbol"] == "AAA" or row["event_ts"] >= rows[120]["event_ts"]]
    setup = setup_of(late, legacy_entry(max_position_pct_equity=0.5), costs=FREE)
    chain = by_name(run_baselines(setup))[BUY_AND_HOLD].chain
    assert chain is not None
    bought = chain.frame("fills").filter(pl.col("side") == "buy")
    shares = (
        bought.with_columns(share=pl.col("qty") * pl.col("price") / 1e5)
        .group_by("fold", "symbol")
        .agg(pl.col("share").sum())
    )
    first = shares.filter(pl.col("fold") == 0)
    # BBB is not there in the first session of the first test window
    assert first["symbol"].to_list() == ["AAA"]
    assert first["share"][0] == pytest.approx(1, abs=0.02)
    later = shares.filter(pl.col("fold") == 3)
    assert sorted(later["symbol"]) == ["AAA", "BBB"]
    assert later["share"].to_list() == pytest.approx([later["share"].sum() / 2] * 2, rel=0.02)


def test_cash_earns_nothing_and_the_legacy_rule_needs_its_features():
    rows = daily_rows(100)
    for row in rows:
        del row["payload"]["rsi14"]
    found = by_name(run_baselines(setup_of(rows)))
    assert (found[CASH].chain, scaled_pnl(found[CASH], np.array([0.1, -0.1]), 1e5)) == (None, 0.0)
    assert found[LEGACY].unavailable == "the data have no rsi14"
    assert scaled_pnl(found[LEGACY], np.array([0.1, -0.1]), 1e5) is None


def test_a_baseline_is_scaled_to_the_volatility_of_the_candidate():
    setup = setup_of(daily_rows(100, price=wave), costs=FREE)
    baseline = by_name(run_baselines(setup))[BUY_AND_HOLD]
    assert baseline.chain is not None
    own = baseline.chain.session_returns
    profit = baseline.chain.closing_cash - 1e5
    assert scaled_pnl(baseline, own, 1e5) == pytest.approx(profit)
    assert scaled_pnl(baseline, own * 2, 1e5) == pytest.approx(2 * profit)
    assert scaled_pnl(baseline, np.zeros(60), 1e5) == 0.0
    assert scaled_pnl(baseline, np.array([0.1]), 1e5) == 0.0


@pytest.mark.parametrize(
    "rule",
    [
        {"strategy_id": "my-own-idea"},
        {"params": {"buy_rsi_threshold": 40}},
        {"max_position_pct_equity": 0.01},
        {"params": {"qty": 3}},
    ],
)
def test_whoever_decides_like_a_baseline_equals_it(rule: dict[str, object]):
    setup = setup_of(daily_rows(100), legacy_entry(**rule))
    results = walk_forward(setup, "cand-test")
    assert equal_baselines(setup, results.decisions, run_baselines(setup)) == [LEGACY]


def test_holding_all_along_equals_buy_and_hold():
    hold = {
        "strategy_id": "clever",
        "strategy_type": "buy_and_hold",
        "version": "1.0.0",
        "base_timeframe": "1Day",
        "max_position_pct_equity": 0.4,
    }
    setup = setup_of(daily_rows(100), hold)
    results = walk_forward(setup, "cand-test")
    assert equal_baselines(setup, results.decisions, run_baselines(setup)) == [BUY_AND_HOLD]


def test_whoever_never_decides_equals_cash_and_another_exit_equals_nothing():
    idle = setup_of(daily_rows(100), legacy_entry(params={"buy_rsi_threshold": 1, "sell_rsi_threshold": 99}))
    assert equal_baselines(idle, walk_forward(idle, "c").decisions, run_baselines(idle)) == [CASH]
    other = setup_of(daily_rows(100), legacy_entry(params={"exits": {"max_bars": 2}}))
    assert equal_baselines(other, walk_forward(other, "c").decisions, run_baselines(other)) == []


def next_close(bars: pl.DataFrame) -> pl.Expr:
    del bars
    return pl.col("close").shift(-1).over("symbol").fill_null(pl.col("close"))


def leak(feature: str, value: object) -> FeaturePipeline:
    def pipeline(bars: pl.DataFrame) -> pl.DataFrame:
        expression = value(bars) if callable(value) else value
        return compute_features(bars).with_columns(expression.alias(feature))  # type: ignore[union-attr]

    return pipeline


def checked(pipeline: FeaturePipeline, points: int = 6) -> LookaheadReport:
    """The check on signals that the given pipeline computed from the bars of the momentum candidate."""
    from torghut_assets.research.walkforward import set_up
    from torghut_runtime.market.signals import signals_from_bars

    found = momentum()
    bars = found.market.bars
    assert bars is not None
    settings = found.setup.settings.model_copy(update={"lookahead_points": points})
    setup = set_up(signals_from_bars(bars, pipeline), found.setup.strategies, settings)
    point = parameter_points(setup.strategies)[0]
    chosen = [point] * len(setup.folds)
    return check_lookahead(setup, chosen, run_chain(setup, chosen), bars=bars, pipeline=pipeline)


def test_features_of_the_past_are_clean():
    report = checked(compute_features)
    assert (report.detected, report.checked_points, report.first_leak) == (False, 6, None)


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        ("price", next_close),
        ("ema12", next_close),
        ("rsi14", lambda bars: pl.lit(bars["close"][-1])),
        ("macd", lambda bars: pl.col("close") - pl.col("close").mean().over("symbol")),
        ("vwap_session", lambda bars: pl.lit(float(bars.height))),
    ],
    ids=["next close", "next close, not read by the strategy", "last close", "mean of all", "number of bars"],
)
def test_a_feature_that_knows_the_future_is_named_with_its_first_bar(feature: str, value: object):
    report = checked(leak(feature, value))
    assert report.detected
    assert report.first_leak is not None
    assert report.first_leak.feature == feature
    assert report.first_leak.event_ts <= report.first_leak.cut_off_at
    assert report.first_leak.symbol in {"AAA", "BBB"}


def test_decisions_that_no_feature_explains_are_named_without_one():
    found = momentum()
    points = parameter_points(found.setup.strategies)
    chosen = [points[0]] * len(found.setup.folds)
    other = run_chain(found.setup, [points[1]] * len(found.setup.folds))
    setup = replace(found.setup, settings=found.setup.settings.model_copy(update={"lookahead_points": 10}))
    report = check_lookahead(setup, chosen, other, bars=found.market.bars)
    assert report.detected
    assert report.first_leak is not None
    assert report.first_leak.feature is None


def test_points_are_a_seeded_sample_inside_the_test_windows():
    setup = momentum().setup
    points = cut_offs(setup, 20, 7)
    assert points == cut_offs(setup, 20, 7)
    assert points != cut_offs(setup, 20, 8)
    assert [each.at for each in points] == sorted(each.at for each in points)
    assert {each.fold for each in points} == {0, 1, 2, 3, 4}
    for each in points:
        window = setup.folds[each.fold].test
        assert window.first_session <= each.at.date() < window.last_session


def test_without_a_fold_nothing_was_checked():
    report = nothing().research.report.lookahead
    assert (report.detected, report.checked_points, report.first_leak) == (None, 0, None)


def test_signals_that_came_as_a_file_are_checked_by_their_decisions():
    setup = setup_of(daily_rows(100), lookahead_points=4)
    results = walk_forward(setup, "cand-test")
    chosen = chosen_points(setup, results.report)
    report = check_lookahead(setup, chosen, run_chain(setup, chosen), bars=None)
    assert (report.detected, report.checked_points) == (False, 4)
