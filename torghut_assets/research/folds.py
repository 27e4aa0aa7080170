"""Walk-forward folds: how history is cut into training and test windows (contract ``lane.md`` 5).

Pure arithmetic over positions in a list of sessions; what is simulated in a window is told in ``walkforward``. Windows
follow López de Prado, *Advances in Financial Machine Learning* (2018), chapter 7: between training and test lies a
purge as long as the holding horizon, and an embargo.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from torghut_assets.research.settings import FoldSettings, Span
from torghut_assets.research.simulation import Window
from torghut_runtime.errors import InputError
from torghut_runtime.market.timeframe import DAILY, timeframe_seconds

_EXCHANGE_SECONDS = 23_400
_WHOLE_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class FoldSpan:
    """Half-open ranges of session positions: training, then a gap, then test."""

    train_start: int
    train_end: int
    test_start: int
    test_end: int


@dataclass(frozen=True)
class Fold:
    """One fold by dates; ``purge_sessions`` lie between training and test and belong to neither."""

    index: int
    train: Window
    test: Window
    train_sessions: int
    test_sessions: int
    purge_sessions: int


def walk_forward_folds(
    n: int,
    *,
    train: int,
    test: int,
    step: int | None = None,
    purge: int = 0,
    mode: Literal["rolling", "anchored"] = "rolling",
    first_test: int | None = None,
) -> list[FoldSpan]:
    """Cut ``n`` periods into folds that fit.

    Args:
        n: number of periods, in order of time.
        train: length of the training window (of the first one when anchored).
        test: length of each test window.
        step: distance between the beginnings of two test windows, ``test`` when left out.
        purge: periods between training and test that belong to neither.
        mode: ``rolling`` keeps the length of the training window, ``anchored`` its beginning.
        first_test: where the first test window begins; ``train + purge`` when left out.

    Returns:
        Folds in order of time; none when not even one fits.

    Raises:
        ValueError: a length below 1, a negative purge, or a step below ``test`` (test windows would overlap).
    """
    step = test if step is None else step
    if train < 1 or test < 1 or purge < 0:
        raise ValueError(f"windows need at least one period, was train {train}, test {test}, purge {purge}")
    if step < test:
        raise ValueError(f"test windows would overlap: step {step} is below test {test}")
    folds: list[FoldSpan] = []
    begin = train + purge if first_test is None else first_test
    while begin + test <= n:
        end = begin - purge
        start = 0 if mode == "anchored" else end - train
        if start < 0 or end <= start:
            break
        folds.append(FoldSpan(start, end, begin, begin + test))
        begin += step
    return folds


def plan_folds(
    sessions: Sequence[date],
    settings: FoldSettings,
    *,
    horizons: Sequence[tuple[str, int]],
    around_the_clock: bool,
) -> list[Fold]:
    """The folds of a candidate.

    Without explicit lengths the last ``test_region_fraction`` of the sessions, rounded up, is cut into ``min_folds``
    equal test windows; what does not divide goes to the first training window. Boundaries are sessions, so a length in
    bars (the purge above all) is rounded up to whole ones.

    Args:
        sessions: of the calendar, ascending, common to all symbols.
        settings: how to cut.
        horizons: per strategy the timeframe of its bars and its declared holding horizon in them; the longest in time
            is the purge. Window lengths in bars are counted in the shortest of these timeframes.
        around_the_clock: whether a session is a whole day.

    Raises:
        InputError: a step that would make test windows overlap.
    """
    counts = [(bars_per_session(name, around_the_clock=around_the_clock), bars) for name, bars in horizons]
    per_session = max(count for count, _ in counts)
    purge = max(math.ceil((bars + settings.embargo_bars) / count) for count, bars in counts)
    n = len(sessions)
    region = math.ceil(round(n * settings.test_region_fraction, 9))
    test = _length(settings.test, per_session) or region // settings.min_folds
    if test < 1:
        return []
    step = _length(settings.step, per_session) or test
    train = _length(settings.train, per_session)
    first_test = None
    if train is None:
        first_test = n - test * settings.min_folds if settings.test is None else n - region
        train = first_test - purge
    if train < 1:
        return []
    if step < test:
        raise InputError(f"test windows would overlap: {step} sessions are below test's {test}", field="folds.step")
    spans = walk_forward_folds(
        n, train=train, test=test, step=step, purge=purge, mode=settings.mode, first_test=first_test
    )
    return [
        Fold(
            index=index,
            train=Window(sessions[span.train_start], sessions[span.train_end - 1]),
            test=Window(sessions[span.test_start], sessions[span.test_end - 1]),
            train_sessions=span.train_end - span.train_start,
            test_sessions=span.test_end - span.test_start,
            purge_sessions=span.test_start - span.train_end,
        )
        for index, span in enumerate(spans)
    ]


def bars_per_session(timeframe: str, *, around_the_clock: bool) -> int:
    """Nominal number of bars in a full session."""
    if timeframe == DAILY:
        return 1
    return math.ceil((_WHOLE_DAY_SECONDS if around_the_clock else _EXCHANGE_SECONDS) / timeframe_seconds(timeframe))


def _length(span: Span | None, per_session: int) -> int | None:
    if span is None:
        return None
    return span.sessions if span.sessions is not None else math.ceil((span.bars or 0) / per_session)
