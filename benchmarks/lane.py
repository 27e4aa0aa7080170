"""How long the lane takes and how much memory it needs, against the size of its input.

Run with ``uv run python benchmarks/lane.py [--json PATH] [--only demo|20k|200k|2m]``. Each case is a process of its own
that imports torghut first and then measures one whole lane (read, walk-forward, gates, bundle) without a database:
CPU seconds, wall seconds, rows per second and peak memory. The ratio column compares the time per row with the
smallest generated case, so growth is visible on a noisy machine; the read column is the share of time a plain decode of
the same file takes, the floor that no lane can go below.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

ROOT = Path(__file__).parents[1]
SIZES = {"20k": 20_000, "200k": 200_000, "2m": 2_000_000}
TARGETS = {"demo": "10 s CPU", "200k": "5 s, 1.5 GB"}
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
_STRATEGY = {
    "strategies": [
        {
            "strategy_id": "bench-macd-rsi",
            "strategy_type": "legacy_macd_rsi",
            "version": "1.0.0",
            "base_timeframe": "1Min",
            "universe_symbols": list(SYMBOLS),
            "max_position_pct_equity": 0.25,
            "params": {"buy_rsi_threshold": 45, "sell_rsi_threshold": 55},
            "search": {"buy_rsi_threshold": [40, 45], "sell_rsi_threshold": [55, 60]},
        }
    ]
}


def write_signals(path: Path, rows: int) -> None:
    """Minutes of XNYS sessions with a random walk per symbol and plausible features; the same for equal ``rows``."""
    from torghut_runtime.market.calendar import TradingCalendar

    rng = np.random.default_rng(rows)
    calendar = TradingCalendar()
    minutes: list[datetime] = []
    wanted = -(-rows // len(SYMBOLS))
    for session in calendar.sessions(datetime(2018, 1, 2).date(), datetime(2023, 12, 29).date()):  # noqa: DTZ001
        opened, closed = calendar.session_open(session), calendar.session_close(session)
        span = int((closed - opened).total_seconds() // 60)
        minutes.extend(datetime.fromtimestamp(opened.timestamp() + 60 * (m + 1), tz=opened.tzinfo) for m in range(span))
        if len(minutes) >= wanted:
            break
    minutes = minutes[:wanted]
    price = 100 * np.exp(np.cumsum(rng.normal(0, 5e-4, (len(minutes), len(SYMBOLS))), axis=0))
    macd = rng.normal(0, 0.3, price.shape)
    signal = macd + rng.normal(0, 0.1, price.shape)
    rsi = np.clip(rng.normal(50, 12, price.shape), 0, 100)
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as out:
        for row, minute in enumerate(minutes):
            text = minute.isoformat()
            for column, symbol in enumerate(SYMBOLS):
                payload = {
                    "price": round(float(price[row, column]), 4),
                    "volume": 50_000,
                    "macd": {
                        "macd": round(float(macd[row, column]), 6),
                        "signal": round(float(signal[row, column]), 6),
                    },
                    "rsi14": round(float(rsi[row, column]), 4),
                }
                out.write(encode({"event_ts": text, "symbol": symbol, "timeframe": "1Min", "payload": payload}) + b"\n")


def measure(case: str, folder: Path) -> dict[str, float | str | int]:
    """Run one case in this process."""
    from torghut_assets.lane import LaneRequest, run_lane

    policy = ROOT / "config" / "autonomous-gate-policy.json"
    if case == "demo":
        requests = [
            LaneRequest(
                bars=ROOT / "torghut_assets/sample_data/us5_daily_raw_quandlwiki.parquet",
                strategy_config=ROOT / "config" / "strategies" / f"{name}.yaml",
                gate_policy=policy,
                research=ROOT / "config" / "research.yaml",
                strategy_configmap=ROOT / "deploy/k8s/base/strategy-configmap.yaml",
                timeframe="1Day",
                name=name,
                output_dir=folder / f"out-{name}",
                ledger="none",
            )
            for name in ("macd-rsi-daily", "daily-momentum")
        ]
        floor = 0.0
    else:
        signals = folder / f"{case}.ndjson"
        config = folder / "strategy.json"
        config.write_text(json.dumps(_STRATEGY))
        requests = [
            LaneRequest(
                signals=signals,
                strategy_config=config,
                gate_policy=policy,
                strategy_configmap=ROOT / "deploy/k8s/base/strategy-configmap.yaml",
                name=f"bench-{case}",
                output_dir=folder / f"out-{case}",
                ledger="none",
            )
        ]
        begin = time.perf_counter()
        with signals.open("rb") as lines:
            decode = msgspec.json.Decoder().decode
            for line in lines:
                decode(line)
        floor = time.perf_counter() - begin
    wall, cpu = time.perf_counter(), time.process_time()
    rows = 0
    for request in requests:
        rows += run_lane(request).rows
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"case": case, "rows": rows, "wall_s": wall, "cpu_s": cpu, "read_s": floor, "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the measurements there")
    parser.add_argument("--only", choices=["demo", *SIZES], action="append")
    parser.add_argument("--one", choices=["demo", *SIZES], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.folder)))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.only or ["demo", *SIZES]:
            if case in SIZES:
                write_signals(Path(folder) / f"{case}.ndjson", SIZES[case])
            command = [sys.executable, __file__, "--one", case, "--folder", folder]
            subprocess.run(command, check=True, capture_output=True)  # fills the cache of compiled code
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(run.stdout.splitlines()[-1]))
    base = next((row["cpu_s"] / row["rows"] for row in results if row["case"] != "demo"), None)
    print("  case      rows   CPU s  wall s    rows/s  peak MB  per row   read  target")
    for row in results:
        growth = "" if base is None or row["case"] == "demo" else f"{row['cpu_s'] / row['rows'] / base:.2f}x"
        share = f"{row['read_s'] / row['wall_s']:.0%}" if row["read_s"] else ""
        rate = row["rows"] / row["wall_s"]
        print(
            f"{row['case']:>6} {row['rows']:>9,} {row['cpu_s']:>7.2f} {row['wall_s']:>7.2f} {rate:>9,.0f} "
            f"{row['peak_mb']:>8,.0f} {growth:>8} {share:>6}  {TARGETS.get(row['case'], '')}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
