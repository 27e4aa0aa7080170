"""What trading tells of itself: counters that agree with the records, and one trace from a bar to its fills."""

import json
import logging
from collections import Counter
from collections.abc import Generator
from io import StringIO
from typing import Any

import pytest
from engine_world import minute_tape, replay, timed
from shown_metrics import shown_metrics

from torghut_runtime.logs import configure_logging
from torghut_runtime.redaction import Redactor


@pytest.fixture
def lines() -> Generator[StringIO]:
    """What is logged, as JSON lines; logging is as before afterwards."""
    import sys
    import threading

    root, ours = logging.getLogger(), logging.getLogger("torghut_runtime")
    kept = [*root.handlers], root.level, ours.level, sys.excepthook, threading.excepthook
    stream = StringIO()
    configure_logging(stream, Redactor({}))
    yield stream
    root.handlers[:], root.level = kept[0], kept[1]
    ours.setLevel(kept[2])
    sys.excepthook, threading.excepthook = kept[3], kept[4]
    logging.captureWarnings(False)


def test_counters_agree_with_what_was_recorded() -> None:
    world = replay(
        minute_tape({"AAPL": [100, 100, 101, 102, 103, 104], "MSFT": [50, 50, 50, 50, 50, 50]}),
        timed(enter_at=1, until=4, exit_at=5, pyramid=True, symbols=["AAPL"]),
        timed("broken", enter_at=99, invalid_at=2, symbols=["MSFT"]),
        COOLDOWN_SECONDS="3600",
    )
    done = world.run()
    counted = shown_metrics(world.metrics.registry)
    refused = Counter(reason for decision in done.decisions for reason in decision["reasons"])
    assert refused
    assert {reason: number for reason, number in counted["orders_rejected_total"].items() if number} == refused
    assert counted["decisions_total"] == len(done.decisions)
    assert counted["orders_submitted_total"] == len(done.orders) > 0
    assert counted["submit_ack_seconds"]["count"] == len(done.orders)
    assert counted["bar_to_order_seconds"]["total"]["count"] == len(done.orders)
    assert counted["bar_to_order_seconds"]["commit"]["count"] == len(done.orders)
    assert counted["strategy_events_total"] == {"timed": 6, "broken": 6}
    assert counted["strategy_errors_total"] == {"timed": 0, "broken": 1}
    assert counted["strategy_runtime_isolated_failures_total"] == 1
    assert counted["feature_step_seconds"]["count"] == 12
    assert counted["order_event_apply_seconds"]["count"] >= 2 * len(done.orders)


def test_one_trace_id_leads_from_the_decision_to_the_fill(lines: StringIO) -> None:
    done = replay(minute_tape({"AAPL": [100, 105, 105, 105, 105]}), timed(), EXECUTION_ORDER_TTL_SECONDS="90").run()
    (decision,) = done.decisions
    assert [order["intent_seq"] for order in done.orders] == [0, 1]
    told: list[dict[str, Any]] = [json.loads(line) for line in lines.getvalue().splitlines()]
    of_trace = [line for line in told if line.get("trace_id") == decision["trace_id"]]
    assert of_trace == [line for line in told if line["logger"].startswith("torghut_runtime.")]
    messages = [line["message"] for line in of_trace]
    assert messages[0] == "decision"
    assert messages.count("order accepted") == 2
    assert "order replaced" in messages
    assert messages[-1] == "order filled"
    assert of_trace[-1]["client_order_id"] == done.orders[1]["client_order_id"]
    assert of_trace[-1]["order_id"] == done.orders[1]["alpaca_order_id"]
    assert of_trace[-1]["filled_qty"] == "10"
    for line in of_trace:
        assert list(line)[:4] == ["ts", "level", "logger", "message"]
        assert (line["strategy_id"], line["symbol"]) == ("timed", "AAPL")


def test_a_refused_decision_says_why(lines: StringIO) -> None:
    replay(minute_tape({"AAPL": [100, 100]}), timed(), MAX_OPEN_ORDERS="0").run()
    (line,) = [json.loads(text) for text in lines.getvalue().splitlines()]
    assert (line["message"], line["reasons"]) == ("decision refused", ["max_open_orders_exceeded"])


def test_a_queued_order_is_counted_while_it_waits() -> None:
    from engine_world import daily_tape

    world = replay(daily_tape({"AAPL": [100, 100, 100]}), timed(timeframe="1Day"))
    seen: list[int] = []
    real = world.metrics.queued

    def heard(orders: int) -> None:
        seen.append(orders)
        real(orders)

    world.metrics.queued = heard  # type: ignore[method-assign]
    world.run()
    assert seen[0] == 1
    assert seen[-1] == 0
    assert shown_metrics(world.metrics.registry)["queued_orders"] == 0
