"""Exceptions are classified by their type, and Dagster's own restarts agree with the policy."""

import concurrent.futures.process
import multiprocessing
from pathlib import Path

import pytest
import yaml
from sqlalchemy.exc import OperationalError

from torghut_assets.gates.policy import GatePolicyError
from torghut_assets.guard.classification import FAILURE_TABLE, classify, failure_table
from torghut_assets.guard.errors import GuardInputError, PolicyError
from torghut_assets.guard.policy import FAILURE_CLASSES, POLICY_PATH, load_policy
from torghut_runtime.errors import InputError, StoreUnavailableError, UpstreamError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [
        (PolicyError(["no stages"]), "policy"),
        (GatePolicyError("unknown key", file="policy.json"), "policy"),
        (InputError("is no number", file="bars.csv", row=3, field="close"), "spec"),
        (GuardInputError("unknown_candidate", "who?"), "spec"),
        (StoreUnavailableError("PostgreSQL does not answer"), "transient"),
        (UpstreamError("429"), "transient"),
        (OperationalError("SELECT 1", {}, Exception("deadlock detected")), "transient"),
        (TimeoutError(), "transient"),
        (ConnectionResetError(), "transient"),
        (BrokenPipeError(), "transient"),
        (concurrent.futures.process.BrokenProcessPool(), "transient"),
        (multiprocessing.AuthenticationError(), "transient"),
        (ZeroDivisionError(), "deterministic"),
        (KeyError("close"), "deterministic"),
        (OSError("disk full"), "deterministic"),
        (MemoryError(), "deterministic"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_exception_belongs_to_the_class_of_its_type(error: Exception, failure_class: str) -> None:
    assert classify(error) == failure_class


def test_the_table_names_every_class_and_ends_with_everything_else() -> None:
    assert {row[1] for row in FAILURE_TABLE} == set(FAILURE_CLASSES)
    assert FAILURE_TABLE[-1][0] is Exception
    assert "| `torghut_runtime.errors.UpstreamError` | transient |" in failure_table()


def test_dagster_restarts_lost_runs_as_often_as_the_policy_retries_and_nothing_else() -> None:
    settings = yaml.safe_load((ROOT / "deploy" / "dagster" / "dagster.yaml").read_text())
    policy = load_policy(ROOT / POLICY_PATH)
    assert settings["run_retries"] == {
        "enabled": True,
        "max_retries": policy.failure_policies.transient.max_retries,
        "retry_on_asset_or_op_failure": False,
    }
    assert settings["run_monitoring"]["enabled"] is True


def test_no_asset_has_a_retry_policy_of_its_own_and_the_lane_has_a_time_limit() -> None:
    from torghut_assets.definitions import build_definitions

    lane = build_definitions().resolve_job_def("lane")
    assert lane.tags["dagster/max_runtime"] == "7200"
    assert {node.name for node in lane.nodes if node.definition.retry_policy is not None} == set()
