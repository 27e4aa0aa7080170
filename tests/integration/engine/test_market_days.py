"""A running engine over closed days, and what comes of bars of no session: database, simulator and sockets are real."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import requests
from alpaca_streams import until
from live_engine import Desk, Start, codes, desks, entry, held, seen
from market_days import (
    COMPUTED,
    MINUTE,
    READERS,
    bounds,
    minutes_from,
    reading,
    recorded_features,
    research_features,
    walk,
)
from shown_metrics import shown_metrics
from simulator_fixtures import control

from torghut_runtime.clock import moment_of
from torghut_runtime.engine.engine import Engine, EngineOptions

__all__ = ["desks"]

OPTIONS = EngineOptions(registry=READERS)
AT_ONCE = {"ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT": "60", "SIGNAL_STALE_LAG_ALERT_SECONDS": "60"}
"""Any lag of a minute is told and stops entries."""
BEFORE, AFTER, LOST = 8, 6, 2
"""Minutes of the last session and of the next one that are traded, and some more that are lost."""


def alarms(engine: Engine) -> tuple[float, dict[str, float], float]:
    """Windows without a signal, alerts by reason, breaches; since the start."""
    found = shown_metrics(engine.metrics.registry)
    alerts = found.get("signal_staleness_alert_total", {})
    return found["no_signal_windows_total"], alerts, found["signal_continuity_breach_total"]


def lose(desk: Desk, engine: Engine, minutes: int) -> None:
    """Minutes pass that neither stream nor history tells of."""
    refuse = {"method": "GET", "path": "/v2/stocks*", "status": 500, "count": 1_000}
    dropped = [{"symbol": symbol, "count": minutes} for symbol in ("AAPL", "MSFT")]
    control(desk.simulator, drop_bars=dropped, http_errors=[refuse])
    for _ in range(minutes):  # of each its trades are heard: the socket is not mute
        before = seen(engine).heard_at
        requests.post(f"{desk.simulator.url}/sim/step", json={"events": 2}, timeout=60).raise_for_status()
        until(lambda before=before: seen(engine).heard_at != before)


def baselines(desk: Desk) -> list[tuple[date, Decimal]]:
    return [tuple(row) for row in desk.rows("SELECT session, opening_equity FROM risk_baselines")]


@pytest.mark.parametrize(
    ("last", "closed", "following"),
    [
        pytest.param(date(2026, 1, 9), date(2026, 1, 11), date(2026, 1, 12), id="weekend"),
        pytest.param(date(2026, 1, 16), date(2026, 1, 19), date(2026, 1, 20), id="holiday"),
        pytest.param(date(2026, 11, 25), date(2026, 11, 26), date(2026, 11, 27), id="to-an-early-close"),
        pytest.param(date(2026, 11, 27), date(2026, 11, 29), date(2026, 11, 30), id="from-an-early-close"),
    ],
)
def test_over_closed_days_nothing_is_late_the_day_begins_anew_and_features_are_researchs(
    desks: Start, last: date, closed: date, following: date
) -> None:
    _, closes_at = bounds(last)
    opens_at, _ = bounds(following)
    outside = [closes_at + 5 * MINUTE, datetime(closed.year, closed.month, closed.day, 15, tzinfo=UTC)]
    history = minutes_from(closes_at - 60 * MINUTE, 60 - BEFORE)
    traded = minutes_from(closes_at - BEFORE * MINUTE, BEFORE)
    fresh, lost = minutes_from(opens_at, AFTER), minutes_from(opens_at + AFTER * MINUTE, LOST)
    # The last minute of MSFT had no trade: it is not late for that until the next session.
    quiet = [*history, *traded[:-1], *fresh, *lost]
    tape = walk({"AAPL": [*history, *traded, *outside, opens_at - 10 * MINUTE, *fresh, *lost], "MSFT": quiet})
    desk = desks(tape, begins=traded[0])
    desk.write(reading("AAPL", "MSFT"), entry(enter_at=1, exits={"max_bars": BEFORE + 2}, qty=100))
    engine = desk.ready(desk.engine(OPTIONS, **AT_ONCE))
    desk.step(engine, BEFORE - 1, symbols=2)
    desk.step(engine)
    assert held(engine) == {"AAPL": Decimal(100)}
    equity = engine.positions()["account"]["equity"]
    for _ in (*outside, "before the open"):
        desk.step(engine)
        assert (codes(engine), seen(engine).lag_seconds) == ([], {"1Min": 0.0})
        assert seen(engine).staleness_seconds == {"AAPL": 0.0, "MSFT": 0.0}
        assert engine.positions()["account"]["equity"] == equity, "nobody's price counts"
    desk.step(engine, symbols=2)
    until(lambda: baselines(desk) == [(following, Decimal(equity))])
    account = engine.positions()["account"]
    assert Decimal(account["day_pnl"]) == Decimal(account["equity"]) - Decimal(equity) != 0
    desk.step(engine, AFTER - 1, symbols=2)
    for symbol, minutes in (("AAPL", [*traded, *fresh]), ("MSFT", [*traded[:-1], *fresh])):
        until(lambda symbol=symbol, minutes=minutes: len(recorded_features(desk, symbol)) >= len(minutes))
        expected = research_features(tape, symbol)
        assert recorded_features(desk, symbol) == {at: expected[at] for at in minutes}
        first = next(bar for bar in tape.bars if (bar.symbol, moment_of(bar.opens_at)) == (symbol, fresh[0]))
        typical = (first.high + first.low + first.close) / 3
        assert expected[fresh[0]][COMPUTED.index("vwap_session")] == pytest.approx(typical, rel=1e-12)
    # Filled with the second bar, which counts; the bars of no session were not held.
    decided = [row.bar_ts.astimezone(UTC) for row in desk.rows("SELECT bar_ts FROM trade_decisions ORDER BY bar_ts")]
    assert decided == [traded[0], fresh[2]]
    assert alarms(engine) == (0, {}, 0)
    assert (seen(engine).mute_sockets, seen(engine).connections) == (0, 1)
    lose(desk, engine, LOST)
    until(lambda: codes(engine) == ["signal_lag_exceeded:60"])
    until(lambda: alarms(engine) == (0, {"signal_lag": 1}, 1))
