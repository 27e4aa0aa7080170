"""Plots, tear sheet and leaderboard: equal bytes for equal reports, one self-contained page, nothing without a fold."""

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest
from lane_project import SHIPPED_POLICY
from promotion_world import World
from research_world import Researched, momentum, nothing

from torghut_assets.bundle import judged_documents
from torghut_assets.gates.evaluation import GateEvaluation, evaluate_gates
from torghut_assets.gates.evidence import freeze_evidence
from torghut_assets.gates.policy import load_policy
from torghut_assets.promotion.decision import PromotionDecision
from torghut_assets.research import plots
from torghut_assets.research.leaderboard import rank
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.tearsheet import number, percent, render_tearsheet

PNG = b"\x89PNG\r\n\x1a\n"
PICTURES: dict[str, Callable[[Researched], bytes]] = {
    "equity": lambda found: plots.equity_and_drawdown(found.research.report),
    "folds": lambda found: plots.folds(found.research.results.report),
    "months": lambda found: plots.monthly_returns(found.research.report),
    "sharpe": lambda found: plots.rolling_sharpe(found.research.report),
    "costs": lambda found: plots.costs(found.research.report),
}


def judged(found: Researched) -> GateEvaluation:
    spec = found.research.spec
    evidence = freeze_evidence(spec.name, spec.candidate_id, "paper", ledger="none")
    documents = judged_documents(found.research, evidence)
    return evaluate_gates(load_policy(SHIPPED_POLICY), documents, "paper", code_version="c0de")


@pytest.fixture(scope="module")
def page() -> str:
    found = momentum()
    return render_tearsheet(
        found.research.spec, found.research.results.report, found.research.report, judged(found)
    ).decode()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("candidate", [momentum, nothing])
def test_a_picture_is_drawn_twice_with_the_same_bytes(candidate: Callable[[], Researched], name: str) -> None:
    draw = PICTURES[name]
    picture = draw(candidate())
    assert picture.startswith(PNG)
    assert picture == draw(candidate())
    assert len(picture) < 150_000
    assert b"tEXt" not in picture
    assert b"tIME" not in picture


def test_the_rolling_sharpe_begins_when_its_window_is_full() -> None:
    returns = np.tile([0.01, -0.005], 100)
    values = plots._rolling_sharpe(returns)
    assert np.isnan(values[: plots.ROLLING_SESSIONS - 1]).all()
    window = returns[: plots.ROLLING_SESSIONS]
    assert values[plots.ROLLING_SESSIONS - 1] == pytest.approx(window.mean() / window.std(ddof=1) * np.sqrt(252))
    assert np.isnan(plots._rolling_sharpe(np.zeros(200))).all()


class References(HTMLParser):
    """Everything that a page would load, and every tag that could."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]


def test_the_page_is_self_contained(page: str) -> None:
    found = References()
    found.feed(page)
    assert len(found.loaded) == 5
    for reference in found.loaded:
        kind, _, data = reference.partition("base64,")
        assert kind == "data:image/png;"
        assert base64.b64decode(data, validate=True).startswith(PNG)
    assert not {"script", "link", "iframe", "object", "embed"} & set(found.tags)
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_shows_what_was_measured_and_every_rule(page: str) -> None:
    found = momentum()
    report = found.research.report
    for shown in (report.name, report.candidate_id, number(report.performance.net_pnl)):
        assert shown in page
    assert percent(report.performance.drawdown_fraction) in page
    for record in judged(found).records:
        assert record.rule_id in page


def test_the_page_is_rendered_twice_with_the_same_bytes(page: str) -> None:
    found = momentum()
    again = render_tearsheet(found.research.spec, found.research.results.report, found.research.report, judged(found))
    assert again.decode() == page


def test_a_candidate_without_folds_has_a_page_too() -> None:
    found = nothing()
    page = render_tearsheet(
        found.research.spec, found.research.results.report, found.research.report, judged(found)
    ).decode()
    assert "fold_count_below_minimum" in page
    assert "The data are too short for a single fold." in page
    assert "<img" not in page
    assert "None" not in page
    assert "nan" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)


def test_without_an_evaluation_the_page_has_no_gates() -> None:
    found = momentum()
    page = render_tearsheet(found.research.spec, found.research.results.report, found.research.report).decode()
    assert found.research.spec.candidate_id in page
    assert "1.deflated_sharpe" not in page


def test_names_from_outside_are_text_and_no_markup() -> None:
    found = momentum()
    spec = found.research.spec.model_copy(update={"name": "<script>alert(1)</script>"})
    report = found.research.report.model_copy(update={"name": "<script>alert(1)</script>"})
    page = render_tearsheet(spec, found.research.results.report, report).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (False, "no"),
        (1234567, "1,234,567"),
        (1234.567, "1,234.57"),
        (0.123456, "0.1235"),
        (-99.99999, "-100"),
        ([], "none"),
        (["a", 1], "a, 1"),
        ("text", "text"),
    ],
)
def test_numbers_as_people_read_them(value: object, text: str) -> None:
    assert number(value) == text


def test_fractions_as_per_cent() -> None:
    assert (percent(0.12345), percent(-1.0), percent(None)) == ("12.35 %", "-100.00 %", "–")


def report_of(name: str, sharpe: float | None, net_pnl: float = 1.0) -> EvaluationReport:
    report = momentum().research.report
    performance = report.performance.model_copy(update={"sharpe_annualized": sharpe, "net_pnl": net_pnl})
    return report.model_copy(update={"name": name, "candidate_id": f"cand-{name}", "performance": performance})


def decision_of(name: str, **changes: Any) -> PromotionDecision:
    return World().decision.model_copy(update={"name": name, "candidate_id": f"cand-{name}", **changes})


def ranked(*reports: EvaluationReport, **decisions: PromotionDecision) -> pl.DataFrame:
    return rank({report.name: report for report in reports}, decisions)


def test_candidates_are_ranked_by_sharpe_those_without_last_equal_ones_by_name() -> None:
    board = ranked(
        report_of("none", None),
        report_of("b", 1.0),
        report_of("a", 1.0),
        report_of("best", 2.0),
        report_of("bad", -1.0),
    )
    assert board["name"].to_list() == ["best", "a", "b", "bad", "none"]
    assert board["rank"].to_list() == [1, 2, 3, 4, 5]
    assert board["verdict"].to_list() == [None] * 5


def test_the_verdict_stands_beside_its_own_candidate_only() -> None:
    board = ranked(
        report_of("judged", 1.0),
        report_of("changed", 0.5),
        judged=decision_of("judged", action="deny", reasons=("one", "two")),
        changed=decision_of("changed", candidate_id="cand-older"),
        elsewhere=decision_of("elsewhere"),
    )
    assert board.select("name", "verdict", "reasons").rows() == [
        ("judged", "deny", "one, two"),
        ("changed", None, None),
    ]


def test_an_empty_leaderboard_has_its_columns() -> None:
    board = rank({}, {})
    assert board.height == 0
    assert board.columns == ranked(report_of("one", 1.0)).columns
