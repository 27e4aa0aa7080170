"""Walk-forward: what is chosen where, one account through all windows, every configuration a trial."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from lane_signals import daily_rows, legacy_entry
from research_world import FREE, momentum, nothing, setup_of

from torghut_assets.research import walkforward
from torghut_assets.research.walkforward import (
    WalkforwardResults,
    applied_strategies,
    chosen_points,
    parameter_points,
    run_chain,
    sharpe_variance,
    walk_forward,
)
from torghut_runtime.errors import InputError

NEVER_OR_ALWAYS = {"search": {"buy_rsi_threshold": [15, 35]}}
"""Index 0 never buys, index 1 trades every tenth session."""
RISES, FALLS = 1, -1


def price(index: int, direction: int) -> float:
    """Rises or falls from the buy of a trade to its sale, and comes back between trades."""
    return 100 + direction * (index % 10)


def walked(trend: Any, *, objective: str = "net_pnl", entry: dict[str, Any] | None = None) -> WalkforwardResults:
    rows = daily_rows(100, price=lambda index: price(index, trend(index)))
    setup = setup_of(rows, legacy_entry(**(entry or NEVER_OR_ALWAYS)), objective=objective, costs=FREE)
    return walk_forward(setup, "cand-test")


def choices(results: WalkforwardResults) -> list[int]:
    return [fold.parameter_index for fold in results.report.folds]


def test_parameters_are_chosen_on_training_data_and_applied_unchanged_to_what_follows():
    results = walked(lambda index: RISES if index < 40 else FALLS)
    first = results.report.folds[0]
    assert (first.parameter_index, first.parameters) == (1, {"buy_rsi_threshold": 35})
    assert first.in_sample.net_pnl > 0
    assert first.out_of_sample.net_pnl < 0
    assert choices(results)[-1] == 0
    assert results.report.folds[-1].out_of_sample.net_pnl == 0


@pytest.mark.parametrize("fold", range(5))
def test_what_happens_from_a_test_window_on_never_changes_its_choice(fold: int):
    def calm(index: int) -> int:
        return RISES if index < 40 else FALLS

    begins = 40 + 12 * fold
    changed = walked(lambda index: 7 * RISES if index >= begins else calm(index))
    plain = walked(calm)
    assert choices(changed)[: fold + 1] == choices(plain)[: fold + 1]
    before = [each.in_sample for each in plain.report.folds[: fold + 1]]
    assert [each.in_sample for each in changed.report.folds[: fold + 1]] == before
    traded = choices(plain)[fold] == 1
    assert (changed.report.folds[fold].out_of_sample != plain.report.folds[fold].out_of_sample) == traded


@pytest.mark.parametrize("objective", ["net_pnl", "sharpe_annualized", "return_over_drawdown"])
def test_equal_scores_choose_the_lower_index(objective: str):
    results = walked(lambda _: RISES, objective=objective, entry={"search": {"buy_rsi_threshold": [35, 40, 45]}})
    assert choices(results) == [0] * 5
    idle = walked(lambda _: RISES, objective=objective, entry={"search": {"buy_rsi_threshold": [15, 16]}})
    assert choices(idle) == [0] * 5


def test_the_objective_decides():
    assert choices(walked(lambda _: FALLS, objective="net_pnl")) == [0] * 5
    assert choices(walked(lambda _: RISES, objective="net_pnl")) == [1] * 5
    # a configuration without any variance has no Sharpe ratio, and loses against one that has
    assert choices(walked(lambda _: FALLS, objective="sharpe_annualized")) == [1] * 5


def test_one_account_runs_through_all_windows_each_begins_flat_and_ends_flat():
    results = walked(lambda _: RISES)
    equity = results.equity
    cash = 100_000.0
    for fold in results.report.folds:
        marks = equity.filter(pl.col("fold") == fold.index)
        last = marks.row(-1, named=True)
        assert marks["gross_exposure"][0] == 0
        assert (last["gross_exposure"], last["cash"]) == (0, last["equity"])
        assert last["equity"] - cash == pytest.approx(fold.out_of_sample.net_pnl)
        cash = last["equity"]
    returns = equity["session_return"].drop_nulls().to_numpy()
    assert float(np.prod(1 + returns)) * 100_000 == pytest.approx(cash)
    assert len(returns) == sum(fold.test_sessions for fold in results.report.folds)


def test_every_configuration_is_a_trial_over_the_same_sessions():
    results = walked(lambda index: RISES if index < 40 else FALLS)
    never, always = results.report.trials
    assert (never.sharpe_per_period, never.net_pnl) == (None, 0)
    assert always.net_pnl < 0
    assert never.parameters["legacy-daily"]["buy_rsi_threshold"] == 15
    assert never.parameters["legacy-daily"]["sell_rsi_threshold"] == 65
    assert never.parameters_sha256 != always.parameters_sha256
    assert results.trial_returns.shape == (60, 2)
    assert [trial.n_observations for trial in results.report.trials] == [60, 60]
    assert results.trial_returns[:, 1].std(ddof=1) > 0
    assert sharpe_variance(results.report.trials) is None


def test_a_configuration_that_was_always_chosen_is_its_own_trial():
    found = momentum()
    report = found.research.results.report
    points = parameter_points(found.setup.strategies)
    for index, trial in enumerate(report.trials):
        chain = run_chain(found.setup, [points[index]] * len(report.folds))
        assert trial.net_pnl == chain.closing_cash - chain.opening_cash
        assert np.array_equal(found.research.results.trial_returns[:, index], chain.session_returns)
    variance = sharpe_variance(report.trials)
    one, other = (trial.sharpe_per_period for trial in report.trials)
    assert one is not None
    assert other is not None
    assert variance == pytest.approx((one - other) ** 2 / 2)


def test_a_promotion_trades_the_parameters_of_the_newest_window():
    found = momentum()
    report = found.research.results.report
    (applied,) = applied_strategies(found.setup.strategies, report)
    assert applied.params.model_dump()["lookback_bars"] == report.folds[-1].parameters["lookback_bars"]
    empty = nothing()
    assert applied_strategies(empty.setup.strategies, empty.research.results.report) == list(empty.setup.strategies)


def test_the_chosen_points_repeat_the_account():
    found = momentum()
    chain = run_chain(found.setup, chosen_points(found.setup, found.research.results.report))
    assert chain.frame("equity").equals(found.research.results.equity)
    assert chain.frame("fills").equals(found.research.results.fills)


def test_order_ids_go_on_counting_through_the_windows():
    ids = (
        momentum()
        .research.results.fills.group_by("fold", maintain_order=True)
        .agg(pl.col("order_id").min().alias("first"), pl.col("order_id").max().alias("last"))
    )
    assert all(one < other for one, other in zip(ids["last"].to_list(), ids["first"].to_list()[1:], strict=False))


def test_points_are_all_combinations_and_the_first_strategy_changes_slowest():
    first = legacy_entry(strategy_id="one", max_position_pct_equity=0.5, search={"buy_rsi_threshold": [30, 35]})
    second = legacy_entry(strategy_id="two", max_position_pct_equity=0.5, search={"sell_rsi_threshold": [60, 65, 70]})
    setup = setup_of(daily_rows(100), first, second, costs=FREE)
    points = parameter_points(setup.strategies)
    seen = [
        (a.params.model_dump()["buy_rsi_threshold"], b.params.model_dump()["sell_rsi_threshold"]) for a, b in points
    ]
    assert seen == [(30, 60), (30, 65), (30, 70), (35, 60), (35, 65), (35, 70)]
    report = walk_forward(setup, "cand-test").report
    assert len(report.trials) == 6
    assert report.folds[0].parameters == {"one.buy_rsi_threshold": 30, "two.sell_rsi_threshold": 60}
    assert report.trial_family == "legacy_macd_rsi+legacy_macd_rsi"


def test_a_search_that_is_too_large_over_all_strategies_is_refused(monkeypatch: pytest.MonkeyPatch):
    setup = setup_of(daily_rows(20), legacy_entry(search={"buy_rsi_threshold": [30, 35]}))
    monkeypatch.setattr(walkforward, "MAX_SEARCH_POINTS", 1)
    with pytest.raises(InputError, match="2 combinations over all strategies, at most 1 are searched"):
        parameter_points(setup.strategies)


def test_without_a_fold_there_is_a_report_and_nothing_in_it():
    results = nothing().research.results
    assert (results.report.folds, results.report.trials, results.report.sessions) == ((), (), 3)
    assert (results.decisions.height, results.fills.height, results.equity.height) == (0, 0, 0)
    full = momentum().research.results
    for name in ("decisions", "fills", "equity"):
        assert getattr(results, name).schema == getattr(full, name).schema


def test_progress_is_told_up_to_the_end():
    told: list[tuple[str, int, int]] = []
    setup = setup_of(daily_rows(100), legacy_entry(**NEVER_OR_ALWAYS), costs=FREE)
    walk_forward(setup, "cand-test", lambda stage, done, total: told.append((stage, done, total)))
    assert [each for each in told if each[0] == "walk-forward"] == [("walk-forward", done, 10) for done in range(1, 11)]
    assert told[-1] == ("trials", 2, 2)


def test_equal_decisions_have_an_equal_digest_and_others_another():
    rising, falling = walked(lambda _: RISES), walked(lambda _: FALLS)
    assert walked(lambda _: RISES).report.decisions_sha256 == rising.report.decisions_sha256
    assert falling.report.decisions_sha256 != rising.report.decisions_sha256
