"""Laws of every cut: windows in order, apart by the purge, never tested on what was trained on."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from torghut_assets.research.folds import plan_folds, walk_forward_folds
from torghut_assets.research.settings import FoldSettings

MODES = st.sampled_from(["rolling", "anchored"])


@given(
    n=st.integers(0, 400),
    train=st.integers(1, 80),
    test=st.integers(1, 40),
    further=st.integers(0, 20),
    purge=st.integers(0, 30),
    mode=MODES,
)
def test_windows_are_in_order_apart_and_inside_the_data(
    n: int, train: int, test: int, further: int, purge: int, mode: str
) -> None:
    folds = walk_forward_folds(n, train=train, test=test, step=test + further, purge=purge, mode=mode)  # type: ignore[arg-type]
    before = 0
    for fold in folds:
        assert 0 <= fold.train_start < fold.train_end
        assert fold.test_start - fold.train_end == purge
        assert fold.test_end - fold.test_start == test
        assert fold.test_end <= n
        assert fold.test_start >= before
        assert fold.train_end - fold.train_start == train or (mode == "anchored" and fold.train_start == 0)
        before = fold.test_end
    fits = max(0, (n - train - purge - test) // (test + further) + 1) if n >= train + purge + test else 0
    assert len(folds) == fits


@given(
    n=st.integers(0, 1500),
    settings=st.builds(
        FoldSettings,
        min_folds=st.integers(1, 12),
        test_region_fraction=st.floats(0.05, 0.95),
        mode=MODES,
        embargo_bars=st.integers(0, 400),
    ),
    horizon=st.integers(1, 1200),
    timeframe=st.sampled_from(["1Day", "1Hour", "5Min", "1Min"]),
)
def test_the_default_cut_has_all_its_folds_or_none_and_ends_with_the_data(
    n: int, settings: FoldSettings, horizon: int, timeframe: str
) -> None:
    sessions = [date(2000, 1, 1) + timedelta(days=index) for index in range(n)]
    folds = plan_folds(sessions, settings, horizons=[(timeframe, horizon)], around_the_clock=False)
    assert len(folds) in (0, settings.min_folds)
    if not folds:
        return
    place = {day: index for index, day in enumerate(sessions)}
    assert folds[-1].test.last_session == sessions[-1]
    assert folds[0].train.first_session == sessions[0]
    assert len({fold.test_sessions for fold in folds}) == 1
    for number, fold in enumerate(folds):
        gap = place[fold.test.first_session] - place[fold.train.last_session] - 1
        assert (fold.index, gap) == (number, fold.purge_sessions)
        assert gap >= 1
        if number:
            assert place[fold.test.first_session] == place[folds[number - 1].test.last_session] + 1
    tested = settings.min_folds * folds[0].test_sessions
    assert n * settings.test_region_fraction + 1 > tested > n * settings.test_region_fraction - settings.min_folds
