"""Whether a split explains a difference, and what is booked then."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torghut_runtime.orders.adjusting import adjustments_for, split_that_explains
from torghut_runtime.orders.frozen_symbols import SPLIT, FrozenSymbols
from torghut_runtime.orders.splits import Split


def split(new: str = "4", old: str = "1", day: int = 12) -> Split:
    return Split("AAPL", Decimal(new), Decimal(old), date(2026, 1, day))


@pytest.mark.parametrize(
    ("new", "old", "ours", "theirs", "explained"),
    [
        ("4", "1", "10", "40", True),
        ("4", "1", "-10", "-40", True),
        ("4", "1", "10", "39", False),
        ("4", "1", "10", "41", False),
        ("4", "1", "0", "0", False),
        ("1", "3", "9", "3", True),
        ("1", "2", "3", "1", True),
        ("1", "2", "3", "2", False),
        ("1", "2", "3", "1.5", True),
        ("1", "2", "3", "0.9", False),
        ("3", "2", "10", "-15", False),
    ],
)
def test_a_split_explains_a_quantity_up_to_what_is_paid_out(
    new: str, old: str, ours: str, theirs: str, explained: bool
) -> None:
    assert split(new, old).explains(Decimal(ours), Decimal(theirs)) == explained


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [("400", "100", True), ("400", "110", True), ("400", "190", True), ("400", "210", False), ("400", "400", False),
     (None, "100", False), ("0", "100", False)],
)  # fmt: skip
def test_a_price_moves_by_the_ratio_give_or_take_half_of_it(before: str | None, after: str, moved: bool) -> None:
    assert split().moved(None if before is None else Decimal(before), Decimal(after)) == moved


def test_the_latest_split_that_explains_is_taken() -> None:
    splits = [split("2", "1", 8), split("4", "1", 12), split("3", "1", 13)]
    found = split_that_explains(splits, "AAPL", Decimal(10), Decimal(40))
    assert found == splits[1]
    assert split_that_explains(splits, "MSFT", Decimal(10), Decimal(40)) is None


def test_a_reverse_split_pays_fractions_out_per_strategy() -> None:
    held = {"a": Decimal(3), "b": Decimal(5)}
    booked = adjustments_for(held, Decimal(4), split("1", "2"), Decimal(20))
    assert [(each.strategy_id, each.qty_factor, each.qty_change) for each in booked] == [
        ("a", Decimal("0.5"), Decimal("-0.5")),
        ("b", Decimal("0.5"), Decimal("-0.5")),
        ("unattributed", 1, 1),
    ]


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(-1_000, 1_000).filter(bool).map(Decimal), max_size=3),
    st.integers(-4_000, 4_000).map(Decimal),
    st.sampled_from([None, split(), split("1", "3"), split("3", "2")]),
)
def test_what_is_booked_sums_up_to_the_brokers_quantity(
    held: dict[str, Decimal], theirs: Decimal, of: Split | None
) -> None:
    after = dict(held)
    for each in adjustments_for(held, theirs, of, Decimal(1)):
        after[each.strategy_id] = after.get(each.strategy_id, Decimal(0)) * each.qty_factor + each.qty_change
    assert sum(after.values(), Decimal(0)) == theirs


def test_a_price_that_jumps_by_an_announced_split_freezes_what_is_held() -> None:
    frozen = FrozenSymbols()
    frozen.splits = (split(),)
    heard: list[str] = []
    frozen.on_frozen.append(heard.append)
    frozen.price_moves("AAPL", Decimal(0), Decimal(400), Decimal(100))
    frozen.price_moves("MSFT", Decimal(10), Decimal(400), Decimal(100))
    frozen.price_moves("AAPL", Decimal(10), Decimal(400), Decimal(390))
    assert heard == []
    frozen.price_moves("AAPL", Decimal(10), Decimal(400), Decimal(101))
    frozen.price_moves("AAPL", Decimal(10), Decimal(400), Decimal(101))
    assert (heard, frozen.reason("AAPL")) == (["AAPL"], SPLIT)
