"""Laws of the simulated account, on random markets, scripts, costs and settings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation_frames import BUY, EXIT, HOLD, SHORT, TARGET, minutes, run, scripted

from torghut_assets.research.simulation import SimulationResult
from torghut_runtime.risk.costs import CostModel

CASH = 100_000.0
COSTS = ("half_spread_cost", "impact_cost", "commission", "fees")


@dataclass
class Case:
    """A market with a script, and the settings it runs with."""

    frames: list[pl.DataFrame]
    settings: dict[str, Any]
    entry: dict[str, Any]

    def run(self, frames: list[pl.DataFrame] | None = None, **changed: Any) -> SimulationResult:
        return run(*(frames or self.frames), strategies=[scripted(**self.entry)], **{**self.settings, **changed})


@st.composite
def cases(draw: st.DrawFn, *, shorts: bool = False, contention: bool = True) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frames: list[pl.DataFrame] = []
    for symbol in ("AAPL", "IBM", "MSFT")[: draw(st.integers(1, 3))]:
        n = draw(st.integers(2, 40))
        closes = 100 * np.exp(np.cumsum(rng.normal(0, draw(st.sampled_from([0.0, 0.01, 0.15])), n)))
        opens = closes * np.exp(rng.normal(0, 0.02, n))
        volume = np.round(rng.exponential(draw(st.sampled_from([200, 5_000, 1e7])), n))
        volume[rng.random(n) < 0.1] = np.nan
        volume[rng.random(n) < 0.1] = 0.0
        frame = minutes(
            symbol,
            closes.tolist(),
            opens=opens.tolist(),
            signals=rng.choice([HOLD, BUY, SHORT, EXIT, TARGET], n, p=[0.4, 0.25, 0.1, 0.15, 0.1]).tolist(),
            fractions=rng.choice([0.2, 0.5, 1.0], n).tolist(),
            volume=volume.tolist(),
            half_spread_bps=float(rng.choice([np.nan, 0.0, 3.0, 250.0])),
            per_session=draw(st.sampled_from([7, 390])),
        )
        frames.append(frame.filter(pl.Series(rng.random(n) < 0.9) | (pl.int_range(pl.len()) == 0)))
    cap = st.sampled_from([5_000.0, 9_000.0] if not contention else [None, 5_000.0, 60_000.0, 200_000.0])
    entry = {"max_notional_per_trade": draw(cap)} if contention else {"max_notional_per_trade": draw(cap), "params": {}}
    if contention:
        entry["params"] = {"pyramid": draw(st.booleans()), "qty": draw(st.sampled_from([None, 3.0, 1e6]))}
        entry["max_position_pct_equity"] = draw(st.sampled_from([None, 0.3]))
    return Case(
        frames=frames,
        settings={
            "max_participation_rate": draw(st.sampled_from([0.01, 0.1, 1.0])),
            "max_order_bars": draw(st.integers(1, 6)),
            "latency_bars": draw(st.integers(0, 2)),
            "fractional_shares": draw(st.booleans()),
            "gross_limit": draw(st.sampled_from([0.5, 1.0, 2.0])) if contention else 10.0,
            "allow_shorts": shorts,
            "costs": CostModel(
                default_half_spread_bps=2.0,
                commission_bps=draw(st.sampled_from([0.0, 5.0])),
                commission_per_share=draw(st.sampled_from([0.0, 0.005])),
                commission_minimum=draw(st.sampled_from([0.0, 1.0])),
            ),
        },
        entry=entry,
    )


def by_order(result: SimulationResult) -> pl.DataFrame:
    """Fills without those of the close-out, which happen at a close and not at an open."""
    last = result.equity["ts"][-1]
    return result.fills.filter(pl.col("filled_at") < last)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_cash_never_goes_negative_but_for_sales_that_do_not_pay_their_own_commission(case: Case) -> None:
    result = case.run()
    unpaid = result.fills.filter(side="sell").height * case.settings["costs"].commission_minimum
    assert result.equity["cash"].min() >= -unpaid


@settings(max_examples=40, deadline=None)
@given(st.one_of(cases(), cases(shorts=True)))
def test_at_every_mark_equity_is_the_cash_of_all_fills_and_the_worth_of_what_they_left(case: Case) -> None:
    result = case.run(close_out=False)
    marks = result.equity["ts"]
    cash, worth, gross = np.full(len(marks), CASH), np.zeros(len(marks)), np.zeros(len(marks))
    for frame in case.frames:
        fills = result.fills.filter(symbol=frame["symbol"][0])
        signed = (fills["qty"] * np.where(fills["side"] == "buy", 1.0, -1.0)).to_numpy()
        paid = signed * fills["price"].to_numpy() + sum(fills[name].to_numpy() for name in COSTS)
        done = fills["filled_at"].search_sorted(marks, side="left").to_numpy()
        cash -= np.concatenate(([0.0], np.cumsum(paid)))[done]
        held = np.concatenate(([0.0], np.cumsum(signed)))[done]
        seen = frame["event_ts"].search_sorted(marks, side="right").to_numpy() - 1
        price = np.where(seen >= 0, frame["close"].to_numpy()[np.maximum(seen, 0)], 0.0)
        worth += held * price
        gross += np.abs(held * price)
    tolerance = {"rtol": 1e-9, "atol": 1e-5}
    np.testing.assert_allclose(result.equity["cash"].to_numpy(), cash, **tolerance)
    np.testing.assert_allclose(result.equity["net_exposure"].to_numpy(), worth, **tolerance)
    np.testing.assert_allclose(result.equity["gross_exposure"].to_numpy(), gross, **tolerance)
    np.testing.assert_allclose(result.equity["equity"].to_numpy(), cash + worth, **tolerance)


@settings(max_examples=40, deadline=None)
@given(st.one_of(cases(), cases(shorts=True)))
def test_a_fill_has_the_open_of_a_later_bar_and_an_order_at_most_one_in_each(case: Case) -> None:
    fills = by_order(case.run())
    bars = pl.concat(case.frames).select("symbol", filled_at="open_ts", bar_open="open")
    joined = fills.join(bars, on=["symbol", "filled_at"], how="left", validate="m:1")
    assert joined["price"].to_list() == joined["bar_open"].to_list()
    assert (fills["filled_at"] >= fills["decided_at"]).all()
    assert fills.select("order_id", "filled_at").is_duplicated().sum() == 0


@settings(max_examples=40, deadline=None)
@given(st.one_of(cases(), cases(shorts=True)))
def test_a_bar_gives_no_more_than_its_share(case: Case) -> None:
    taken = by_order(case.run()).group_by("symbol", "filled_at").agg(pl.col("qty").sum())
    bars = pl.concat(case.frames).select("symbol", "volume", filled_at="open_ts")
    known = taken.join(bars, on=["symbol", "filled_at"]).filter(pl.col("volume").is_not_nan())
    most = known["volume"] * case.settings["max_participation_rate"]
    assert (known["qty"] <= most * (1 + 1e-12)).all()


@settings(max_examples=40, deadline=None)
@given(cases())
def test_an_entry_fills_within_its_bars_or_not_at_all(case: Case) -> None:
    result = case.run()
    bars = pl.concat(
        [frame.select("symbol", "event_ts", "open_ts", number=pl.int_range(pl.len())) for frame in case.frames]
    )
    buys = by_order(result).filter(side="buy")
    numbered = buys.join(bars.select("symbol", "number", decided_at="event_ts"), on=["symbol", "decided_at"]).join(
        bars.select("symbol", filled="number", filled_at="open_ts"), on=["symbol", "filled_at"]
    )
    assert numbered.height == buys.height
    waited = numbered["filled"] - numbered["number"] - 1 - case.settings["latency_bars"]
    assert (waited >= 0).all()
    assert (waited < case.settings["max_order_bars"]).all()


@settings(max_examples=40, deadline=None)
@given(st.one_of(cases(), cases(shorts=True)))
def test_the_window_ends_flat(case: Case) -> None:
    result = case.run()
    signed = pl.col("qty") * pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    left = result.fills.group_by("symbol").agg(signed.sum().alias("left"))["left"]
    np.testing.assert_allclose(left.to_numpy(), 0.0, atol=1e-6)
    assert abs(result.equity["gross_exposure"][-1]) < 1e-5
    np.testing.assert_allclose(result.equity["equity"][-1], result.closing_cash, rtol=1e-12, atol=1e-5)
    np.testing.assert_allclose(np.prod(1 + result.session_returns) * CASH, result.closing_cash, rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_shares_are_whole_unless_fractions_are_allowed(case: Case) -> None:
    qty = case.run(fractional_shares=False).fills["qty"]
    assert (qty == qty.floor()).all()


@settings(max_examples=40, deadline=None)
@given(cases(contention=False), st.permutations(["AAPL", "IBM", "MSFT"]))
def test_names_of_symbols_do_not_matter_where_they_do_not_compete(case: Case, names: list[str]) -> None:
    mapping = dict(zip(["AAPL", "IBM", "MSFT"], names, strict=True))
    renamed = [frame.with_columns(pl.col("symbol").replace(mapping)) for frame in case.frames]
    first, second = case.run(), case.run(renamed)
    np.testing.assert_allclose(second.closing_cash, first.closing_cash, rtol=1e-9)
    assert second.order_count == first.order_count
    counts = dict(second.fills.group_by("symbol").len().iter_rows())
    assert {mapping[symbol]: n for symbol, n in first.fills.group_by("symbol").len().iter_rows()} == counts


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(1, 39))
def test_what_was_decided_and_filled_does_not_depend_on_what_comes_later(case: Case, minute: int) -> None:
    cut = pl.concat(case.frames)["event_ts"].unique().sort()
    at = cut[min(minute, len(cut)) - 1]
    whole = case.run(close_out=False)
    part = case.run(
        [frame.filter(pl.col("event_ts") <= at) for frame in case.frames if frame["event_ts"][0] <= at], close_out=False
    )
    assert part.decisions.equals(whole.decisions.filter(pl.col("decided_at") <= at), null_equal=True)
    assert part.fills.drop("order_id").equals(whole.fills.filter(pl.col("filled_at") < at).drop("order_id"))
    assert part.equity.drop("session_return").equals(whole.equity.filter(pl.col("ts") <= at).drop("session_return"))


@settings(max_examples=40, deadline=None)
@given(cases())
def test_costs_only_ever_cost(case: Case) -> None:
    fills = case.run().fills
    assert all((fills[name] >= 0).all() for name in COSTS)
    assert (fills.filter(side="buy")["fees"] == 0).all()
