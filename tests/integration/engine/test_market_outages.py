"""Market data that are silent, late, doubled or told anew, tried on a running engine.

Database, simulator and sockets are real; minutes are counted from 1, as the strategies count their bars.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import requests
from alpaca_streams import until
from engine_world import MONDAY, minute_tape
from live_engine import MANY, Desk, Start, desks, entry, running, seen
from market_days import MINUTE, READERS, bounds, minutes_from, reading, recorded_features, research_features, walk
from simulator_fixtures import control

from torghut_runtime.broker.simulator.tape import Tape
from torghut_runtime.clock import NANOSECONDS, moment_of
from torghut_runtime.engine.engine import Engine, EngineOptions

__all__ = ["desks"]

OPTIONS = EngineOptions(registry=READERS)
PATIENT = {"ROLLBACK_SIGNAL_LAG_SECONDS_LIMIT": "3600", "ROLLBACK_SIGNAL_STALENESS_ALERT_STREAK_LIMIT": "100"}
"""An outage stops no entries by itself: what is tried is what else stops them."""
REFUSED = {"method": "GET", "path": "/v2/stocks*", "status": 500, "count": 100_000}
"""History does not answer."""
STALE, BEHIND_GAP = "signal_stale", "feature_quality:feature_staleness_exceeds_budget"
DOUBLES = "feature_quality:duplicate_ratio_exceeds_threshold"
BELL, _ = bounds(MONDAY)
TEN_DAYS = 10 * 86_400 * NANOSECONDS


def flat(*symbols: str, minutes: int = 40) -> Tape:
    return minute_tape(dict.fromkeys(symbols or ("AAPL",), [100] * minutes))


def trades(engine: Engine, symbol: str) -> bool:
    """Whether a symbol was seen to trade since the connection stands."""
    return running(engine).market._board.trades(symbol)


def unheard(desk: Desk, minutes: int = 1, symbols: int = 1) -> None:
    """Minutes pass, whatever the engine hears of them."""
    for _ in range(minutes):
        answer = requests.post(f"{desk.simulator.url}/sim/step", json={"events": symbols}, timeout=60)
        answer.raise_for_status()


def taken(engine: Engine) -> int:
    return engine.status()["metrics"]["bars_taken"]


def minute_of(moment: datetime) -> int:
    """Number of the minute that begins then."""
    return (moment.astimezone(UTC) - BELL) // MINUTE + 1


def decisions(desk: Desk, strategy_id: str, symbol: str = "AAPL") -> dict[int, list[str]]:
    """Reasons of what a strategy decided, by minute; none are doubled."""
    rows = desk.rows(
        "SELECT bar_ts, decision_json->'risk_reasons' AS reasons FROM trade_decisions"
        f" WHERE strategy_id = '{strategy_id}' AND symbol = '{symbol}' ORDER BY bar_ts"
    )
    found = {minute_of(row.bar_ts): list(row.reasons) for row in rows}
    assert len(found) == len(rows)
    return found


def sides(desk: Desk, strategy_id: str) -> list[str]:
    """Sides of what a strategy has sent."""
    sent = f"strategy_id = '{strategy_id}' AND state NOT IN ('initialised', 'rejected')"
    return [row.side for row in desk.rows(f"SELECT side FROM order_intents WHERE {sent} ORDER BY created_at")]


def always(strategy_id: str = "buyer", **given: Any) -> dict[str, Any]:
    """Enters with every bar."""
    return entry(strategy_id, **{"enter_at": 1, "until": 1_000, "pyramid": True, "qty": 1, **given})


def seller(exit_at: int) -> dict[str, Any]:
    """Buys MSFT with its first bar, and leaves it."""
    return entry("seller", universe_symbols=["MSFT"], enter_at=1, exit_at=exit_at)


def numbers(tape: Tape, minutes: Sequence[int]) -> dict[datetime, tuple[float, ...]]:
    """What research says of these minutes."""
    expected = research_features(tape)
    return {at: expected[at] for at in (BELL + (number - 1) * MINUTE for number in minutes)}


# A mute socket --------------------------------------------------------------------------------------------------------


def test_a_mute_socket_is_given_up_its_minutes_filled_entries_wait_and_exits_go(desks: Start) -> None:
    desk = desks(flat("AAPL", "MSFT"))
    desk.write(seller(3), always())
    engine = desk.ready(desk.engine(**PATIENT, **MANY))
    desk.step(engine, 2, symbols=2)
    control(desk.simulator, mute=[{"stream": "data", "seconds": 130}])
    unheard(desk, symbols=2)
    before = taken(engine)
    unheard(desk, symbols=2)  # by now the third minutes are overdue, and the socket was silent for one
    until(lambda: seen(engine).mute_sockets == 1)
    until(lambda: taken(engine) == before + 2)
    until(lambda: seen(engine).connected and seen(engine).connections == 2)
    desk.step(engine, symbols=2, heard=4)  # the fourth are filled, the fifth are heard
    desk.step(engine, symbols=2)
    bought = decisions(desk, "buyer")
    assert bought.pop(4) in ([], [STALE])  # it may have been filled before the fifth was heard
    assert bought == {1: [], 2: [], 3: [STALE], 5: [], 6: []}
    assert decisions(desk, "seller", "MSFT") == {1: [], 3: []}
    assert sides(desk, "seller") == ["buy", "sell"]
    assert seen(engine).counts.backfilled == 4


# Bars twice, late, corrected, old -------------------------------------------------------------------------------------


def test_doubled_late_corrected_and_ten_days_old_bars_change_neither_features_nor_decisions(desks: Start) -> None:
    tape = walk({"AAPL": minutes_from(BELL, 60)})
    desk = desks(tape, begins=BELL + 45 * MINUTE)
    desk.write(reading(), always())
    engine = desk.ready(desk.engine(OPTIONS, **MANY))
    control(desk.simulator, late_bars=[{"symbol": "AAPL", "count": 1, "delay_ms": 65_000}])
    before = seen(engine).heard_at
    unheard(desk)
    until(lambda: seen(engine).heard_at != before)  # its trades; the socket is not mute
    desk.step(engine, heard=2)  # the late one is filled before it comes, behind the next
    desk.step(engine)
    until(lambda: seen(engine).counts.duplicates == 1)
    first = {"symbol": "AAPL", "ts": (BELL + 45 * MINUTE).isoformat(), "fields": {"close": 50.0, "low": 50.0}}
    control(desk.simulator, correct_bars=[first])
    until(lambda: seen(engine).counts.corrected == 1)
    last = tape.bars[47]
    old = replace(last, opens_at=last.opens_at - TEN_DAYS, closes_at=last.closes_at - TEN_DAYS)
    desk.simulator.call(lambda broker: broker.feed.closed(old))
    control(desk.simulator, duplicate_bars=[{"symbol": "AAPL", "count": 2}])
    desk.step(engine, 4)
    until(lambda: seen(engine).counts.duplicates == 1 + 1 + 2)
    minutes = range(46, 53)
    until(lambda: len(recorded_features(desk)) >= len(minutes))
    assert recorded_features(desk) == numbers(tape, minutes)
    assert decisions(desk, "buyer").keys() == set(minutes)
    assert (seen(engine).counts.backfilled, seen(engine).counts.too_late) == (1, 0)
    assert {reason for reasons in decisions(desk, "buyer").values() for reason in reasons} <= {DOUBLES}


# A gap ----------------------------------------------------------------------------------------------------------------


def test_behind_a_gap_entries_wait_exits_go_and_a_new_warm_up_makes_it_right(desks: Start) -> None:
    tape = walk({symbol: minutes_from(BELL, 80) for symbol in ("AAPL", "MSFT")})
    desk = desks(tape, begins=BELL + 45 * MINUTE)
    desk.write(reading(), seller(4), always())
    engine = desk.ready(desk.engine(OPTIONS, **PATIENT, **MANY))
    desk.step(engine, 2, symbols=2)  # 46, 47
    control(desk.simulator, disconnect=[{"stream": "data", "seconds": 600}], http_errors=[REFUSED])
    until(lambda: not seen(engine).connected)
    unheard(desk, 10, symbols=2)  # 48 to 57
    until(lambda: seen(engine).connected)
    unheard(desk, symbols=2)  # 58 waits for those before it
    before = taken(engine)
    unheard(desk, symbols=2)  # for a minute, in which nobody answers
    until(lambda: taken(engine) == before + 4)
    assert seen(engine).gaps == ("AAPL", "MSFT")
    assert decisions(desk, "buyer") == {46: [], 47: [], 58: [BEHIND_GAP], 59: [BEHIND_GAP]}
    control(desk.simulator, http_errors=[])
    unheard(desk, symbols=2)  # 60: the past is asked for again, and this one may come before it is told
    until(lambda: taken(engine) == before + 6)
    until(lambda: seen(engine).gaps == ())
    assert sides(desk, "seller") == ["buy", "sell"]
    desk.step(engine, 3, symbols=2)
    after = [61, 62, 63]
    until(lambda: recorded_features(desk).keys() >= numbers(tape, after).keys())
    found = recorded_features(desk)
    assert {at: found[at] for at in numbers(tape, after)} == numbers(tape, after)
    wrong = numbers(tape, [58, 59])
    assert all(found[at] != wrong[at] for at in wrong), "these were indicators of another past"
    assert [decisions(desk, "buyer")[number] for number in after] == [[]] * 3
    assert not decisions(desk, "buyer").keys() & set(range(48, 58))


def test_after_a_pause_longer_than_the_look_back_a_new_process_knows_what_the_old_one_missed(desks: Start) -> None:
    tape = walk({"AAPL": minutes_from(BELL, 100)})
    desk = desks(tape, begins=BELL + 45 * MINUTE)
    desk.write(reading(), always())
    first = desk.ready(desk.engine(OPTIONS, **PATIENT, **MANY))
    desk.step(first, 2)  # 46, 47
    first.stop()
    unheard(desk, 30)  # 48 to 77
    second = desk.ready(desk.engine(OPTIONS, **PATIENT, **MANY))
    until(lambda: taken(second) >= 14)  # 63 to 76: as far as the look-back reaches, and what is overdue
    desk.step(second, heard=2)  # 77 is filled, 78 is heard
    desk.step(second, 2)
    decided = [46, 47, *range(63, 81)]
    until(lambda: len(recorded_features(desk)) >= len(decided))
    assert recorded_features(desk) == numbers(tape, decided)
    bought = decisions(desk, "buyer")
    assert [bought[number] for number in (46, 47, 78, 79, 80)] == [[]] * 5
    assert all(STALE in bought[number] for number in range(63, 77))  # the last one missed may be young enough


# Halts ----------------------------------------------------------------------------------------------------------------


def test_after_a_reconnect_entries_in_a_symbol_wait_until_it_is_seen_to_trade(desks: Start) -> None:
    """Its halt began while nobody listened, and a halted symbol has no trades: here none from minute 4 to 8.

    In lockstep a minute's trades come together with its end. History, which is asked for the minutes before, may bring
    the ninth before they are heard, and then nobody knows yet that the symbol trades: so it is heard to trade first.
    """
    whole = flat("AAPL", "TSLA")
    halted = {bar for bar in whole.bars if bar.symbol == "AAPL" and 4 <= minute_of(moment_of(bar.opens_at)) <= 8}
    desk = desks(Tape(tuple(bar for bar in whole.bars if bar not in halted), "1Min"))
    desk.write(always(universe_symbols=["AAPL", "TSLA"]))
    engine = desk.ready(desk.engine(STATIC_SYMBOLS="AAPL,TSLA", **PATIENT, **MANY))
    desk.step(engine, 2, symbols=2)
    control(desk.simulator, disconnect=[{"stream": "data", "seconds": 30}])
    until(lambda: not seen(engine).connected)
    unheard(desk, symbols=2)  # 3; now AAPL is halted
    until(lambda: seen(engine).connected)
    desk.step(engine, heard=3)  # 4; the third minutes are filled over REST, and young enough
    assert decisions(desk, "buyer") == {1: [], 2: [], 3: [STALE]}
    assert decisions(desk, "buyer", "TSLA")[4] == []
    desk.step(engine, 4)
    assert not trades(engine, "AAPL")
    desk.simulator.call(lambda broker: broker.advance_to(broker.now + 30 * NANOSECONDS))
    control(desk.simulator)  # before it answers, frames are sent
    until(lambda: trades(engine, "AAPL"))
    desk.step(engine, 2, symbols=2)
    assert decisions(desk, "buyer") == {1: [], 2: [], 3: [STALE], 9: [], 10: []}


def test_while_the_stream_is_away_entries_wait_and_exits_go(desks: Start) -> None:
    desk = desks(flat("AAPL", "MSFT"))
    desk.write(seller(3), always())
    engine = desk.ready(desk.engine(**PATIENT, **MANY))
    desk.step(engine, 2, symbols=2)
    control(desk.simulator, disconnect=[{"stream": "data", "seconds": 90}])
    until(lambda: not seen(engine).connected)
    unheard(desk, symbols=2)
    desk.step(engine, symbols=2)  # the third minutes come over REST
    assert decisions(desk, "buyer") == {1: [], 2: [], 3: [STALE]}
    until(lambda: seen(engine).connected)
    desk.step(engine, symbols=2, heard=4)
    desk.step(engine, symbols=2)
    bought = decisions(desk, "buyer")
    assert bought.keys() == {1, 2, 3, 4, 5, 6}
    assert (bought[3], bought[5], bought[6]) == ([STALE], [], [])
    assert sides(desk, "seller") == ["buy", "sell"]


def test_a_halt_that_ended_while_nobody_listened_ends_with_the_first_trade(desks: Start) -> None:
    desk = desks(flat("AAPL", "MSFT"))
    desk.write(entry("seller", enter_at=1, exit_at=5), always(universe_symbols=["AAPL", "MSFT"]))
    engine = desk.ready(desk.engine(**PATIENT, **MANY))
    desk.step(engine, 2, symbols=2)
    control(desk.simulator, halt=["AAPL"])
    until(lambda: seen(engine).halted == ("AAPL",))
    control(desk.simulator, disconnect=[{"stream": "data", "seconds": 90}])
    until(lambda: not seen(engine).connected)
    control(desk.simulator, halt=[])
    unheard(desk, symbols=2)  # 3
    before = taken(engine)
    unheard(desk, symbols=2)  # 4; the third minutes are filled
    until(lambda: taken(engine) == before + 2)
    until(lambda: seen(engine).connected)
    assert seen(engine).halted == ("AAPL",)
    assert decisions(desk, "buyer")[3] == ["symbol_halted", STALE]
    desk.step(engine, symbols=2, heard=4)
    assert seen(engine).halted == ()
    desk.step(engine, 3, symbols=2)  # entries wait for the exit's end first
    assert decisions(desk, "buyer")[7] == []
    assert sides(desk, "seller") == ["buy", "sell"]
