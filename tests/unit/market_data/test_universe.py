"""The universe: static, from a file, from memory, and gone."""

from pathlib import Path

import pytest
from engine_world import settings_of

from torghut_runtime.clock import NANOSECONDS, SimulatedClock
from torghut_runtime.market_data.universe import Universe, is_allowed


def later(clock: SimulatedClock, seconds: float) -> None:
    clock.advance_to(clock.now_ns() + int(seconds * NANOSECONDS))


def of_file(path: Path, clock: SimulatedClock) -> Universe:
    settings = settings_of(
        UNIVERSE_SOURCE="file",
        UNIVERSE_PATH=str(path),
        UNIVERSE_CACHE_SECONDS="300",
        UNIVERSE_MAX_STALE_SECONDS="900",
    )
    return Universe(settings.universe, clock)


def test_static_symbols_are_upper_case_and_none_is_an_error() -> None:
    universe = Universe(settings_of(STATIC_SYMBOLS="aapl, MSFT").universe, SimulatedClock(0))
    assert universe.view.status == "error"
    view = universe.refresh()
    assert (view.status, view.reason, view.symbols) == ("ok", "", frozenset({"AAPL", "MSFT"}))
    empty = Universe(settings_of().universe, SimulatedClock(0)).refresh()
    assert (empty.status, empty.reason, empty.symbols) == ("error", "symbols_empty", frozenset())


@pytest.mark.parametrize("text", ['["AAPL", "msft"]', '{"symbols": ["AAPL", "msft"]}', "- AAPL\n- msft\n"])
def test_a_file_is_a_list_or_has_symbols(tmp_path: Path, text: str) -> None:
    path = tmp_path / "universe.json"
    path.write_text(text)
    assert of_file(path, SimulatedClock(0)).refresh().symbols == {"AAPL", "MSFT"}


def test_a_file_is_read_again_when_its_cache_is_over(tmp_path: Path) -> None:
    path, clock = tmp_path / "universe.json", SimulatedClock(0)
    path.write_text('["AAPL"]')
    universe = of_file(path, clock)
    universe.refresh()
    path.write_text('["MSFT"]')
    later(clock, 299.9)
    assert universe.refresh().symbols == {"AAPL"}
    later(clock, 0.1)
    assert universe.refresh().symbols == {"MSFT"}


@pytest.mark.parametrize(
    ("text", "cause"),
    [(None, "file_missing"), ("{", "file_invalid"), ('["$"]', "file_invalid"), ('{"names": []}', "file_invalid")],
)
def test_the_last_good_list_serves_for_a_while(tmp_path: Path, text: str | None, cause: str) -> None:
    path, clock = tmp_path / "universe.json", SimulatedClock(0)
    path.write_text('["AAPL"]')
    universe = of_file(path, clock)
    universe.refresh()
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    later(clock, 300)
    view = universe.refresh()
    assert (view.status, view.reason, view.symbols) == ("degraded", f"{cause}_using_stale_cache", {"AAPL"})
    assert view.cache_age_seconds == 300.0
    later(clock, 600)
    assert universe.view.status == "degraded"
    later(clock, 0.1)
    assert (universe.view.status, universe.view.reason, universe.view.symbols) == ("error", cause, frozenset())
    path.write_text('["MSFT"]')
    assert (universe.refresh().status, universe.view.symbols) == ("ok", {"MSFT"})


def test_an_empty_file_means_no_entries_at_once(tmp_path: Path) -> None:
    path, clock = tmp_path / "universe.json", SimulatedClock(0)
    path.write_text('["AAPL"]')
    universe = of_file(path, clock)
    universe.refresh()
    path.write_text("[]")
    later(clock, 300)
    view = universe.refresh()
    assert (view.status, view.reason, view.symbols) == ("error", "symbols_empty", frozenset())


def test_a_strategy_has_its_symbols_in_the_universe_or_the_whole_universe() -> None:
    assert is_allowed("AAPL", ("AAPL", "TSLA"), {"AAPL", "MSFT"})
    assert not is_allowed("TSLA", ("AAPL", "TSLA"), {"AAPL", "MSFT"})
    assert not is_allowed("MSFT", ("AAPL", "TSLA"), {"AAPL", "MSFT"})
    assert is_allowed("MSFT", None, {"AAPL", "MSFT"})
    assert not is_allowed("MSFT", None, ())
