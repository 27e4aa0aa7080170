"""Each class of a difference between engine and backtest, found in what both sides recorded, and its near miss."""

import re
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from order_cases import BAR, step_record

from torghut_assets.research.replay_differences import CLASSES, UNEXPLAINED, Asked, Explainer, Said
from torghut_assets.research.settings import ResearchSettings
from torghut_runtime.compiled import functions_as_arguments
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve

FLAT = (0.0,) * 5
SLOT = ("hold", "AAPL")
WANTS, STOPS = Said(3, 10.0, "target"), Said(2, 0.0, "stop_loss")
HELD = (10.0, 100.0, 3.0, -0.0039, 0.0)
"""Ten shares that have lost almost what the stop allows."""


@pytest.fixture(autouse=True)
def compiled() -> Generator[None]:
    with functions_as_arguments():
        yield


def hold() -> BoundStrategy:
    given = {"strategy_id": "hold", "strategy_type": "buy_and_hold", "params": {"exits": {"stop_pct": 0.004}}}
    return resolve(StrategyEntry.model_validate(given), None)


def explainer(*, last: bool = False, limit_orders: bool = False, equity: float = 100_000.0) -> Explainer:
    last_bars = frozenset({("AAPL", BAR)}) if last else frozenset[tuple[str, datetime]]()
    return Explainer(
        [hold()], lambda _: (equity, 0.0), last_bars, ResearchSettings(gross_limit=1.0), limit_orders=limit_orders
    )  # fmt: skip


def asked(code: int, ours: tuple[float, ...] = FLAT, theirs: Any = FLAT, minute: int = 0, **fields: Any) -> Asked:
    given: dict[str, Any] = {
        "features": (100.0,) * len(hold().feature_columns),
        "account": {"equity": Decimal(100_000), "gross_exposure": Decimal(0)},
        "seconds_to_close": 3_600.0,
        **fields,
    }
    record = step_record("hold", position=ours, code=code, decided_at=BAR + timedelta(minutes=minute), **given)
    return Asked(record, theirs, 100.0)


def why(
    ours: Said | None, theirs: Said | None, step: Asked | None, told: Explainer | None = None, **given: Any
) -> tuple[str, str]:
    at = BAR if step is None else step.record.decided_at
    return (told or explainer()).explain((at, *SLOT), ours, theirs, step, **given)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("market_closed", "session_end"),
        ("precheck_opposite_side_open_order", "opposite_side"),
        ("max_notional_exceeded", "strategy_cap"),
        ("max_position_pct_exceeded", "strategy_cap"),
        ("state_reducing", "hard_limit"),
        ("daily_loss_limit_reached", "hard_limit"),
        ("order_rate_exceeded", "order_limit"),
        ("insufficient_buying_power", "order_limit"),
        ("price_collar_exceeded", "order_limit"),
    ],
)
def test_what_the_engine_refuses_has_the_class_of_its_reason(reason: str, expected: str) -> None:
    assert why(replace(WANTS, reason=reason), WANTS, asked(3)) == (expected, expected)


def test_a_refusal_that_nobody_knows_explains_nothing() -> None:
    assert why(replace(WANTS, reason="who_knows"), WANTS, asked(3))[0] == UNEXPLAINED


def test_the_same_shares_at_another_price_are_beyond_a_stop_or_not() -> None:
    ours = (10.0, 100.02, 3.0, -0.0041, 0.0)
    assert why(STOPS, None, asked(4, ours, HELD))[0] == "entry_price"
    assert why(None, STOPS, asked(0, HELD, ours))[0] == "entry_price"


def test_a_stop_that_the_others_position_would_have_hit_as_well_is_unexplained() -> None:
    beyond = (10.0, 100.02, 3.0, -0.0041, 0.0)
    assert why(STOPS, None, asked(4, beyond, (10.0, 100.01, 3.0, -0.00401, 0.0)))[0] == UNEXPLAINED
    assert why(None, STOPS, asked(0, HELD, HELD))[0] == UNEXPLAINED


def test_what_follows_goes_back_to_the_difference_that_it_began_with() -> None:
    told = explainer()
    beyond = (10.0, 100.02, 3.0, -0.0041, 0.0)
    assert why(STOPS, None, asked(4, beyond, HELD), told) == ("entry_price", "entry_price")
    later = asked(3, FLAT, (10.0, 100.0, 4.0, 0.0, 0.0), minute=1)
    told.seen(SLOT, later)
    assert why(WANTS, None, later, told) == ("follows", "entry_price")


def test_once_both_hold_the_same_again_nothing_follows_any_more() -> None:
    told = explainer()
    refused = replace(WANTS, reason="order_rate_exceeded")
    assert why(refused, WANTS, asked(3), told)[0] == "order_limit"
    told.seen(SLOT, asked(0, FLAT, FLAT, minute=1))
    told.decided((BAR + timedelta(minutes=1), *SLOT))
    assert why(WANTS, None, asked(3, FLAT, (10.0, 100.0, 1.0, 0.0, 0.0), minute=2), told)[0] == "fill"


def test_what_was_decided_alike_and_held_otherwise_was_filled_otherwise() -> None:
    told = explainer()
    told.decided((BAR, *SLOT))
    assert why(WANTS, None, asked(3, FLAT, (10.0, 100.0, 1.0, 0.0, 0.0), minute=1), told)[0] == "fill"


@pytest.mark.parametrize("part", [0, 2, 4])
def test_another_position_without_any_decision_before_is_unexplained(part: int) -> None:
    theirs = tuple(each + (index == part) for index, each in enumerate(HELD))
    assert why(STOPS, None, asked(4, (10.0, 100.02, 3.0, -0.0041, 0.0), theirs))[0] == UNEXPLAINED


def test_at_the_last_bar_of_a_session_the_engine_may_stay_silent() -> None:
    assert why(None, WANTS, asked(3), explainer(last=True))[0] == "session_end"
    assert why(None, WANTS, asked(3), explainer(last=False))[0] == UNEXPLAINED


def bought(qty: float, reason: str = "target") -> Said:
    return Said(3, qty, reason)


def sized(**fields: Any) -> Asked:
    """A wish for the whole budget of 100,000 at 100."""
    return asked(3, **{"output": (3.0, 1.0, 1.0, 0.0), **fields})


def at_price(price: str) -> dict[str, Any]:
    return {"price": Decimal(price), "as_of": BAR, "spread": None, "source": "quote"}


def test_a_size_at_another_price_is_what_that_price_gives() -> None:
    quoted = sized(price=at_price("125"))
    assert why(bought(800), bought(1_000), quoted)[0] == "price"
    assert why(bought(1_001), bought(1_000), quoted)[0] == UNEXPLAINED


def test_a_size_of_another_equity_is_what_that_equity_gives() -> None:
    told = explainer(equity=100_100.0)
    assert why(bought(1_000), bought(1_001), sized(), told)[0] == "account"
    assert why(bought(1_001), bought(1_001.5), sized(), explainer(equity=100_100.0))[0] == UNEXPLAINED
    assert why(bought(999), bought(1_000), sized())[0] == UNEXPLAINED


def test_rooms_are_no_further_apart_than_the_accounts() -> None:
    room = bought(0, "gross_exposure_exceeded")
    exposed = sized(account={"equity": Decimal(100_000), "gross_exposure": Decimal(1_000)})
    assert why(bought(11), room, exposed)[0] == "account"
    assert why(bought(12), room, exposed)[0] == UNEXPLAINED
    assert why(bought(11), room, sized())[0] == UNEXPLAINED


def test_wishes_are_netted_with_those_of_another_strategy_that_differ() -> None:
    conflict = replace(WANTS, target_qty=0.0, reason="intent_conflict_resolved")
    assert why(conflict, WANTS, asked(3), is_netted=True)[0] == "netting"
    assert why(conflict, WANTS, asked(3), is_netted=False)[0] == UNEXPLAINED


def test_limit_entries_are_sized_at_their_limit() -> None:
    smaller = replace(WANTS, target_qty=9.0)
    assert why(smaller, WANTS, asked(3), explainer(limit_orders=True))[0] == "order_terms"
    assert why(replace(STOPS, target_qty=1.0), STOPS, asked(4, HELD, HELD), explainer(limit_orders=True))[0] == (
        UNEXPLAINED
    )


def test_a_bar_that_the_engine_did_not_judge_is_unexplained() -> None:
    assert why(None, WANTS, None)[0] == UNEXPLAINED


def test_the_page_tells_every_class() -> None:
    page = (Path(__file__).parents[3] / "docs" / "runtime.md").read_text()
    told = page[page.index("| class | the difference |") :].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", told, re.MULTILINE) == [each for each in CLASSES if each != UNEXPLAINED]
