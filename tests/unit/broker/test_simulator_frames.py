"""The stream's frames against Alpaca's: captured ones fix the fields, derived ones the sequences."""

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from alpaca.trading.enums import TradeEvent
from alpaca.trading.models import TradeUpdate
from simulated_days import MINUTE, OPEN, Watched, flat, minute_bars, tape_of

from torghut_runtime.broker.simulator.tape import Tape

FIXTURES = Path(__file__).parents[2] / "fixtures"
_TIMES = {
    "at",
    "timestamp",
    "created_at",
    "updated_at",
    "submitted_at",
    "filled_at",
    "expired_at",
    "cancel_requested_at",
    "canceled_at",
    "failed_at",
    "replaced_at",
    "expires_at",
}
_IDENTIFIERS = {"id", "client_order_id", "asset_id", "execution_id", "event_id", "replaced_by", "replaces"}
_ONLY_IN_NEWER_FRAMES = {"at", "event_id"}
_ONLY_IN_CRYPTO_FILLS = {"swap_rate", "settle_date"}


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / name).read_text().splitlines()]


def captured() -> dict[str, dict[str, Any]]:
    """The newest frames that were captured from a live account, by event."""
    frames = [line["data"] for line in lines("alpaca_trade_updates.jsonl") if line.get("stream") == "trade_updates"]
    return {frame["event"]: frame for frame in frames if frame.get("event_id", "").startswith("01M2")}


def scenario(letter: str) -> list[dict[str, Any]]:
    rows = lines("alpaca_trade_updates_derived.jsonl")
    return [row["message"]["data"] for row in rows if row["scenario"].startswith(f"{letter} ")]


def comparable(frame: dict[str, Any]) -> dict[str, Any]:
    """A frame with numbers as numbers, and without the values that no two accounts share."""

    def value(key: str, found: Any) -> Any:
        if isinstance(found, dict):
            return {name: value(name, item) for name, item in found.items() if name not in _TIMES | _IDENTIFIERS}
        if (
            key in {"price", "qty", "position_qty", "filled_qty", "filled_avg_price", "limit_price"}
            and found is not None
        ):
            return Decimal(found)
        return found

    return {name: value(name, item) for name, item in frame.items() if name not in _TIMES | _IDENTIFIERS}


def assert_same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Equal fields and values, and times and identifiers that are equal or different in the same places."""
    assert [frame["event"] for frame in ours] == [frame["event"] for frame in theirs]
    for mine, sample in zip(ours, theirs, strict=True):
        assert set(mine) - _ONLY_IN_NEWER_FRAMES == set(sample)
        assert list(mine["order"]) == list(sample["order"])
        assert comparable(mine) == comparable(sample)
    for name in ("execution_id",):
        assert _pattern(ours, name) == _pattern(theirs, name)
    assert _pattern([frame["order"] for frame in ours], "id") == _pattern([frame["order"] for frame in theirs], "id")


def _pattern(frames: list[dict[str, Any]], name: str) -> list[int | None]:
    """Which values are equal to which: each named by the place of its first appearance."""
    seen: dict[str, int] = {}
    return [None if frame.get(name) is None else seen.setdefault(frame[name], len(seen)) for frame in frames]


def limit_three(day: Watched, **fields: Any) -> dict[str, Any]:
    return day.order(qty="3", type="limit", limit_price="150.25", **fields)


def one_share_a_minute(*prices: float) -> Tape:
    """A first minute above the limit, then minutes with volume for one share each."""
    return tape_of(*minute_bars([*flat(151, 1), *(candle for price in prices for candle in flat(price, 1, volume=10))]))


def test_frames_have_the_fields_of_captured_ones_in_their_order() -> None:
    day = Watched(flat(50, 2))
    day.broker.step()
    day.order()
    day.broker.step()
    for frame in day.frames:
        sample = {
            name: value for name, value in captured()[frame["event"]].items() if name not in _ONLY_IN_CRYPTO_FILLS
        }
        assert list(frame) == list(sample)
        assert list(frame["order"]) == list(sample["order"])
        for part, other in ((frame, sample), (frame["order"], sample["order"])):
            kinds = {name: type(value) for name, value in part.items() if value is not None and other[name] is not None}
            assert kinds == {name: type(other[name]) for name in kinds}


def test_a_sequence_of_partial_fills_delivered_twice() -> None:
    day = Watched(one_share_a_minute(150.1, 150.2, 150.25), seed=1)
    day.broker.step()
    limit_three(day)
    day.broker.control({"duplicate_events": 1})
    day.broker.step(3)
    assert_same(day.frames, scenario("A"))


def test_b_new_and_fill_are_replayed_after_the_end_under_their_old_identifiers() -> None:
    bars = minute_bars([*flat(50.1, 4)], symbol="TQQQ", spread=0)
    day = Watched(tape_of(*bars), cash=Decimal(1_000_000))
    day.broker.step()
    day.order(symbol="TQQQ", qty="967")
    day.broker.step()
    day.raw.clear()
    order = day.order("sell", symbol="TQQQ", qty="967")
    day.broker.step()
    again = [{"order": order["id"], "event": event} for event in ("new", "fill", "new", "fill")]
    day.broker.control({"inject_event": again})
    assert_same(day.frames, scenario("B"))
    assert day.position("TQQQ") == 0


def test_c_replaced_then_canceled() -> None:
    day = Watched(one_share_a_minute(150.1, 150.1))
    day.broker.step()
    old = limit_three(day)
    day.broker.replace(old["id"], {"qty": "3"})
    day.broker.step()
    new = day.frames[-1]["order"]["id"]
    day.broker.cancel(new)
    told = [frame for frame in day.frames if frame["event"] in {"replaced", "pending_cancel", "canceled"}]
    assert_same(told, scenario("C")[::2])
    replaced, pending, canceled = told
    assert replaced["order"]["replaced_at"] is not None
    assert replaced["order"]["replaced_by"] == pending["order"]["id"]
    assert pending["order"]["replaces"] == replaced["order"]["id"]
    assert pending["order"]["cancel_requested_at"] is not None
    assert canceled["order"]["canceled_at"] is not None


def test_d_expired_after_a_partial_fill_delivered_twice() -> None:
    last = minute_bars(flat(150.1, 1, volume=10), start=OPEN + 389 * MINUTE)
    day = Watched(tape_of(*minute_bars(flat(151, 1)), *last))
    day.broker.step()
    limit_three(day)
    day.broker.step()
    day.broker.control({"duplicate_events": 1})
    day.broker.step()
    told = [frame for frame in day.frames if frame["event"] != "partial_fill"]
    assert_same(told, scenario("D"))
    assert told[-1]["order"]["expired_at"] is not None


def test_e_rejected() -> None:
    day = Watched(one_share_a_minute(151))
    day.broker.step()
    order = limit_three(day)
    day.broker.control({"inject_event": [{"order": order["id"], "event": "rejected"}]})
    assert_same(day.frames[-1:], scenario("E"))
    assert day.frames[-1]["order"]["failed_at"] is not None


def test_f_a_cancel_is_refused_because_the_order_is_filled() -> None:
    day = Watched(tape_of(*minute_bars([*flat(151, 1), *flat(150.2, 2)], spread=0)))
    day.broker.step()
    order = limit_three(day)
    day.broker.control({"cancel_latency_ms": 90_000})
    day.broker.cancel(order["id"])
    day.broker.step(2)
    assert_same(day.frames[-2:], scenario("F"))


def test_g_a_replacement_is_refused() -> None:
    day = Watched(one_share_a_minute(151))
    day.broker.step()
    order = limit_three(day)
    fields = {"reason": "TOO_LATE_TO_CANCEL"}
    day.broker.control({"inject_event": [{"order": order["id"], "event": "order_replace_rejected", "fields": fields}]})
    assert_same(day.frames[-1:], scenario("G"))


def test_h_a_fill_before_its_new() -> None:
    day = Watched(tape_of(*minute_bars([*flat(151, 1), *flat(150.2, 2)], spread=0)))
    day.broker.step()
    day.broker.control({"latency_ms": 1000})
    order = limit_three(day)
    day.broker.control({"reorder_events": 1})
    day.broker.step()
    assert_same(day.frames[1:], scenario("H"))
    assert day.broker.desk.existing(order["id"]).status == "filled"


def test_i_rare_and_unknown_events_change_no_fills() -> None:
    day = Watched(one_share_a_minute(151))
    day.broker.step()
    order = limit_three(day)
    names = [frame["event"] for frame in scenario("I")]
    fields: dict[str, dict[str, Any]] = defaultdict(dict)
    fields["restated"] = {"order": {"status": "restated"}}
    fields["some_future_event"] = {"order": {"status": "new"}}
    events = [{"order": order["id"], "event": name, "fields": fields[name]} for name in names]
    day.broker.control({"inject_event": events})
    assert_same(day.frames[-len(names) :], scenario("I"))
    assert day.position() == 0


def test_every_frame_parses_into_alpacas_model() -> None:
    day = Watched(flat(50, 3))
    day.broker.step()
    first = day.order()
    day.broker.step()
    second = limit_three(day)
    day.broker.cancel(day.broker.replace(second["id"], {"qty": "2"})["id"])
    day.broker.control({"inject_event": [{"order": first["id"], "event": "trade_bust"}]})
    day.order(qty="1", type="limit", limit_price="1")
    day.broker.step(10)
    events = {TradeUpdate(**frame).event for frame in day.frames}
    assert events >= {TradeEvent.FILL, TradeEvent.EXPIRED, TradeEvent.REPLACED, TradeEvent.CANCELED, "trade_bust"}
