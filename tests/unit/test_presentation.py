"""How results look in Dagster's pages: rule tables, what denies, open tables, pictures."""

import math
from typing import Any

import dagster as dg
import pytest
from promotion_world import World, policy, waiver

from torghut_assets.gates.engine import RuleRecord
from torghut_assets.gates.rule import REPORT
from torghut_assets.presentation import (
    PICTURE_LIMIT,
    denial_metadata,
    denials,
    margin,
    numbers,
    picture,
    reasons_list,
    rule_table,
    table,
)


def record(rule_id: str, world: World) -> RuleRecord:
    (found,) = [each for each in world.evaluation.records if each.rule_id == rule_id]
    return found


def cost(value: Any, *waivers: Any) -> RuleRecord:
    """The verdict on a cost, of which at most 35 bps are allowed here."""
    world = World(policy(gate2_max_cost_bps="35", waivers=list(waivers)))
    return record("2.cost_bps", world.with_(REPORT, "/performance/cost_bps", value))


def cells(value: dg.MetadataValue) -> dict[str, str]:
    head, _, *rows = str(value.value).splitlines()
    (row,) = rows
    return dict(zip(*([cell.strip() for cell in line.strip("|").split(" | ")] for line in (head, row)), strict=True))


@pytest.mark.parametrize(("observed", "room"), [(34.5, 0.5), (35, 0.0), (35.5, -0.5)])
def test_the_margin_is_the_room_to_the_limit(observed: float, room: float) -> None:
    assert margin(cost(observed)) == room


def test_what_was_not_measured_has_no_margin() -> None:
    assert margin(cost(None)) is None


def test_a_rule_that_denies_shows_value_limit_margin_and_reason() -> None:
    row = cells(rule_table([cost(99)]))
    assert (row["rule"], row["observed"], row["must be"], row["limit"], row["margin"]) == (
        "2.cost_bps",
        "99 bps",
        "<=",
        "35",
        "-64",
    )
    assert (row["verdict"], row["reason"]) == ("**fail**", "`cost_bps_exceeds_maximum`")


def test_a_waived_rule_says_who_and_until_when() -> None:
    row = cells(rule_table([cost(99, waiver("2.cost_bps"))]))
    assert row["verdict"] == "waived"
    assert "waived until" in row["note"]


def test_what_denies_is_told_with_what_it_must_be() -> None:
    records = [cost(99), cost(1), cost(99, waiver("2.cost_bps"))]
    assert denials(records) == "2.cost_bps: cost_bps_exceeds_maximum"
    value = denial_metadata(records)["denied_by"]
    assert isinstance(value, dg.TableMetadataValue)
    assert [row.data for row in value.records] == [{"rule": "2.cost_bps", "observed": "99 bps", "must be": "<= 35"}]


def test_nothing_is_added_where_nothing_denies() -> None:
    assert denials([cost(1)]) == ""
    assert denial_metadata([cost(1)]) == {}


def test_tables_hold_what_people_read() -> None:
    value = table(("name", "value"), [("a", 1234567), ("b", True), ("c", None), ("d", 0.123456789), ("e", [])])
    assert isinstance(value, dg.TableMetadataValue)
    assert [row.data["value"] for row in value.records] == ["1,234,567", "yes", "–", "0.123457", "none"]
    assert [column.name for column in value.schema.columns] == ["name", "value"]


def test_only_finite_numbers_are_drawn() -> None:
    assert numbers({"a": 1, "b": "2.5", "c": math.inf, "d": math.nan, "e": None, "f": True, "g": "x"}) == {
        "a": 1.0,
        "b": 2.5,
    }


def test_a_picture_is_kept_up_to_its_limit() -> None:
    assert str(picture(b"x" * PICTURE_LIMIT, "title").value).startswith("![title](data:image/png;base64,eHh4")
    with pytest.raises(ValueError, match="at most 400,000 bytes, was 400,001"):
        picture(b"x" * (PICTURE_LIMIT + 1), "title")


def test_no_reasons_are_said_to_be_none() -> None:
    assert reasons_list([]).value == "none"
    assert reasons_list(["a", "b"]).value == "* `a`\n* `b`"
