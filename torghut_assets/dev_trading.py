"""The trading side of ``torghut dev``: a broker simulator and the runtime, and the variables that tie them together.

The account is simulated whatever the environment says, and Alpaca's keys are kept from both processes. Every start is
an account of its own, because the simulator begins anew: records of earlier starts stay under their labels.
"""

import hashlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from torghut_assets.dev_parts import Part, answers_http
from torghut_assets.shipped_files import shipped
from torghut_runtime.canonical import utc_text
from torghut_runtime.market.calendar import TradingCalendar

SYMBOLS: Final = "AAPL,AMZN,GOOG,MSFT,SPY"
_CATALOG: Final = "config/autonomous-strategy-sample.yaml"
_PROGRAM: Final = "from torghut_runtime.cli import main; main()"
_SESSIONS: Final = 10
_HISTORY_SESSIONS: Final = 2


@dataclass(frozen=True)
class Trading:
    """What the developer chose."""

    runtime_port: int = 8181
    simulator_port: int = 8282
    speed: str = "60"
    bars: Path | None = None
    seed: int = 0


def trading_variables(
    environment: Mapping[str, str], trading: Trading, *, home: Path, project: Path, now: datetime | None = None
) -> dict[str, str]:
    """What runtime, simulator and Dagster are told of trading; what the developer has set wins, but for the account."""
    moment = now or datetime.now(UTC)
    own = project / _CATALOG
    defaults = {
        "TRADING_ENABLED": "true",
        "TRADING_KILL_SWITCH_ENABLED": "false",
        "TRADING_ACCOUNT_LABEL": f"dev-{moment:%Y%m%dT%H%M%S}",
        "TRADING_STATIC_SYMBOLS": SYMBOLS,
        "TRADING_STRATEGY_CONFIG_PATH": str(own if own.is_file() else shipped(_CATALOG)),
        "TRADING_FORWARDER_OUTBOX_DIR": str(home / "outbox"),
        "TRADING_SIMULATOR_URL": f"http://127.0.0.1:{trading.simulator_port}",
    }
    fixed = {
        "TRADING_MODE": "paper",
        "TRADING_LIVE_ENABLED": "false",
        "TRADING_EXECUTION_ADAPTER": "simulator",
    }
    given = {name: environment[name] for name in defaults if environment.get(name)}
    return {**defaults, **given, **fixed}


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """The same without Alpaca's keys and addresses."""
    return {name: value for name, value in environment.items() if not name.startswith("APCA_")}


def operator_variables(environment: Mapping[str, str], home: Path) -> tuple[dict[str, str], Path | None]:
    """An operator's token for this machine where none is configured, and the file that it stands in."""
    if environment.get("TORGHUT_OPERATOR_TOKENS"):
        return {}, None
    path = home / "operator-token"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    token = path.read_text(encoding="utf-8").strip()
    entry = {"actor": "developer", "role": "operator", "sha256": hashlib.sha256(token.encode()).hexdigest()}
    return {"TORGHUT_OPERATOR_TOKENS": json.dumps([entry])}, path


def simulator_part(trading: Trading, environment: Mapping[str, str], *, home: Path, project: Path) -> Part:
    """The simulator: given bars, or made-up minutes that begin with a session of these days."""
    address = f"http://127.0.0.1:{trading.simulator_port}"
    command = [sys.executable, "-c", _PROGRAM, "simulate", "--port", str(trading.simulator_port)]
    command += ["--speed", trading.speed, "--seed", str(trading.seed)]
    if trading.bars is not None:
        command += ["--bars", str(trading.bars)]
    else:
        first, start = made_up_days(datetime.now(UTC))
        sessions = str(_HISTORY_SESSIONS + _SESSIONS)
        command += ["--symbols", environment["TRADING_STATIC_SYMBOLS"], "--first-day", first, "--sessions", sessions]
        command += ["--start", start]
    return Part(
        "simulator",
        address,
        command,
        without_keys(environment),
        lambda: answers_http(f"{address}/sim/status"),
        project,
        home / "logs" / "simulator.log",
        signal.SIGTERM,
    )


def made_up_days(now: datetime) -> tuple[str, str]:
    """First day of made-up bars, and the bell at which the simulation begins: that of the last session begun by now."""
    calendar = TradingCalendar()
    days = calendar.sessions(now.date() - timedelta(days=14), now.date())
    first, start = days[-1 - _HISTORY_SESSIONS], calendar.session_open(days[-1])
    assert start is not None
    return first.isoformat(), utc_text(start)


def runtime_part(trading: Trading, environment: Mapping[str, str], *, home: Path, project: Path) -> Part:
    """The runtime: engine and HTTP."""
    address = f"http://127.0.0.1:{trading.runtime_port}"
    command = [sys.executable, "-c", _PROGRAM, "serve", "--port", str(trading.runtime_port)]
    return Part(
        "runtime",
        address,
        command,
        without_keys(environment),
        lambda: answers_http(f"{address}/healthz"),
        project,
        home / "logs" / "runtime.log",
        signal.SIGTERM,
    )
