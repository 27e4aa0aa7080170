"""Facts that a running runtime tells over HTTP: ``/trading/status``, ``/readyz``, ``/trading/flags``.

Reading is tolerant: a key that is absent is a fact that is not known.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

import httpx

from torghut_runtime.doctor.environment import session_at
from torghut_runtime.doctor.findings import Facts, Limit, Strategy
from torghut_runtime.errors import InputError, UpstreamError
from torghut_runtime.trading_settings import NO_SIGNAL_REASONS

DEADLINE_S: Final = 5.0
_UNAUTHORIZED: Final = (401, 403)
_DATA: Final = frozenset({*NO_SIGNAL_REASONS, "signal_stale"})
_CALENDAR: Final = frozenset({"market_closed", "calendar_broker_mismatch"})
_NO_BLOCK: Final = "order_feed"
"""How readiness reasons begin that do not keep orders back."""
_LAG_LIMIT_S: Final = 300.0
NO_ENGINE: Final = "no_engine"
"""The reason of a service that runs none."""


def facts_of_runtime(url: str, token: str | None = None, *, lag_limit: float = _LAG_LIMIT_S) -> Facts | None:
    """What the runtime at ``url`` says of itself; None where nobody answers.

    Raises:
        InputError: it wants a token.
        UpstreamError: what answers is no torghut runtime.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(base_url=url.rstrip("/"), timeout=DEADLINE_S, headers=headers) as client:
            status = _document(client, "/trading/status")
            ready = _document(client, "/readyz")
            flags = _document(client, "/trading/flags")
    except (httpx.TransportError, httpx.InvalidURL):
        return None
    if "trading_state" not in status:
        raise UpstreamError(f"{url} answers, and is no torghut runtime")
    return facts_of_documents(url, status, ready, flags, lag_limit=lag_limit)


def _document(client: httpx.Client, path: str) -> dict[str, Any]:
    answer = client.get(path)
    if answer.status_code in _UNAUTHORIZED:
        raise InputError("is wanted by the runtime, or the given one is not known there", field="TORGHUT_TOKEN")
    try:
        found: Any = answer.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def facts_of_documents(
    asked: str,
    status: Mapping[str, Any],
    ready: Mapping[str, Any],
    flags: Mapping[str, Any],
    *,
    lag_limit: float = _LAG_LIMIT_S,
) -> Facts:
    """The facts of what a runtime has answered."""
    trading = _mapping(status.get("trading_state"))
    switches = _mapping(status.get("kill_switch"))
    reasons = _codes(status)
    engine_runs = NO_ENGINE not in reasons
    unready = _texts(ready.get("reasons")) if engine_runs else ()
    is_open, next_open, agrees = _calendar(status, unready)
    strategies = _mapping(status.get("catalog"))
    return Facts(
        asked=asked,
        enabled=bool(status.get("enabled")),
        mode=str(status.get("mode", "paper")),
        engine_runs=engine_runs,
        kill_switch={source: bool(switches.get(source)) for source in ("env", "flag", "operator")},
        state=str(trading["state"]) if engine_runs and trading.get("state") else None,
        reasons=reasons,
        standing=_standing(status, unready),
        flags=_flags(flags),
        degraded=_texts(flags.get("degraded")),
        live_missing=_texts(_mapping(status.get("live_gate")).get("missing")) if status.get("mode") == "live" else (),
        strategies=tuple(_strategy(_mapping(entry)) for entry in _list(strategies["strategies"]) if _enabled(entry))
        if "strategies" in strategies
        else None,
        catalog_fault=None if strategies.get("error") is None else str(strategies["error"]),
        is_open=is_open,
        next_open=next_open,
        calendar_agrees=agrees,
        data_faults=None if not engine_runs else _data_faults(status, unready, lag_limit),
        data=_data(status) if engine_runs else "no engine reads any",
        limits=None if not status.get("limits") else tuple(_limits(status["limits"])),
    )


def _standing(status: Mapping[str, Any], unready: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for reason in unready:
        code = reason.partition(":")[0]
        if code not in _DATA | _CALENDAR and not code.startswith(_NO_BLOCK):
            found[code] = reason
    if status.get("role") == "standby" and NO_ENGINE not in _codes(status):
        found.setdefault("lease_not_held", "another process holds the lease")
    return found


def _codes(status: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_code(reason) for reason in _list(_mapping(status.get("trading_state")).get("reasons")))


def _flags(flags: Mapping[str, Any]) -> str | None:
    if not flags:
        return None
    if not flags.get("enabled"):
        return "no flag service; the environment alone counts"
    snapshot = _mapping(flags.get("snapshot"))
    return f"version {snapshot.get('version')}, {snapshot.get('age_seconds')} s old"


def _enabled(entry: Any) -> bool:
    return bool(_mapping(entry).get("enabled", True))


def _strategy(entry: Mapping[str, Any]) -> Strategy:
    name = str(entry.get("strategy_id", entry.get("name", "")))
    provenance = _mapping(entry.get("provenance"))
    reasons = [*_texts(entry.get("entry_refusals")), *_texts(provenance.get("reasons"))]
    if entry.get("blocked"):
        return Strategy(name, "strategy_disabled", str(entry["blocked"]))
    if entry.get("block"):
        return Strategy(name, "strategy_disabled", str(_mapping(entry["block"]).get("reason", entry["block"])))
    if entry.get("degraded"):
        return Strategy(name, "strategy_degraded")
    if entry.get("error"):
        return Strategy(name, "strategy_disabled", str(entry["error"]))
    return Strategy(name, reasons[0] if reasons else None, ", ".join(reasons[1:]))


def _calendar(status: Mapping[str, Any], unready: Sequence[str]) -> tuple[bool | None, str | None, bool | None]:
    """The runtime's own word; else the session at its last evaluation, by its clock, else now by ours."""
    agrees = False if "calendar_broker_mismatch" in unready else None
    told = _mapping(status.get("calendar"))
    if "open" in told:
        given = told.get("agrees")
        return bool(told["open"]), told.get("next_open"), agrees if given is None else bool(given)
    at = _moment(status.get("last_run_at")) or datetime.now(UTC)
    return *session_at(at), agrees


def _data_faults(status: Mapping[str, Any], unready: Sequence[str], lag_limit: float) -> dict[str, str]:
    found = {code: reason for reason in unready if (code := reason.partition(":")[0]) in _DATA}
    continuity = _mapping(status.get("signal_continuity"))
    universe = continuity.get("universe_status")
    if universe == "error" or continuity.get("universe_symbols_count") == 0:
        why = continuity.get("universe_reason") or "it names no symbol"
        found.setdefault("universe_source_unavailable", f"{continuity.get('universe_source')}: {why}")
    lag = _lag(status)
    if lag is not None and lag >= lag_limit:
        found.setdefault("signal_stale", f"the next bar is {lag:.0f} s overdue")
    return found


def _lag(status: Mapping[str, Any]) -> float | None:
    lag = _mapping(status.get("metrics")).get("signal_lag_seconds")
    return float(lag) if isinstance(lag, int | float) else None


def _data(status: Mapping[str, Any]) -> str:
    continuity = _mapping(status.get("signal_continuity"))
    lag = _lag(status)
    told = f"{continuity.get('universe_symbols_count', '?')} symbols"
    return told if lag is None else f"{told}, lag {lag:.0f} s"


def _limits(limits: Any) -> Iterator[Limit]:
    """Caps without room."""
    for row in map(_mapping, _list(limits)):
        value, room = _number(row.get("value")), _number(row.get("room"))
        if (room is not None and room <= 0) or (room is None and value is not None and value <= 0):
            yield Limit(str(row.get("code")), f"{row.get('source')}={row.get('value')}, room {row.get('room')}")


def _number(value: Any) -> Decimal | None:
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in _list(value))


def _code(reason: Any) -> str:
    return str(_mapping(reason).get("code", "")) if isinstance(reason, Mapping) else str(reason)
