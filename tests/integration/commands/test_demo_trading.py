"""What the demo trades: the catalog it writes, and the engine over a tape, told from the tables of its database."""

from datetime import date
from pathlib import Path

import pytest
from simulated_days import MINUTE

from torghut_assets.demo_trading import throwaway_database, trade
from torghut_runtime.broker.simulator.tape import synthetic_tape
from torghut_runtime.clock import nanoseconds_of
from torghut_runtime.market.calendar import TradingCalendar

FIRST = date(2013, 3, 1)
SECOND = date(2013, 3, 4)
CATALOG = """
- strategy_id: holder
  strategy_type: buy_and_hold
  version: 1.0.0
  base_timeframe: 1Min
  universe_symbols: [AAPL, IBM]
  max_notional_per_trade: 1000
"""
assert MINUTE


@pytest.mark.full
def test_the_engine_trades_a_tape_and_its_tables_agree_with_the_broker(tmp_path: Path) -> None:
    catalog = tmp_path / "strategies.yaml"
    catalog.write_text(CATALOG)
    tape = synthetic_tape(["AAPL", "IBM"], seed=1, first=FIRST, sessions=2)
    opens_at = TradingCalendar().session_open(SECOND)
    assert opens_at is not None
    start = nanoseconds_of(opens_at)
    played: list[tuple[int, int]] = []
    with throwaway_database() as dsn:
        done = trade(tape, start, catalog, dsn, lambda bars, of: played.append((bars, of)))
    assert played[-1] == (780, 780)
    assert (done.bars, done.state, done.differences) == (780, "ACTIVE", 0)
    assert (done.parity.status, done.parity.recorded) == ("equal", 780)
    assert {(each["strategy_id"], each["symbol"], each["side"]) for each in done.fills} == {
        ("holder", "AAPL", "buy"),
        ("holder", "IBM", "buy"),
    }
    assert {each["symbol"] for each in done.tca} == {"AAPL", "IBM"}
    spent = sum(each["qty"] * each["price"] for each in done.fills)
    assert 0 < spent <= 2 * 1000 * 2
