"""How results look in Dagster's pages: margins, tables, pictures of a bearable size."""

from typing import Any

import polars as pl
import pytest

from torghut_assets.gates.engine import EvidenceReference, RuleRecord
from torghut_assets.presentation import (
    PICTURE_LIMIT,
    denials,
    frame_metadata,
    margin,
    numbers,
    picture,
    reasons_list,
    rule_table,
    table,
)


def record(**changes: Any) -> RuleRecord:
    given: dict[str, Any] = {
        "rule_id": "2.cost_bps",
        "gate_id": "gate2_risk_capacity",
        "metric": "cost_bps",
        "observed": 40.0,
        "comparator": "<=",
        "threshold": "35",
        "unit": "bps",
        "status": "fail",
        "severity": "error",
        "reason_code": "cost_bps_exceeds_maximum",
        "evidence": EvidenceReference(artifact="backtest/evaluation-report.json", sha256="a" * 64, pointer="/costs"),
        "note": "",
    }
    return RuleRecord.model_validate({**given, **changes})


@pytest.mark.parametrize(
    ("changes", "room"),
    [
        ({}, -5.0),
        ({"observed": 30.0}, 5.0),
        ({"observed": 35.0}, 0.0),
        ({"comparator": ">=", "observed": 36}, 1.0),
        ({"comparator": ">", "observed": 34}, -1.0),
        ({"comparator": "<", "observed": 34}, 1.0),
        ({"observed": None}, None),
        ({"threshold": None}, None),
        ({"observed": True}, None),
        ({"observed": ["a"]}, None),
        ({"comparator": "same major", "observed": "3.0.0", "threshold": "3.0.0"}, None),
        ({"comparator": "is", "observed": 1, "threshold": 1}, None),
    ],
)
def test_the_margin_is_the_room_to_the_limit(changes: dict[str, Any], room: float | None):
    assert margin(record(**changes)) == room


def test_a_rule_table_shows_what_was_observed_what_must_be_and_why():
    text = str(rule_table([record(note="a | b\nc")]).value)
    header, _, row = text.splitlines()
    assert header.count("|") == 9
    assert row == ("| 2.cost_bps | 40 bps | <= | 35 | -5 | **fail** | `cost_bps_exceeds_maximum` | a \\| b c |")


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"status": "pass", "reason_code": None}, "| pass |"),
        ({"status": "missing", "observed": None}, "| **missing** |"),
        ({"status": "fail", "severity": "warning"}, "| fail (warning) |"),
        ({"status": "not_applicable", "reason_code": None}, "| not applicable |"),
        ({"status": "waived"}, "| waived |"),
        ({"observed": None, "status": "missing"}, "| – |"),
        ({"observed": [], "unit": ""}, "| none |"),
        ({"observed": ["cash", "buy_and_hold"], "unit": ""}, "| cash, buy_and_hold |"),
        ({"observed": True, "unit": ""}, "| yes |"),
        ({"observed": 1234567, "unit": ""}, "| 1,234,567 |"),
        ({"observed": 0.000012345678, "unit": ""}, "| 1.23457e-05 |"),
    ],
)
def test_verdicts_and_values_as_people_read_them(changes: dict[str, Any], shown: str):
    assert shown in str(rule_table([record(**changes)]).value)


def test_denials_are_the_rules_that_deny():
    others = [record(status="waived"), record(status="pass", reason_code=None), record(severity="warning")]
    found = denials([record(), *others])
    assert found == "2.cost_bps: cost_bps_exceeds_maximum"


def test_tables_and_lists():
    found: Any = table(("a", "b"), [(1, None), ("x", 2.5)])
    assert [dict(row.data) for row in found.records] == [{"a": "1", "b": "–"}, {"a": "x", "b": "2.5"}]
    with pytest.raises(ValueError, match="zip"):
        table(("a", "b"), [(1,)])
    assert str(reasons_list(("one", "two")).value) == "* `one`\n* `two`"
    assert str(reasons_list(()).value) == "none"


def test_a_picture_must_fit_into_an_event():
    assert str(picture(b"png", "title").value) == "![title](data:image/png;base64,cG5n)"
    picture(b"x" * PICTURE_LIMIT, "title")
    with pytest.raises(ValueError, match="at most 400,000 bytes, was 400,001"):
        picture(b"x" * (PICTURE_LIMIT + 1), "title")


def test_frames_tell_rows_and_columns():
    found = frame_metadata(pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    assert found["dagster/row_count"] == 2
    assert [(column.name, column.type) for column in found["dagster/column_schema"].columns] == [
        ("a", "Int64"),
        ("b", "String"),
    ]


def test_only_finite_numbers_are_charted():
    given = {"a": 1, "b": 2.5, "c": "3", "d": None, "e": True, "f": float("nan"), "g": float("inf"), "h": "text"}
    assert numbers(given) == {"a": 1.0, "b": 2.5, "c": 3.0}
