"""Exactly once, whatever dies: the seeded fault campaign in its small and its large form."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from feed_campaign import Campaign, Plan
from postgres import open_folder

LEDGER = Path(__file__).parents[3] / "test-artifacts" / "order-feed-campaign.json"


def run(plan: Plan) -> None:
    with open_folder() as folder:
        ledger = Campaign(plan, folder).run()
    LEDGER.parent.mkdir(exist_ok=True)
    LEDGER.write_text(json.dumps(asdict(ledger), indent=2) + "\n")
    print(LEDGER.read_text())
    assert ledger.violations == []
    assert sum(ledger.driver_kills.values()) >= plan.kills
    assert sum(ledger.postgres_restarts.values()) == sum(ledger.kafka_restarts.values()) == plan.restarts


@pytest.mark.full
def test_twenty_kills_and_five_restarts_lose_and_repeat_nothing() -> None:
    run(Plan(seed=20_260_101, events=20_000, kills=20, restarts=5))


@pytest.mark.campaign
def test_two_hundred_kills_and_twenty_restarts_lose_and_repeat_nothing() -> None:
    run(Plan(seed=20_260_102, events=200_000, kills=200, restarts=20))
