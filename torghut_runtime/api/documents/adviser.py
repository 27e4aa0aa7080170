"""What the adviser has reviewed on one day (``runtime.md`` 2)."""

from datetime import datetime
from typing import Literal

from torghut_runtime.api.documents.values import Document


class Tokens(Document):
    """Tokens that reviews have used."""

    prompt: int
    completion: int
    total: int


class RiskFlag(Document):
    """How often a risk was named."""

    flag: str
    count: int


class ReviewMetrics(Document):
    """Reviews of the day; shares are of all reviews, ``decision_contribution`` of those that changed an order."""

    total_reviews: int
    verdict_counts: dict[str, int]
    error_rate: float | None
    avg_confidence: float | None
    decision_contribution: float | None
    tokens: Tokens
    top_risk_flags: list[RiskFlag]
    late_total: int


class ReviewWindow(Document):
    """The day that is looked at."""

    timezone: str
    start: datetime
    end: datetime
    start_utc: datetime
    end_utc: datetime


class LlmEvaluation(Document):
    """The adviser's day."""

    ok: Literal[True]
    window: ReviewWindow
    metrics: ReviewMetrics
