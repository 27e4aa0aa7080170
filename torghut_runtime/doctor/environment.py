"""Facts where no runtime answers: what its environment, files and database say, and nothing else.

What only a running process knows (market data, its clock against the broker's, room under caps) stays unknown.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from torghut_runtime.canonical import utc_text
from torghut_runtime.doctor.findings import Facts, Limit, Strategy
from torghut_runtime.errors import InputError, StoreUnavailableError
from torghut_runtime.market.calendar import TradingCalendar
from torghut_runtime.risk.limits import Limits
from torghut_runtime.risk.room import caps
from torghut_runtime.settings import Settings, database_url
from torghut_runtime.storage.database import create_engine
from torghut_runtime.storage.migrations import is_at_head
from torghut_runtime.storage.strategy_blocks import read_blocks
from torghut_runtime.storage.trading_state import StoredTradingState, read_trading_state
from torghut_runtime.strategies.catalog import StrategyEntry, load_catalog
from torghut_runtime.trading_settings import TradingSettings

ASKED: Final = "environment and database"
_FLAG: Final = "torghut_trading_kill_switch_enabled"
_OPERATOR: Final = frozenset({"operator_halt", "kill_switch_enabled"})


def facts_of_environment(settings: Settings, trading: TradingSettings, now: datetime | None = None) -> Facts:
    """What can be known without asking a runtime; nothing is changed, no broker is asked."""
    standing, stored, blocked = _of_database(settings)
    entries, catalog_fault = _catalog(trading.strategies.config_path)
    simulated = trading.broker.adapter == "simulator"
    is_open, next_open = (None, None) if simulated else session_at(now or datetime.now(UTC))
    reasons = () if stored is None else tuple(str(reason.get("code", "")) for reason in stored.reasons)
    return Facts(
        asked=ASKED,
        enabled=trading.mode.enabled,
        mode=trading.mode.mode,
        kill_switch={
            "env": trading.stops.kill_switch,
            "flag": stored is not None and bool(stored.stops.get(_FLAG)),
            "operator": any(reason.partition(":")[0] in _OPERATOR for reason in reasons),
        },
        state=None if stored is None else stored.state,
        reasons=reasons,
        standing=standing,
        strategies=None if entries is None else _strategies(entries, blocked, trading),
        catalog_fault=catalog_fault,
        is_open=is_open,
        next_open=next_open,
        data_faults=_universe_faults(trading),
        data="streams are known to a running runtime only",
        limits=tuple(
            Limit(cap.code, f"{cap.source}={cap.value:f}") for cap in caps(Limits.of(trading), None) if cap.is_used_up
        ),
        limits_known="no cap is 0; room is known to a running runtime only",
    )


def session_at(moment: datetime) -> tuple[bool, str | None]:
    """Whether the exchange is open, and when it opens next."""
    calendar = TradingCalendar()
    session = calendar.next_session(moment)
    opens = None if session is None else calendar.session_open(session)
    return calendar.session_at(moment) is not None, None if opens is None else utc_text(opens)


def _of_database(settings: Settings) -> tuple[dict[str, str], StoredTradingState | None, dict[str, str]]:
    """What stands against trading there, the stored state, and operators' blocks by strategy."""
    limits = {"options": "-c statement_timeout=2s -c lock_timeout=2s", "connect_timeout": "2"}
    engine = create_engine(
        database_url(settings.db_dsn).update_query_dict(limits).render_as_string(hide_password=False)
    )
    try:
        if not is_at_head(engine):
            return {"migrations_behind": "the database does not have the newest schema"}, None, {}
        with engine.connect() as connection:
            stored = read_trading_state(connection, settings.account_label)
            return {}, stored, _blocks(connection, settings.account_label)
    except StoreUnavailableError as error:
        return {"database_unavailable": str(error)}, None, {}


def _blocks(connection: sa.Connection, account_label: str) -> dict[str, str]:
    blocks = read_blocks(connection, account_label)
    return {each.strategy_id: f"{each.mode} by {each.actor}: {each.reason}" for each in blocks.values()}


def _catalog(path: Path | None) -> tuple[Sequence[StrategyEntry] | None, str | None]:
    if path is None:
        return [], None
    try:
        return [entry for entry in load_catalog(path) if entry.enabled], None
    except InputError as error:
        return None, str(error)


def _strategies(
    entries: Sequence[StrategyEntry], blocked: dict[str, str], trading: TradingSettings
) -> tuple[Strategy, ...]:
    found: list[Strategy] = []
    for entry in entries:
        if entry.strategy_id in blocked:
            found.append(Strategy(entry.strategy_id, "strategy_disabled", blocked[entry.strategy_id]))
        elif trading.require_provenance and entry.provenance is None:
            found.append(Strategy(entry.strategy_id, "provenance_missing", "the entry names no candidate"))
        else:
            found.append(Strategy(entry.strategy_id))
    return tuple(found)


def _universe_faults(trading: TradingSettings) -> dict[str, str]:
    universe = trading.universe
    code = "universe_source_unavailable"
    if universe.source == "static":
        symbols = [symbol for symbol in (universe.static_symbols or "").split(",") if symbol.strip()]
        return {} if symbols else {code: "TRADING_STATIC_SYMBOLS names no symbol"}
    path = universe.path
    if path is None or not path.is_file():
        return {code: f"{path} cannot be read"}
    return {} if path.stat().st_size else {code: f"{path} is empty"}
