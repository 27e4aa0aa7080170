"""Parity as an asset, as a check and as gate 3's evidence, over recorded steps in a real PostgreSQL."""

# pyright: reportUnknownMemberType=false

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from feed_settings import feed_settings
from order_cases import ACCOUNT
from research_world import nothing

from torghut_assets.execution.assets import parity as parity_asset
from torghut_assets.execution.checks import decisions_repeated
from torghut_assets.execution.keys import PARITY
from torghut_assets.execution.parity import paper_days_fact, parameters_sha256, parity_fact
from torghut_assets.execution.resource import OrderFeedResource
from torghut_assets.gates.collection import collect_facts
from torghut_assets.research.candidate import StrategySpec
from torghut_assets.resources import ArtifactStoreResource
from torghut_runtime.broker.simulator.tape import synthetic_tape
from torghut_runtime.engine.decision_record import parameters_digest
from torghut_runtime.engine.recording import strategy_code
from torghut_runtime.orders.step_record import StepRecord
from torghut_runtime.settings import Settings
from torghut_runtime.storage.database import connect, transaction
from torghut_runtime.storage.decision_inputs import copy_steps
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy, resolve

DAY = date(2025, 10, 9)
AT = datetime(2025, 10, 9, 14, 31, tzinfo=UTC)


class Feed(OrderFeedResource):
    """The database of a test, a day after the steps."""

    def settings(self) -> Settings:
        return feed_settings(given_dsn=self.dsn)

    def now(self) -> datetime:
        return AT + timedelta(days=1)


def hold(strategy_id: str = "hold", **params: Any) -> BoundStrategy:
    entry = {"strategy_id": strategy_id, "strategy_type": "buy_and_hold", "params": params}
    return resolve(StrategyEntry.model_validate(entry), None)


def step(
    bound: BoundStrategy, at: datetime = AT, *, mode: str = "paper", adapter: str = "alpaca", target: float = 1.0
) -> StepRecord:
    code = strategy_code(bound, "c0ffee", {"trading": {"mode": mode, "adapter": adapter}})
    return StepRecord(
        account_label=ACCOUNT, strategy=code, symbol="AAPL", timeframe="1Min", bar_ts=at - timedelta(minutes=1),
        features=(100.0,), position=(0.0,) * 5, memory=(), seconds_to_close=60.0, code=3,
        output=(3.0, target, 1.0, 1.0), account={}, price={}, decided_at=at,
    )  # fmt: skip


def store(engine: sa.Engine, *steps: StepRecord) -> None:
    with connect(engine) as connection, transaction(connection):
        copy_steps(connection, steps)


def materialize(dsn: str, folder: Path) -> Any:
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [parity_asset, decisions_repeated],
            partition_key=DAY.isoformat(),
            instance=instance,
            resources={"order_feed": Feed(dsn=dsn), "artifacts": ArtifactStoreResource(root=str(folder))},
        )


def metadata_of(run: Any) -> dict[str, Any]:
    (event,) = run.asset_materializations_for_node("execution__parity")
    return {name: value.value for name, value in event.metadata.items()}


def written(folder: Path) -> dict[str, Any]:
    store = ArtifactStoreResource(root=str(folder)).store
    return json.loads(store.read(PARITY.path, DAY.isoformat())["parity.json"])


def test_a_day_that_is_repeated_is_a_green_asset_with_its_ratio(
    engine: sa.Engine, database_dsn: str, tmp_path: Path
) -> None:
    store(engine, step(hold()), step(hold("other"), AT - timedelta(days=1)))
    run = materialize(database_dsn, tmp_path)
    told = metadata_of(run)
    assert (told["status"], told["rows"], told["equal"], told["ratio"], told["differences"]) == ("equal", 1, 1, 1.0, 0)
    (check,) = run.get_asset_check_evaluations()
    assert check.passed
    assert check.description == "2 of 2 repeated"
    document = written(tmp_path)
    assert (document["trading_date"], document["ratio"], document["differences"]) == ("2025-10-09", 1, [])


def test_a_difference_is_red_and_named_in_asset_check_and_document(
    engine: sa.Engine, database_dsn: str, tmp_path: Path
) -> None:
    store(engine, step(hold()), step(hold(), AT + timedelta(minutes=1), target=0.5))
    run = materialize(database_dsn, tmp_path)
    told = metadata_of(run)
    assert (told["status"], told["ratio"], told["differences"]) == ("different", 0.5, 1)
    assert (
        "| hold | AAPL | 1Min | 2025-10-09T14:31:00+00:00 | paper | output_changed | target |" in told["not_repeated"]
    )
    (check,) = run.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert run.success
    document = written(tmp_path)
    (row,) = document["differences"]
    assert (row["cause"], row["recorded"]["target"], row["replayed"]["target"]) == ("output_changed", 0.5, 1)


def test_a_day_without_a_record_is_missing_and_has_no_ratio(database_dsn: str, tmp_path: Path) -> None:
    told = metadata_of(materialize(database_dsn, tmp_path))
    assert told["status"] == "missing"
    assert "ratio" not in told
    assert parity_asset.key == PARITY


# Evidence ------------------------------------------------------------------------------------------------------------


def spec(bound: BoundStrategy) -> StrategySpec:
    return StrategySpec(
        strategy_id=bound.entry.strategy_id, strategy_type=bound.strategy_class.type,
        version=bound.strategy_class.version, base_timeframe="1Min", priority=100, universe_symbols=None,
        max_notional_per_trade=None, max_position_pct_equity=None, params=bound.params.model_dump(mode="json"),
        search={}, required_features=("price",), horizon_bars=1, source_sha256="0" * 64,
    )  # fmt: skip


def test_parity_of_a_candidate_counts_its_own_steps_of_thirty_days(
    engine: sa.Engine, connection: sa.Connection
) -> None:
    a, b = spec(hold("a")), spec(hold("b"))
    assert parity_fact(connection, [a, b], {}, AT + timedelta(seconds=1)) is None
    store(
        engine, step(hold("a")), step(hold("a"), AT - timedelta(days=29)), step(hold("a"), AT - timedelta(days=31)),
        step(hold("b"), target=0.5), step(hold("z"), target=0.5),
    )  # fmt: skip
    found = parity_fact(connection, [a], {"a": 1}, AT + timedelta(seconds=1))
    assert found is not None
    assert (found.ratio, found.compared) == (1.0, 2)
    both = parity_fact(connection, [a, b], {"a": 1}, AT + timedelta(seconds=1))
    assert both is not None
    assert (both.ratio, both.compared) == (2 / 3, 3)
    assert found.record_id != both.record_id
    again = parity_fact(connection, [a], {"a": 1}, AT + timedelta(seconds=1))
    assert again == found


def test_a_strategy_that_has_executions_and_no_record_leaves_parity_missing(
    engine: sa.Engine, connection: sa.Connection
) -> None:
    store(engine, step(hold("a")))
    strategies = [spec(hold("a")), spec(hold("b"))]
    until = AT + timedelta(seconds=1)
    assert parity_fact(connection, strategies, {"a": 3, "b": 1}, until) is None
    assert parity_fact(connection, strategies, {"a": 3, "b": 0}, until) is not None


def test_paper_days_are_sessions_of_these_parameters_at_the_brokers_paper_account(
    engine: sa.Engine, connection: sa.Connection
) -> None:
    bound = hold("a")
    store(
        engine,
        step(bound), step(bound, AT + timedelta(minutes=5)), step(bound, AT + timedelta(days=1)),
        step(bound, AT + timedelta(days=4), mode="live"),
        step(bound, AT + timedelta(days=5), adapter="simulator"),
        step(hold("a", exits={"max_bars": 9}), AT + timedelta(days=6)),
    )  # fmt: skip
    assert paper_days_fact(connection, [spec(bound)]).days == 2
    assert paper_days_fact(connection, [spec(bound), spec(hold("b"))]).days == 0
    assert paper_days_fact(connection, [spec(hold("a", exits={"max_bars": 9}))]).days == 1


def test_the_digest_of_a_candidates_parameters_is_that_of_the_runtime() -> None:
    bound = hold("a", qty=3.0, exits={"stop_pct": 0.1 + 0.2})
    assert parameters_sha256(spec(bound)) == parameters_digest(bound)
    real = nothing()
    assert [parameters_sha256(each) for each in real.research.spec.strategies] == [
        parameters_digest(each) for each in real.setup.strategies
    ]


def test_the_facts_of_an_evaluation_have_parity_missing_and_no_paper_day_before_anything_is_recorded(
    connection: sa.Connection,
) -> None:
    real = nothing()
    facts = collect_facts(connection, real.research.spec, real.research.results.report, "kind: ConfigMap\n")
    assert facts.parity is None
    assert facts.paper_days is not None
    assert facts.paper_days.days == 0
    without = collect_facts(None, real.research.spec, real.research.results.report, "kind: ConfigMap\n")
    assert (without.parity, without.paper_days) == (None, None)


@pytest.mark.full
def test_a_recorded_day_of_many_symbols_is_repeated(engine: sa.Engine, connection: sa.Connection) -> None:
    from engine_world import settings_of

    from torghut_runtime.engine.recording import Recorder
    from torghut_runtime.engine.replay import Replay

    class Stored:
        is_full = False

        def take(self, steps: Any) -> None:
            store(engine, *steps)

    tape = synthetic_tape([f"S{n}" for n in range(10)], seed=1, first=DAY)
    recorder = Recorder(ACCOUNT, Stored(), mode="paper", adapter="simulator")
    bound = hold("a", exits={"max_bars": 7})
    Replay(tape, [bound], settings_of(), recorder=recorder).run()
    found = parity_fact(connection, [spec(bound)], {"a": 1}, AT + timedelta(days=1))
    assert found is not None
    assert (found.ratio, found.compared) == (1.0, 3900)
