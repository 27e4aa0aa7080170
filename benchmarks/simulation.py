"""How fast the simulation is: against a vectorised lower bound, and against itself with many symbols.

Run with ``uv run python benchmarks/simulation.py [--json PATH] [--rows N]``. All times are CPU seconds of this process,
best of several runs taken in turns, after compilation.

* Width: the same number of rows as 5 symbols and as 1,000. The ratio says what a symbol costs beside its bars; the
  target is below 1.20. It is given for ``simulate`` alone and with ``prepare_market`` before it.
* Lower bound: the same rule, one price path and no costs, as whole-column operations of numpy and of polars (positions
  as shifted conditions, profit as their product with the returns). No account, no orders, no volume and no caps: what
  no event-driven simulation can go below, computed in the same run.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from torghut_assets.research.settings import ResearchSettings
from torghut_assets.research.simulation import MarketArrays, Window, prepare_market, simulate
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve

NARROW, WIDE = 5, 1000
TARGET = 1.20
REPEATS = 5


def market_frame(rows: int, symbols: int) -> pl.DataFrame:
    """Minutes of XNYS sessions: ``rows`` rows shared out to ``symbols`` symbols, with plausible features."""
    rng = np.random.default_rng(symbols)
    per_symbol = rows // symbols
    calendar = TradingCalendar()
    starts: list[np.ndarray] = []
    sessions: list[np.ndarray] = []
    wanted = per_symbol
    for session in calendar.sessions(date(2000, 1, 3), date(2023, 12, 29)):
        opened, closed = calendar.session_open(session), calendar.session_close(session)
        minutes = np.arange(np.datetime64(opened.replace(tzinfo=None)), np.datetime64(closed.replace(tzinfo=None)), 60)
        starts.append(minutes[:wanted].astype("datetime64[us]"))
        sessions.append(np.full(len(starts[-1]), np.datetime64(session)))
        wanted -= len(starts[-1])
        if wanted == 0:
            break
    at = np.concatenate(starts)
    price = 100 * np.exp(np.cumsum(rng.normal(0, 5e-4, (per_symbol, symbols)), axis=0))
    shape = price.shape
    names = np.array([f"S{index:04d}" for index in range(symbols)])
    opens = np.vstack([price[:1], price[:-1]])
    frame = pl.DataFrame(
        {
            "open_ts": np.repeat(at, symbols),
            "event_ts": np.repeat(at + np.timedelta64(60, "s"), symbols),
            "session": np.repeat(np.concatenate(sessions), symbols),
            "symbol": np.tile(names, per_symbol),
            "timeframe": "1Min",
            "seq": 0,
            "open": opens.ravel(),
            "close": price.ravel(),
            "volume": np.full(price.size, 1e6),
            "half_spread_bps": np.full(price.size, 1.0),
            "macd": rng.normal(0, 0.3, shape).ravel(),
            "macd_signal": rng.normal(0, 0.3, shape).ravel(),
            "rsi14": np.clip(rng.normal(50, 12, shape), 0, 100).ravel(),
        }
    )
    return frame.with_columns(pl.col("open_ts", "event_ts").dt.replace_time_zone("UTC"))


def strategy(symbols: int) -> BoundStrategy:
    """The predecessor's rule, with an equal share of equity for each symbol."""
    entry = {
        "strategy_id": "bench",
        "strategy_type": "legacy_macd_rsi",
        "version": "1.0.0",
        "base_timeframe": "1Min",
        "max_position_pct_equity": 1.0 / symbols,
        "params": {"buy_rsi_threshold": 45, "sell_rsi_threshold": 55},
    }
    return resolve(StrategyEntry.model_validate(entry), None)


def with_numpy(frame: pl.DataFrame, symbols: int) -> float:
    """Gross profit per unit of money of the rule, long or flat, by whole columns."""
    close, macd, signal, rsi = (frame[name].to_numpy().reshape(-1, symbols) for name in _COLUMNS)
    wants = np.where((macd > signal) & (rsi < 45), 1.0, np.where((macd < signal) & (rsi > 55), 0.0, np.nan))
    last = np.maximum.accumulate(np.where(np.isnan(wants), 0, np.arange(len(wants))[:, None]), axis=0)
    held = np.nan_to_num(np.take_along_axis(wants, last, axis=0))
    return float((held[:-1] * (close[1:] / close[:-1] - 1.0)).sum())


def with_polars(frame: pl.DataFrame, symbols: int) -> float:
    """The same in polars."""
    del symbols
    close, macd, signal, rsi = (pl.col(name) for name in _COLUMNS)
    wants = pl.when((macd > signal) & (rsi < 45)).then(1.0).when((macd < signal) & (rsi > 55)).then(0.0)
    held = wants.forward_fill().shift().over("symbol").fill_null(0.0)
    profit = held * (close / close.shift().over("symbol") - 1.0)
    return float(frame.lazy().select(profit.sum()).collect().item())


_COLUMNS = ("close", "macd", "macd_signal", "rsi14")


def cpu(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measure(rows: int) -> dict[str, float]:
    frames = {symbols: market_frame(rows, symbols) for symbols in (NARROW, WIDE)}
    markets = {symbols: prepare_market(frame) for symbols, frame in frames.items()}
    settings = ResearchSettings()

    def run(market: MarketArrays, symbols: int) -> object:
        window = Window(market.sessions[0], market.sessions[-1])
        return simulate(market, [strategy(symbols)], settings, window, settings.capital, 0)

    def prepared(symbols: int) -> object:
        return run(prepare_market(frames[symbols]), symbols)

    work: dict[str, Callable[[], object]] = {
        "simulate_narrow": lambda: run(markets[NARROW], NARROW),
        "simulate_wide": lambda: run(markets[WIDE], WIDE),
        "all_narrow": lambda: prepared(NARROW),
        "all_wide": lambda: prepared(WIDE),
        "numpy": lambda: with_numpy(frames[NARROW], NARROW),
        "polars": lambda: with_polars(frames[NARROW], NARROW),
    }
    assert abs(with_numpy(frames[NARROW], NARROW) - with_polars(frames[NARROW], NARROW)) < 1e-6
    for each in work.values():
        each()
    best = dict.fromkeys(work, float("inf"))
    for _ in range(REPEATS):
        for name, each in work.items():
            best[name] = min(best[name], cpu(each))
    result = run(markets[NARROW], NARROW)
    return {
        **best,
        "rows": float(frames[NARROW].height),
        "wide_rows": float(frames[WIDE].height),
        "orders": float(getattr(result, "order_count", 0)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the measurements there")
    parser.add_argument("--rows", type=int, default=500_000, help="rows of each market (default 500,000)")
    arguments = parser.parse_args()
    found = measure(arguments.rows)
    rows = found["rows"]
    events = 2 * rows  # every bar opens and closes
    print(f"{rows:,.0f} rows, {found['orders']:,.0f} orders, peak {found['peak_mb']:,.0f} MB")
    print(f"{'':24}{'CPU s':>8}{'rows/s':>14}")
    for label, name in (
        (f"simulate, {NARROW} symbols", "simulate_narrow"),
        (f"simulate, {WIDE} symbols", "simulate_wide"),
        (f"prepared, {NARROW} symbols", "all_narrow"),
        (f"prepared, {WIDE} symbols", "all_wide"),
        ("numpy lower bound", "numpy"),
        ("polars lower bound", "polars"),
    ):
        print(f"{label:24}{found[name]:>8.3f}{rows / found[name]:>14,.0f}")
    print(f"events per second: {events / found['simulate_narrow']:,.0f}")
    for label, name in (("simulate", "simulate"), ("prepared", "all")):
        ratio = found[f"{name}_wide"] / found[f"{name}_narrow"]
        verdict = "" if name != "simulate" else f"  (target < {TARGET:.2f}: {'kept' if ratio < TARGET else 'missed'})"
        print(f"{WIDE:,} symbols instead of {NARROW}, {label}: {ratio:.2f}x{verdict}")
    bound = min(found["numpy"], found["polars"])
    print(f"simulate against the faster lower bound: {found['simulate_narrow'] / bound:.1f}x")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
