"""An engine in a process of its own, for tests that stop, pause or block it.

``python engine_process.py DSN URL CATALOG TTL WATCHDOG``; every change of what it shows is a JSON line on stdout. A
line on stdin is obeyed: ``block`` makes the trading thread hang, ``stop`` ends the engine in order.
"""

import json
import sys
import threading
import time
from datetime import timedelta
from typing import Any

from engine_world import settings_of
from feed_settings import feed_settings
from live_engine import REGISTRY, TRADES

from torghut_runtime.engine.engine import Engine, EngineOptions


def shown(engine: Engine) -> dict[str, Any]:
    status = engine.status()
    return {
        "role": status["role"],
        "running": status["running"],
        "phase": status.get("phase"),
        "state": status["trading_state"]["state"],
        "bars": status["metrics"].get("bars_taken", 0),
        "error": status["last_error"] and status["last_error"]["message"],
    }


def tell(engine: Engine) -> None:
    last: dict[str, Any] = {}
    while True:
        now = shown(engine)
        if now != last:
            print(json.dumps(now), flush=True)
            last = now
        time.sleep(0.05)


def main() -> None:
    """See the module."""
    dsn, url, catalog, ttl, watchdog = sys.argv[1:]
    settings = settings_of(SIMULATOR_URL=url, STRATEGY_CONFIG_PATH=catalog, **TRADES)
    options = EngineOptions(
        registry=REGISTRY,
        lease_ttl=timedelta(seconds=float(ttl)),
        renew_seconds=float(ttl) / 5,
        margin_seconds=float(ttl) / 4,
        watchdog_seconds=float(watchdog),
    )
    engine = Engine(feed_settings(given_dsn=dsn), settings, options)
    engine.start()
    threading.Thread(target=tell, args=(engine,), daemon=True).start()
    for line in sys.stdin:
        if line.strip() == "block":
            engine.in_trading_thread(lambda: time.sleep(3600))
        if line.strip() == "stop":
            break
    engine.stop()
    print(json.dumps({"stopped": True}), flush=True)


if __name__ == "__main__":
    main()
