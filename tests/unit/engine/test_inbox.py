"""The inbox of the trading thread: order of kinds, bounds, nothing lost."""

import threading

from alpaca_streams import until

from torghut_runtime.engine.inbox import Inbox


def test_commands_come_before_order_updates_and_these_before_bars() -> None:
    inbox: Inbox[str] = Inbox()
    for kind, item in (("bars", "b1"), ("order_updates", "u1"), ("bars", "b2"), ("commands", "c1")):
        assert inbox.put(kind, item)
    assert [inbox.get(0) for _ in range(5)] == ["c1", "u1", "b1", "b2", None]


def test_a_full_inbox_makes_who_puts_wait_and_loses_nothing() -> None:
    inbox: Inbox[int] = Inbox(capacity=3)
    done = threading.Event()

    def produce() -> None:
        for number in range(50):
            inbox.put("bars", number)
        done.set()

    thread = threading.Thread(target=produce)
    thread.start()
    until(lambda: inbox.depth("bars") == 3)
    assert not done.is_set()
    assert inbox.put("order_updates", 1000)
    taken = [inbox.get(30) for _ in range(51)]
    assert taken == [1000, *range(50)]
    thread.join(30)
    assert done.is_set()


def test_what_is_refused_is_forgotten_and_lets_go_who_waits() -> None:
    inbox: Inbox[int] = Inbox(capacity=1)
    answers: list[bool] = []
    assert inbox.put("bars", 1)
    thread = threading.Thread(target=lambda: answers.append(inbox.put("bars", 2)))
    thread.start()
    inbox.refuse("bars")
    thread.join(30)
    assert answers == [False]
    assert inbox.get(0) is None
    assert not inbox.put("bars", 3)
    assert inbox.put("commands", 4)
    inbox.accept("bars")
    assert inbox.put("bars", 5)
    assert [inbox.get(0), inbox.take("bars"), inbox.take("bars")] == [4, 5, None]
