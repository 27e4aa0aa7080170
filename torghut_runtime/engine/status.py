"""The documents that the engine shows: plain values, made by the trading thread, read by anybody."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from torghut_runtime.canonical import canonical_value
from torghut_runtime.engine.core import TradingCore
from torghut_runtime.engine.live_catalog import LiveCatalog
from torghut_runtime.engine.progress import Progress
from torghut_runtime.engine.stance import Stance
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.orders.positions import Position, Slot
from torghut_runtime.orders.reconcile import OF_POSITIONS
from torghut_runtime.risk.limits import Limits, drawdown
from torghut_runtime.risk.room import Cap, caps
from torghut_runtime.risk.trading_state import KILL_SWITCH, OPERATOR_HALT, OPERATOR_REDUCE, KillSwitch, TradingState
from torghut_runtime.trading_settings import TradingSettings

_ZERO: Final = Decimal(0)

Sections = Mapping[str, Callable[[], Any]]
"""Parts of the status that others fill, by key."""


def empty_status(settings: TradingSettings) -> dict[str, Any]:
    """Every key of ``/trading/status``, as it is before anything is known."""
    mode = settings.mode
    return {
        "enabled": mode.enabled,
        "mode": mode.mode,
        "adapter": settings.broker.adapter,
        "running": False,
        "role": "standby",
        "last_run_at": None,
        "last_reconcile_at": None,
        "last_error": None,
        "trading_state": {"state": "ACTIVE", "reasons": [], "actor": None, "since": None},
        "kill_switch_enabled": settings.stops.kill_switch,
        "kill_switch": {"env": settings.stops.kill_switch, "flag": False, "operator": False},
        "live_gate": {"allowed": False, "missing": []},
        "signal_continuity": {
            "universe_source": settings.universe.source,
            "universe_status": None,
            "universe_reason": None,
            "universe_symbols_count": None,
            "universe_cache_age_seconds": None,
        },
        "rollback": {
            "emergency_stop_active": False,
            "emergency_stop_reason": None,
            "emergency_stop_triggered_at": None,
            "emergency_stop_resolved_at": None,
            "emergency_stop_recovery_streak": 0,
            "incidents_total": None,
        },
        "catalog": {"digest": None, "loaded_at": None, "error": None, "strategies": []},
        "limits": [cap.document for cap in caps(Limits.of(settings), None)],
        "queues": {},
        "metrics": {},
        "llm": {"enabled": False, "mode": "off", "shadow_mode": None, "fail_mode": None, "circuit": None},
        "operations": [],
    }


def status_of(
    settings: TradingSettings,
    progress: Progress,
    stance: Stance,
    catalog: LiveCatalog,
    *,
    role: str,
    sections: Sections,
    queues: Mapping[str, Any],
    counts: Mapping[str, int],
    kill_switch: KillSwitch,
    live_gate_missing: Sequence[str],
    limits: Sequence[Cap],
) -> dict[str, Any]:
    """The document of ``/trading/status``."""
    state = stance.trading_state
    gate = stance.gate()
    reasons = [{"code": each.code, "clears": each.clears, "at": each.at} for each in state.latches]
    status = empty_status(settings) | {
        "running": gate.reconciled and not progress.waiting,
        "role": role,
        "phase": progress.phase,
        "waiting_for": list(progress.waiting),
        "last_run_at": progress.last_run_at,
        "last_reconcile_at": progress.last_reconcile_at,
        "last_error": progress.last_error,
        "trading_state": {
            "state": state.state,
            "reasons": reasons,
            "actor": "runtime",
            "since": min((each.at for each in state.latches), default=None),
        },
        "kill_switch_enabled": gate.kill_switch,
        "kill_switch": {
            "env": kill_switch.environment,
            "flag": kill_switch.flag,
            "operator": kill_switch.operator,
        },
        "live_gate": {"allowed": not live_gate_missing, "missing": list(live_gate_missing)},
        "rollback": rollback_of(state),
        "catalog": {
            "digest": catalog.current.digest,
            "loaded_at": catalog.current.loaded_at,
            "error": catalog.error,
            "strategies": [each.shown for each in catalog.current.strategies],
        },
        "limits": [cap.document for cap in limits],
        "queues": dict(queues),
        "metrics": dict(counts),
        "discrepancies": [asdict(each) for each in progress.discrepancies],
    }
    status.update((name, section()) for name, section in sections.items())
    return canonical_value(status)


def rollback_of(state: TradingState) -> dict[str, Any]:
    """``rollback`` of the status: what the stops have latched by themselves, an operator's word left aside."""
    latched = [each for each in state.latches if each.name not in (OPERATOR_HALT, OPERATOR_REDUCE, KILL_SWITCH)]
    return {
        "emergency_stop_active": bool(latched),
        "emergency_stop_reason": "; ".join(each.code for each in latched) or None,
        "emergency_stop_triggered_at": min((each.at for each in latched), default=None),
        "emergency_stop_resolved_at": None,
        "emergency_stop_recovery_streak": state.healthy,
        "incidents_total": None,
    }


def calendar_document(moment: datetime, *, agrees: bool) -> dict[str, Any]:
    """Whether the exchange is open by the engine's clock, when it opens next, whether the broker's clock agrees."""
    calendar = TradingCalendar()
    session = calendar.next_session(moment)
    return {
        "now": moment,
        "open": calendar.session_at(moment) is not None,
        "next_open": None if session is None else calendar.session_open(session),
        "agrees": agrees,
    }


def caps_of(settings: TradingSettings, core: TradingCore | None, now_ns: int) -> list[Cap]:
    """The caps in effect, with their room once the account is known."""
    if core is None or core.trader is None:
        return list(caps(Limits.of(settings), None))
    return list(caps(core.trader.limits, core.trader.account.before_new_symbol(now_ns)))


def positions_of(core: TradingCore | None, progress: Progress) -> dict[str, Any]:
    """The document of ``/trading/positions``."""
    if core is None or core.trader is None:
        return {"account": None, "items": []}
    portfolio, account = core.portfolio, core.trader.account
    equity = portfolio.equity
    exposed = sum((abs(qty * price) for qty, price in _held(core)), _ZERO)
    net = sum((qty * price for qty, price in _held(core)), _ZERO)
    differing = [each for each in progress.discrepancies if each.kind in OF_POSITIONS]
    broker = {each.symbol: each.broker.get("qty") for each in differing if each.symbol is not None}
    frozen = {each.symbol for each in core.frozen.all()}
    symbols = sorted({slot[1] for slot, _ in portfolio.positions()} | set(broker) | frozen)
    return canonical_value(
        {
            "account": {
                "equity": equity,
                "cash": portfolio.cash,
                "buying_power": core.account.get("buying_power"),
                "gross_exposure": exposed,
                "net_exposure": net,
                "day_pnl": equity - account.opening_equity,
                "high_water_mark": account.high_water_mark,
                "drawdown": drawdown(equity, account.high_water_mark),
            },
            "items": [_item(core, symbol, broker.get(symbol)) for symbol in symbols],
        }
    )


def _held(core: TradingCore) -> list[tuple[Decimal, Decimal]]:
    marks = core.portfolio.marks
    return [(each.qty, marks.get(slot[1], each.average_entry)) for slot, each in core.portfolio.positions()]


def _item(core: TradingCore, symbol: str, broker_qty: str | None) -> dict[str, Any]:
    portfolio = core.portfolio
    held = [(slot, each) for slot, each in portfolio.positions() if slot[1] == symbol]
    qty = portfolio.symbol_qty(symbol)
    price = portfolio.marks.get(symbol)
    cost = sum((each.qty * each.average_entry for _, each in held), _ZERO)
    value = None if price is None else qty * price
    theirs = qty if broker_qty is None else Decimal(broker_qty)
    reserved = sum((each.left for each in portfolio.reservations.values() if each.slot[1] == symbol), _ZERO)
    return {
        "symbol": symbol,
        "qty": qty,
        "avg_entry_price": cost / qty if qty else None,
        "price": price,
        "market_value": value,
        "unrealized_pl": None if value is None else value - cost,
        "realized_pl": sum((each.realized for _, each in held), _ZERO),
        "reserved_qty": reserved,
        "broker_qty": theirs,
        "discrepancy_qty": theirs - qty,
        "frozen": symbol in core.frozen,
        "by_strategy": [_part(slot, each) for slot, each in held],
    }


def _part(slot: Slot, position: Position) -> dict[str, Any]:
    return {
        "strategy_id": slot[0],
        "qty": position.qty,
        "avg_entry_price": position.average_entry,
        "realized_pl": position.realized,
        "bars_held": position.bars_held,
    }
