"""Settings of trading: the contract's names and defaults, every fault in a line of its own, no value ever shown."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from torghut_runtime.clock import SimulatedClock, moment_of, nanoseconds_of
from torghut_runtime.errors import InputFaults
from torghut_runtime.trading_settings import known_names, load_trading_settings

LIVE = {
    "TRADING_MODE": "live",
    "TRADING_LIVE_ENABLED": "true",
    "TRADING_EXECUTION_ADAPTER": "alpaca",
    "APCA_API_KEY_ID": "k",
    "APCA_API_SECRET_KEY": "s",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in known_names():
        monkeypatch.delenv(name, raising=False)


def faults(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputFaults) as caught:
        load_trading_settings()
    return [str(fault) for fault in caught.value.faults]


def test_an_empty_environment_trades_nothing_on_paper_with_the_kill_switch_on() -> None:
    settings = load_trading_settings()
    assert (settings.mode.enabled, settings.mode.mode, settings.mode.account_label) == (False, "paper", "paper")
    assert (settings.stops.kill_switch, settings.stops.emergency_stop) == (True, True)
    assert (settings.broker.adapter, settings.broker.rate_limit_per_minute) == ("simulator", 200)
    assert settings.risk.max_daily_loss_pct == Decimal("0.03")
    assert settings.risk.price_collar_bps == 200
    assert settings.stops.max_drawdown == Decimal("0.08")
    assert settings.sizing.default_qty == 1
    assert settings.participation_rate == Decimal("0.1")
    assert not settings.require_provenance
    assert settings.data.critical_reasons == "no_signals_in_window,universe_source_unavailable,cursor_ahead_of_stream"


def test_every_fault_is_told_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    told = faults(
        monkeypatch,
        TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT="8",
        TRADING_MAX_OPEN_ORDERS="-1",
        TRADING_MODE="demo",
        TRADING_MAX_NOTIONAL_PER_TRADE="NaN",
    )
    named = [re.fullmatch(r"field (\w+): .+", line) for line in told]
    assert sorted(match[1] for match in named if match) == [
        "TRADING_MAX_NOTIONAL_PER_TRADE",
        "TRADING_MAX_OPEN_ORDERS",
        "TRADING_MODE",
        "TRADING_ROLLBACK_MAX_DRAWDOWN_LIMIT",
    ]


def test_a_cap_of_zero_is_a_value_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_MAX_NOTIONAL_PER_TRADE", "0")
    monkeypatch.setenv("TRADING_PORTFOLIO_MAX_POSITIONS", "")
    settings = load_trading_settings()
    assert settings.sizing.max_notional_per_trade == 0
    assert settings.sizing.max_positions is None


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"TRADING_MODE": "live"}, "TRADING_LIVE_ENABLED must be true in mode live"),
        ({"TRADING_LIVE_ENABLED": "true"}, "TRADING_LIVE_ENABLED must be false in mode paper"),
        ({"APCA_API_BASE_URL": "https://api.alpaca.markets"}, "field APCA_API_BASE_URL: must be on paper-api"),
        ({**LIVE, "APCA_API_BASE_URL": "https://paper-api.alpaca.markets"}, "field APCA_API_BASE_URL: must be on api"),
        ({**LIVE, "TRADING_EXECUTION_ADAPTER": "simulator"}, "field TRADING_EXECUTION_ADAPTER"),
        ({**LIVE, "TRADING_REQUIRE_PROVENANCE": "false"}, "field TRADING_REQUIRE_PROVENANCE"),
        ({"TRADING_EXECUTION_ADAPTER": "alpaca"}, "field APCA_API_KEY_ID"),
        ({"APCA_API_KEY_ID": "only-the-key"}, "field APCA_API_KEY_ID"),
        ({"TRADING_UNIVERSE_SOURCE": "file"}, "TRADING_UNIVERSE_PATH is required"),
        ({"TRADING_SIMULATOR_URL": "ftp://h"}, "field TRADING_SIMULATOR_URL"),
        ({"TRADING_SIGNAL_STALENESS_ALERT_CRITICAL_REASONS": "bad_luck"}, "unknown reason 'bad_luck'"),
    ],
)
def test_settings_that_disagree_stop_the_start(
    environment: dict[str, str], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = faults(monkeypatch, **environment)
    assert any(field in line for line in told), told
    assert "only-the-key" not in " ".join(told)


def test_the_version_path_of_a_base_url_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APCA_API_BASE_URL", "https://paper-api.alpaca.markets/v2/")
    assert load_trading_settings().broker.base_url == "https://paper-api.alpaca.markets"


def test_names_that_nobody_reads_are_told_with_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_MAX_OPEN_ORDER", "3")
    monkeypatch.setenv("TRADING_ORDER_FEED_TOPIC", "x")
    assert load_trading_settings().unknown_names == ("TRADING_MAX_OPEN_ORDER (did you mean TRADING_MAX_OPEN_ORDERS?)",)


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APCA_API_KEY_ID", "key-of-mine")
    monkeypatch.setenv("APCA_API_SECRET_KEY", "secret-of-mine")
    text = repr(load_trading_settings())
    assert "of-mine" not in text


def test_a_file_named_dotenv_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TRADING_POLL_MS=700\ntrading_reconcile_ms=900\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("TRADING_POLL_MS", "800")
    settings = load_trading_settings()
    assert (settings.mode.poll_ms, settings.mode.reconcile_ms) == (800, 900)


def test_a_simulated_clock_stands_until_it_is_moved_and_never_goes_back() -> None:
    clock = SimulatedClock(1_700_000_000_000_000_123)
    assert clock.now_ns() == 1_700_000_000_000_000_123
    assert nanoseconds_of(clock.now()) == 1_700_000_000_000_000_000
    clock.advance_to(1_700_000_001_000_000_000)
    assert clock.now() == moment_of(1_700_000_001_000_000_000)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance_to(1_700_000_000_999_999_999)
