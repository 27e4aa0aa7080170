"""The broker of ``torghut dev`` holds the feed's topics, is pointed to by variables, and ends with it."""

import importlib.util
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from feed_settings import feed_settings

from torghut_assets.dev_broker import PARTITIONS, development_broker


def test_topics_are_there_and_the_broker_ends_with_the_block(tmp_path: Path) -> None:
    said: list[str] = []
    with development_broker(feed_settings(home=tmp_path, order_feed_topic="a,b"), said.append) as variables:
        servers = variables["TRADING_ORDER_FEED_BOOTSTRAP_SERVERS"]
        topics = AdminClient({"bootstrap.servers": servers}).list_topics(timeout=10).topics
        assert {name: len(topic.partitions) for name, topic in topics.items()} == {"a": PARTITIONS, "b": PARTITIONS}
        assert variables["TRADING_ORDER_FEED_ENABLED"] == "true"
        assert servers in said[0]
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": servers, "log_level": 0}).list_topics(timeout=1)


def test_without_the_embedded_broker_the_feed_stays_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said: list[str] = []
    with development_broker(feed_settings(home=tmp_path), said.append) as variables:
        assert variables == {}
    assert "the order feed stays off" in said[0]
    assert "torghut[embedded]" in said[0]


def test_a_broker_that_the_user_names_is_left_alone(tmp_path: Path) -> None:
    settings = feed_settings(home=tmp_path, order_feed_bootstrap_servers="127.0.0.1:9092")
    with development_broker(settings, print) as variables:
        assert variables == {}
    assert list(tmp_path.iterdir()) == []
