"""The guard's metrics: what they count, that a restart gives the same, and that candidates make no series."""

from collections.abc import Iterable

import pytest
import sqlalchemy as sa
from guard_world import CANDIDATE, World
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from torghut_assets.guard.holds import freeze_promotion, pause
from torghut_runtime.api.collector import FeedCollector
from torghut_runtime.api.orchestration_metrics import OrchestrationTally
from torghut_runtime.api.webhook import Webhook
from torghut_runtime.settings import load_settings
from torghut_runtime.storage.guard_tables import guard_candidates


class Families:
    def __init__(self, tally: OrchestrationTally) -> None:
        self.tally = tally

    def collect(self) -> Iterable[Metric]:
        return self.tally.families()


def shown(tally: OrchestrationTally) -> dict[str, float]:
    """Every series with its value."""
    registry = CollectorRegistry()
    registry.register(Families(tally))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def read(world: World, tally: OrchestrationTally | None = None) -> OrchestrationTally:
    found = tally or OrchestrationTally()
    with world.engine.connect() as connection:
        found.read(connection)
    return found


def test_decisions_failures_and_durations_are_counted_once(world: World) -> None:
    world.walk("gate-evaluation")
    world.fail("gate-evaluation", occurrence="one")
    tally = read(world)
    first = shown(tally)
    prefix = "torghut_orchestration"
    assert first[f'{prefix}_decisions_total{{command="start",mode="gitops",outcome="proceed"}}'] == 1
    assert first[f'{prefix}_decisions_total{{command="check-transition",mode="gitops",outcome="proceed"}}'] == 3
    assert first[f'{prefix}_decisions_total{{command="evaluate-failure",mode="none",outcome="retry"}}'] == 1
    assert first[f'{prefix}_retry_total{{failure_class="transient",stage="gate-evaluation"}}'] == 1
    assert first[f'{prefix}_failure_total{{failure_class="transient",stage="gate-evaluation"}}'] == 1
    assert first[f'{prefix}_stage_duration_seconds_count{{lane="lane-b",result="passed",stage="candidate-build"}}'] == 1
    handoff = f'{prefix}_handoff_latency_seconds_count{{from_stage="candidate-build",to_stage="backtest-robustness"}}'
    assert first[handoff] == 1
    assert first[f'{prefix}_queue_depth{{lane="lane-d",stage="gate-evaluation"}}'] == 1
    assert first[f'{prefix}_queue_depth{{lane="lane-b",stage="candidate-build"}}'] == 0
    assert shown(read(world, tally)) == first, "reading again counts nothing twice"
    assert shown(read(world)) == first, "a restart gives the same values"


def test_new_decisions_are_added_to_what_was_read(world: World) -> None:
    world.walk("gate-evaluation")
    tally = read(world)
    world.enter("promotion-prerequisites")
    world.fail("shadow-paper", occurrence="elsewhere")
    found = shown(read(world, tally))
    assert found == shown(read(world))
    denied = 'torghut_orchestration_decisions_total{command="check-transition",mode="gitops",outcome="halt"}'
    assert found[denied] == 1
    assert not [series for series in found if "failure_total{" in series], "it was recorded, not counted"


def test_paused_candidates_leave_the_queue_and_a_freeze_shows(world: World) -> None:
    world.walk("gate-evaluation")
    pause(world.engine, CANDIDATE, reason="look", actor="ada")
    freeze_promotion(world.engine, reason="stop", actor="ada")
    found = shown(read(world))
    assert found["torghut_orchestration_paused_candidates"] == 1
    assert found["torghut_orchestration_promotion_frozen"] == 1
    assert found['torghut_orchestration_queue_depth{lane="lane-d",stage="gate-evaluation"}'] == 0


def test_a_thousand_candidates_make_no_more_series_than_one(world: World) -> None:
    world.walk("candidate-build")
    one = shown(read(world))
    with world.engine.begin() as connection:
        rows = [{"name": f"candidate-{number}", "active_stage": "research-intake"} for number in range(1000)]
        connection.execute(sa.insert(guard_candidates), rows)
    thousand = shown(read(world))
    assert set(thousand) == set(one)
    assert thousand['torghut_orchestration_queue_depth{lane="lane-a",stage="research-intake"}'] == 1000
    assert not [series for series in thousand if "candidate-1" in series or CANDIDATE in series]


def test_nothing_on_record_gives_the_gauges_and_no_series(world: World) -> None:
    assert shown(read(world)) == {
        "torghut_orchestration_paused_candidates": 0,
        "torghut_orchestration_promotion_frozen": 0,
    }


def test_the_services_collector_serves_them(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DSN", database_dsn)
    collector = FeedCollector(load_settings(), Webhook(None, "1"))
    collector.read()
    assert collector.error is None
    served = {family.name for family in collector.collect()}
    assert {"torghut_orchestration_queue_depth", "torghut_orchestration_decisions"} <= served
