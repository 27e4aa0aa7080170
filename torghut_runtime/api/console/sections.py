"""The sections of the console, each a function of what was read; HTML out, nothing asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torghut_runtime.api.console.markup import (
    NOTHING,
    Markup,
    age,
    badge,
    el,
    facts,
    joined,
    moment,
    number,
    signed,
    table,
    words,
)
from torghut_runtime.api.documents.orders import DecisionRow, OrderRow
from torghut_runtime.api.loose import mapping_of, sequence_of
from torghut_runtime.engine.surface import Component, Dependency
from torghut_runtime.order_feed.status import FeedStatus

_STATES: Final = {"ACTIVE": "good", "REDUCING": "warn", "HALTED": "bad"}
_MEANING: Final = {
    "ACTIVE": "Entries and exits go out.",
    "REDUCING": "No entries; exits go out.",
    "HALTED": "No order leaves but an operator's flatten.",
}
_ENDED: Final = {"filled": "good", "submitted": "good", "accepted": "good", "partially_filled": "good"}
_FAILED: Final = ("rejected", "unknown")


@dataclass(frozen=True)
class Seen:
    """What the sections are made of; ``orders`` and ``decisions`` are ``None`` while the database is away."""

    status: Mapping[str, Any]
    positions: Mapping[str, Any]
    components: Mapping[str, Component]
    dependencies: Mapping[str, Dependency]
    orders: Sequence[OrderRow] | None
    decisions: Sequence[DecisionRow] | None
    feed: FeedStatus | None


def sections(seen: Seen) -> dict[str, Markup]:
    """Every section by the identifier of its place in the page."""
    return {
        "state": _state(seen.status),
        "account": _account(seen.positions),
        "positions": _positions(seen.positions),
        "orders": _orders(seen.orders),
        "decisions": _decisions(seen.decisions),
        "limits": _limits(seen.status.get("limits")),
        "data": _data(seen.status),
        "parts": _parts(seen.components, seen.dependencies),
        "feed": _feed(seen.feed),
        "strategies": _strategies(seen.status),
    }


def _state(status: Mapping[str, Any]) -> Markup:
    trading = status["trading_state"]
    name = str(trading["state"])
    switch = status["kill_switch"]
    engaged = [source for source in ("env", "flag", "operator") if switch.get(source)]
    gate = status["live_gate"]
    stop = mapping_of(status.get("rollback")) or {}
    reasons = [
        el(
            "li",
            el("code", words(reason["code"])),
            " since ",
            moment(reason.get("at")),
            f", clears {'by itself' if reason.get('clears') == 'auto' else 'by resume'}" if "clears" in reason else "",
        )
        for reason in trading["reasons"]
    ]
    return joined(
        [
            el(
                "div",
                el("strong", name, class_=f"state {_STATES.get(name, 'bad')}", id="trading-state"),
                el("p", _MEANING.get(name, "A state that this version does not know; nothing is sent.")),
                class_="standing",
            ),
            el("ul", *reasons, class_="reasons") if reasons else el("p", "No latched reasons.", class_="empty"),
            facts(
                [
                    ("Since", moment(trading.get("since"))),
                    ("By", trading.get("actor")),
                    (
                        "Trading",
                        badge("enabled", "good") if status["enabled"] else badge("disabled by setting", "warn"),
                    ),
                    (
                        "Kill switch",
                        badge(f"on: {', '.join(engaged)}", "bad") if engaged else badge("off", "good"),
                    ),
                    (
                        "Live gate",
                        badge("open", "warn") if gate["allowed"] else badge("closed", "idle"),
                    ),
                    ("Missing for live", words(", ".join(gate["missing"]))),
                    (
                        "Emergency stop",
                        badge("active", "bad") if stop.get("emergency_stop_active") else badge("not active", "idle"),
                    ),
                    ("Incidents", number(stop.get("incidents_total"))),
                    ("Last error", _error(status.get("last_error"))),
                ]
            ),
        ]
    )


def _error(error: object) -> object:
    found = mapping_of(error)
    if found is None:
        return error
    return joined([found.get("message") or found.get("error") or "", " at ", moment(found.get("at"))])


def _account(positions: Mapping[str, Any]) -> Markup:
    account = mapping_of(positions["account"])
    if account is None:
        return el("p", "The account is not known yet.", class_="empty")
    drawdown = account.get("drawdown")
    return facts(
        [
            ("Equity", number(account.get("equity"), money=True)),
            ("Day", signed(account.get("day_pnl"))),
            ("Drawdown", NOTHING if drawdown is None else f"{float(drawdown):.2%}"),
            ("Cash", number(account.get("cash"), money=True)),
            ("Buying power", number(account.get("buying_power"), money=True)),
            ("Gross exposure", number(account.get("gross_exposure"), money=True)),
            ("Net exposure", number(account.get("net_exposure"), money=True)),
            ("High-water mark", number(account.get("high_water_mark"), money=True)),
        ]
    )


def _positions(positions: Mapping[str, Any]) -> Markup:
    def marks(item: Mapping[str, Any]) -> Markup | str:
        found: list[object] = []
        if item.get("frozen"):
            found.append(badge("frozen", "bad"))
        if item.get("discrepancy_qty") not in (None, 0, "0") and float(item["discrepancy_qty"]) != 0:
            found.append(badge(f"broker has {number(item.get('broker_qty'))}", "bad"))
        return joined(found) if found else badge("agrees", "good")

    return table(
        ("Symbol", "Quantity", "Entry", "Price", "Value", "Unrealised", "Realised", "Reserved", "Broker"),
        (
            (
                el("strong", item["symbol"]),
                number(item.get("qty")),
                number(item.get("avg_entry_price")),
                number(item.get("price")),
                number(item.get("market_value"), money=True),
                signed(item.get("unrealized_pl")),
                signed(item.get("realized_pl")),
                number(item.get("reserved_qty")),
                marks(item),
            )
            for item in positions["items"]
        ),
        "No positions.",
        numeric=range(1, 8),
    )


def _orders(orders: Sequence[OrderRow] | None) -> Markup:
    if orders is None:
        return _away()
    return table(
        ("Time", "Symbol", "Side", "Quantity", "Filled", "Type", "Limit", "Average", "State", "Strategy"),
        (
            (
                moment(order.created_at),
                el("strong", order.symbol),
                order.side,
                number(order.qty),
                number(order.filled_qty),
                f"{order.order_type} {order.time_in_force}",
                number(order.limit_price),
                number(order.avg_fill_price),
                joined(
                    [_outcome(order.state), *([] if order.reason is None else [" ", el("code", words(order.reason))])]
                ),
                order.strategy_id,
            )
            for order in orders
        ),
        "No orders yet.",
        numeric=(3, 4, 6, 7),
    )


def _outcome(state: str) -> Markup:
    return badge(state, "bad" if state in _FAILED else _ENDED.get(state, "idle"))


def _decisions(decisions: Sequence[DecisionRow] | None) -> Markup:
    if decisions is None:
        return _away()
    return table(
        ("Time", "Strategy", "Symbol", "Outcome", "Why", "Trace"),
        (
            (
                moment(decision.created_at),
                decision.strategy_id,
                joined([el("strong", decision.symbol), f" {decision.timeframe}"]),
                _outcome(decision.status),
                joined(
                    _spaced([el("code", words(each)) for each in decision.reasons]) or [decision.rationale or NOTHING]
                ),
                el("code", decision.trace_id or NOTHING, class_="faint"),
            )
            for decision in decisions
        ),
        "No decisions yet.",
    )


def _spaced(items: Sequence[Markup]) -> list[object]:
    pieces: list[object] = [piece for item in items for piece in (item, " ")]
    return pieces[:-1]


def _limits(limits: object) -> Markup:
    return table(
        ("Limit", "Value", "Room", "", "Refuses with"),
        (
            (
                el("code", words(limit.get("source"))),
                number(limit.get("value")),
                number(limit.get("room")),
                _room(limit.get("value"), limit.get("room")),
                el("code", words(limit.get("code"))),
            )
            for limit in map(mapping_of, sequence_of(limits) or ())
            if limit is not None
        ),
        "No limits are known.",
        numeric=(1, 2),
    )


def _room(value: object, room: object) -> Markup | str:
    """How much is left, as a bar; its text is the cell beside it."""
    try:
        whole, left = float(str(value)), float(str(room))
    except ValueError:
        return NOTHING
    if whole <= 0:
        return NOTHING
    share = min(1.0, max(0.0, left / whole))
    return el("meter", value=f"{share:.3f}", min=0, low=0.2, max=1, optimum=1, title=f"{share:.0%} left")


def _data(status: Mapping[str, Any]) -> Markup:
    universe = mapping_of(status.get("signal_continuity")) or {}
    lag = (mapping_of(status.get("metrics")) or {}).get("signal_lag_seconds")
    shown: list[tuple[str, object]] = [
        ("Signal lag", NOTHING if lag is None else age(float(lag))),
        ("Last run", moment(status.get("last_run_at"))),
        ("Last reconcile", moment(status.get("last_reconcile_at"))),
        ("Universe", joined([_universe(universe.get("universe_status")), f" {universe.get('universe_reason') or ''}"])),
        ("Symbols", number(universe.get("universe_symbols_count"))),
        ("Source", universe.get("universe_source")),
    ]
    for name, each in (mapping_of(status.get("queues")) or {}).items():
        shown.append((f"Queue {name}", number(each) if mapping_of(each) is None else each))
    return facts(shown)


def _universe(status: object) -> Markup | str:
    tones = {"ok": "good", "degraded": "warn", "error": "bad"}
    return NOTHING if status is None else badge(status, tones.get(str(status), "idle"))


def _parts(components: Mapping[str, Component], dependencies: Mapping[str, Dependency]) -> Markup:
    tones = {"ok": "good", "starting": "warn", "restarting": "warn", "stopped": "idle"}
    rows: list[tuple[object, ...]] = [
        (name, badge(each.state, tones.get(each.state, "bad")), f"heartbeat {age(each.age_seconds)} ago")
        for name, each in sorted(components.items())
    ]
    rows += [
        (name, badge("answers", "good") if each.ok else badge("down", "bad"), each.detail)
        for name, each in dependencies.items()
    ]
    return table(("Part", "State", "Detail"), rows, "No parts run.")


def _feed(feed: FeedStatus | None) -> Markup:
    if feed is None:
        return _away()
    tones = {"ok": "good", "disabled": "idle", "paused": "warn", "misconfigured": "bad", "stalled": "bad"}
    is_open = sum(int(row["count"]) for row in feed.dead_letters if row["state"] == "open")
    lag = sum(each.lag or 0 for each in feed.offsets)
    return facts(
        [
            ("State", joined([badge(feed.state, tones[feed.state]), f" {feed.reason or ''}"])),
            ("Lag", f"{number(lag)} records" if feed.offsets else NOTHING),
            ("Last event", number(feed.last_event_seq)),
            ("Open dead letters", badge(is_open, "bad") if is_open else "0"),
            ("Orders without an intent", number(feed.unlinked_orders)),
            ("Open discrepancies", ", ".join(f"{row['kind']}: {row['count']}" for row in feed.discrepancies) or "none"),
        ]
    )


def _strategies(status: Mapping[str, Any]) -> Markup:
    catalog = mapping_of(status.get("catalog")) or {}
    rows: list[tuple[object, ...]] = []
    for each in sequence_of(catalog.get("strategies")) or ():
        found = mapping_of(each) or {"strategy_id": each}
        rows.append((found.get("strategy_id") or found.get("name"), _strategy(found), found.get("error")))
    fault = catalog.get("error")
    return joined(
        [
            el("p", badge("catalog error", "bad"), " ", fault) if fault else "",
            table(("Strategy", "State", "Detail"), rows, "No strategies are loaded."),
            facts(
                [("Digest", str(catalog.get("digest") or NOTHING)[:16]), ("Loaded", moment(catalog.get("loaded_at")))]
            ),
        ]
    )


def _strategy(found: Mapping[str, Any]) -> Markup:
    blocked = found.get("block") or found.get("blocked")
    if found.get("error"):
        return badge("error", "bad")
    if blocked:
        return badge(f"blocked: {blocked}", "warn")
    return badge("enabled", "good") if found.get("enabled", True) else badge("disabled", "idle")


def _away() -> Markup:
    return el("p", badge("database unavailable", "bad"), " Nothing is shown rather than something old.", class_="empty")
