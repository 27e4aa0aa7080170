"""Laws that hold in every simulation, whatever is ordered, canceled, replaced or broken."""

import json
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from simulated_days import Candle, Watched, minute_bars, tape_of

from torghut_runtime.broker.simulator.market_event import price_of
from torghut_runtime.broker.simulator.order import TERMINAL
from torghut_runtime.broker.simulator.refusals import Refusal

ZERO = Decimal(0)
_PRICE = st.integers(9_000, 11_000).map(lambda cents: cents / 100)


@st.composite
def candles(draw: st.DrawFn) -> Candle:
    open_, close, a, b = (draw(_PRICE) for _ in range(4))
    prices = (open_, close, a, b)
    return (open_, max(prices), min(prices), close, float(draw(st.integers(0, 2_000))))


_CENTS = st.integers(9_000, 11_000).map(lambda cents: str(Decimal(cents) / 100))
_ORDERS = st.fixed_dictionaries(
    {
        "action": st.just("order"),
        "symbol": st.sampled_from(["AAPL", "MSFT"]),
        "side": st.sampled_from(["buy", "sell"]),
        "type": st.sampled_from(["market", "limit", "stop", "stop_limit"]),
        "time_in_force": st.sampled_from(["day", "gtc", "ioc"]),
        "qty": st.one_of(st.integers(1, 300).map(str), st.just("1.5")),
        "limit_price": _CENTS,
        "stop_price": _CENTS,
    }
)
_ACTIONS = st.one_of(
    _ORDERS,
    st.fixed_dictionaries({"action": st.just("notional"), "side": st.just("buy"), "notional": st.integers(1, 5000)}),
    st.fixed_dictionaries({"action": st.just("cancel"), "which": st.integers(0, 20)}),
    st.fixed_dictionaries(
        {"action": st.just("replace"), "which": st.integers(0, 20), "qty": st.none() | st.integers(1, 50)}
    ),
    st.fixed_dictionaries({"action": st.just("step"), "events": st.integers(1, 3)}),
    st.fixed_dictionaries({"action": st.just("bust"), "which": st.integers(0, 20)}),
    st.fixed_dictionaries({"action": st.just("close"), "symbol": st.sampled_from(["AAPL", "MSFT"])}),
    st.fixed_dictionaries(
        {
            "action": st.just("control"),
            "latency_ms": st.sampled_from([0, 1, 30_000, 90_000]),
            "cancel_latency_ms": st.sampled_from([0, 30_000, 90_000]),
            "partial_fill": st.none() | st.just({"probability": 0.5, "parts": 3}),
        }
    ),
)


class Checked(Watched):
    """A broker whose every frame is held against the laws as it is sent."""

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        self.seen: dict[str, dict[str, Any]] = {}
        self.position_of: dict[str, Decimal] = {}
        self.cash = self.broker.desk.account.cash
        self.last_time = ""
        self.busts = 0
        self.broker.on_trade_update(self._check)

    def _check(self, frame: bytes) -> None:
        data = json.loads(frame)["data"]
        order = data["order"]
        symbol, sign = order["symbol"], 1 if order["side"] == "buy" else -1
        account = self.broker.desk.account
        before = self.seen.get(order["id"])
        filled = Decimal(order["filled_qty"])
        if data["event"] in {"fill", "partial_fill"}:
            qty, price = Decimal(data["qty"]), Decimal(data["price"])
            # What is filled adds up, fill by fill, to what the order says and the position is.
            assert filled == (ZERO if before is None else Decimal(before["filled_qty"])) + qty
            self.position_of[symbol] = self.position_of.get(symbol, ZERO) + sign * qty
            self.cash -= sign * qty * price
            assert Decimal(data["position_qty"]) == self.position_of[symbol]
        elif data["event"] == "trade_bust":
            voided = (Decimal(before["filled_qty"]) if before else ZERO) - filled
            self.position_of[symbol] -= sign * voided
            self.cash = account.cash
            self.busts += 1
        elif before is not None:
            assert filled == Decimal(before["filled_qty"])
        if order["qty"] is not None:
            assert ZERO <= filled <= Decimal(order["qty"])
        assert (order["status"] == "filled") == (
            (before is not None and before["status"] == "filled" and data["event"] != "trade_bust")
            or data["event"] == "fill"
        )
        if before is not None and before["status"] in TERMINAL and data["event"] != "trade_bust":
            assert order["status"] == before["status"]
        # The books agree with what was told.
        assert account.cash == self.cash
        assert {s: p.qty for s, p in account.positions.items() if p.qty} == {
            s: q for s, q in self.position_of.items() if q
        }
        self.seen[order["id"]] = order


def _play(day: Checked, actions: list[dict[str, Any]]) -> None:
    for action in actions:
        try:
            _act(day, dict(action))
        except Refusal:
            continue  # what is refused must not change anything: the checks go on


def _act(day: Checked, action: dict[str, Any]) -> None:
    kind = action.pop("action")
    broker = day.broker
    orders = list(broker.desk.book)
    if kind == "order":
        for name, types in (("limit_price", {"limit", "stop_limit"}), ("stop_price", {"stop", "stop_limit"})):
            if action["type"] not in types:
                action.pop(name)
        broker.submit(action)
    elif kind == "notional":
        broker.submit({"symbol": "AAPL", "type": "market", "time_in_force": "day", **action})
    elif kind == "step":
        broker.step(action["events"])
    elif kind == "control":
        broker.control(action)
    elif kind == "close":
        broker.close_position(action["symbol"])
    elif orders:
        order = orders[action["which"] % len(orders)]
        if kind == "cancel":
            broker.cancel(order.id)
        elif kind == "replace":
            broker.replace(order.id, {"qty": action["qty"]} if action["qty"] else {"limit_price": "100"})
        elif order.fills:
            broker.control({"inject_event": [{"order": order.id, "event": "trade_bust"}]})


_DAYS = st.lists(candles(), min_size=8, max_size=12)


@given(_DAYS, _DAYS, st.lists(_ACTIONS, min_size=5, max_size=40))
@settings(deadline=None)
def test_quantities_cash_and_positions_add_up_at_every_event(
    apple: list[Candle], microsoft: list[Candle], actions: list[dict[str, Any]]
) -> None:
    tape = tape_of(*minute_bars(apple), *minute_bars(microsoft, symbol="MSFT"))
    day = Checked(tape)
    _play(day, actions)
    day.broker.step(1000)
    desk = day.broker.desk
    assert all(order.terms.time_in_force == "gtc" for order in desk.book.open_orders())
    assert desk.reserved == sum((order.reserved for order in desk.book), ZERO)
    assert all(order.reserved == 0 for order in desk.book if not order.is_open)
    assert all(order.reserved >= 0 for order in desk.book)
    assert desk.account.cash == desk.account.deposited - sum(
        (entry.signed_qty * entry.price for entries in desk.account.entries.values() for entry in entries), ZERO
    )


@given(_DAYS, st.lists(_ACTIONS, min_size=5, max_size=40))
@settings(deadline=None)
def test_no_fill_lies_outside_the_range_of_its_bar_or_beyond_its_limit(
    apple: list[Candle], actions: list[dict[str, Any]]
) -> None:
    bars = minute_bars(apple, spread=0.5)
    day = Checked(tape_of(*bars, *minute_bars(apple, symbol="MSFT")))
    _play(day, actions)
    day.broker.step(1000)
    for order in day.broker.desk.book:
        for fill in order.fills:
            # The closing moment of a bar is the opening one of the next.
            around = [bar for bar in bars if bar.opens_at <= fill.ns - fill.ns % 1_000_000_000 <= bar.closes_at]
            assert any(price_of(bar.low) <= fill.price <= price_of(bar.high) for bar in around)
            limit = order.terms.limit_price
            if limit is not None:
                assert fill.price <= limit if order.sign > 0 else fill.price >= limit


@given(_DAYS, st.lists(_ACTIONS, min_size=10, max_size=40))
@settings(deadline=None)
def test_chains_of_replacements_are_consistent(apple: list[Candle], actions: list[dict[str, Any]]) -> None:
    day = Checked(tape_of(*minute_bars(apple), *minute_bars(apple, symbol="MSFT")))
    _play(day, actions)
    day.broker.step(1000)
    book = day.broker.desk.book
    for order in book:
        if order.replaced_by is not None:
            follower = book.get(order.replaced_by)
            assert order.status == "replaced"
            assert follower is not None
            assert follower.replaces == order.id
            assert (follower.terms.symbol, follower.terms.side) == (order.terms.symbol, order.terms.side)
        if order.replaces is not None:
            replaced = book.get(order.replaces)
            assert replaced is not None
            # A replacement that never took over has never worked.
            assert replaced.replaced_by == order.id or (not order.is_open and not order.fills)
    followers = [order.replaced_by for order in book if order.replaced_by]
    assert len(followers) == len(set(followers))


@given(_DAYS, st.lists(_ACTIONS, min_size=5, max_size=30), st.integers(0, 3))
@settings(deadline=None)
def test_the_same_day_is_played_to_the_same_bytes(
    apple: list[Candle], actions: list[dict[str, Any]], seed: int
) -> None:
    tape = tape_of(*minute_bars(apple), *minute_bars(apple, symbol="MSFT"))
    days = [Checked(tape, seed=seed) for _ in range(2)]
    for day in days:
        day.broker.control({"jitter_ms": 50_000, "duplicate_events": 0, "reorder_events": 0})
        _play(day, actions)
        day.broker.step(1000)
    assert days[0].raw == days[1].raw
