"""The adviser's day in figures, from its stored reviews; a day is one of New York."""

from collections import Counter
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from torghut_runtime.api.documents.adviser import LlmEvaluation, ReviewMetrics, ReviewWindow, RiskFlag, Tokens
from torghut_runtime.storage.runtime_tables import llm_decision_reviews

ZONE: Final = "America/New_York"
MOST: Final = 10_000
"""Reviews that are looked at, at most: the newest of the day."""
_TOP: Final = 5
_CHANGING: Final = ("veto", "reduce")


def read_evaluation(connection: sa.Connection, now: datetime) -> LlmEvaluation:
    """Today's reviews."""
    today = now.astimezone(ZoneInfo(ZONE)).date()
    start = datetime.combine(today, time(), ZoneInfo(ZONE))
    end = datetime.combine(today + timedelta(days=1), time(), ZoneInfo(ZONE))
    window = ReviewWindow(
        timezone=ZONE, start=start, end=end, start_utc=start.astimezone(UTC), end_utc=end.astimezone(UTC)
    )
    return LlmEvaluation(ok=True, window=window, metrics=_metrics(connection, start, end))


def _metrics(connection: sa.Connection, start: datetime, end: datetime) -> ReviewMetrics:
    t = llm_decision_reviews
    columns = (t.c.verdict, t.c.error, t.c.confidence, t.c.applied, t.c.late, t.c.prompt_tokens, t.c.completion_tokens)
    query = (
        sa.select(*columns, t.c.risk_flags)
        .where(t.c.created_at >= start, t.c.created_at < end)
        .order_by(t.c.created_at.desc())
        .limit(MOST)
    )
    rows = connection.execute(query).all()
    total = len(rows)
    verdicts = Counter(str(row.verdict) for row in rows if row.verdict is not None)
    confidences = [row.confidence for row in rows if row.confidence is not None]
    named = Counter(str(flag) for row in rows for flag in row.risk_flags)
    prompt = sum(row.prompt_tokens or 0 for row in rows)
    completion = sum(row.completion_tokens or 0 for row in rows)
    changing = sum(1 for row in rows if row.applied and row.verdict in _CHANGING)
    return ReviewMetrics(
        total_reviews=total,
        verdict_counts=dict(sorted(verdicts.items())),
        error_rate=_share(sum(1 for row in rows if row.error is not None), total),
        avg_confidence=sum(confidences) / len(confidences) if confidences else None,
        decision_contribution=_share(changing, total),
        tokens=Tokens(prompt=prompt, completion=completion, total=prompt + completion),
        top_risk_flags=[
            RiskFlag(flag=flag, count=count)
            for flag, count in sorted(named.items(), key=lambda item: (-item[1], item[0]))[:_TOP]
        ],
        late_total=sum(1 for row in rows if row.late),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
