"""The description of the service and the service agree: schemathesis, from ``/openapi.json``, finds nothing."""

from collections.abc import Generator
from datetime import UTC
from typing import Any

import pytest
import schemathesis
from http_world import OPERATOR, KeptEngine, app_of, bearer, order_world, serving
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from postgres import new_database
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode

from torghut_runtime.api.paging import Cursor
from torghut_runtime.storage.database import connect, create_engine

pytestmark = pytest.mark.full

schemathesis.openapi.format(
    "torghut-cursor",
    st.builds(lambda at, row: Cursor(at, row).text(), st.datetimes(timezones=st.just(UTC)), st.uuids()),
)


@pytest.fixture(scope="module")
def api(postgres_port: int) -> Generator[Any]:
    with new_database(postgres_port) as dsn:
        with connect(create_engine(dsn)) as connection:
            order_world(connection)
        with serving(app_of(dsn, KeptEngine(dsn))) as client:
            yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json", timeout=60)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_operation_answers_as_it_is_described(mode: GenerationMode, api: Any) -> None:
    faults: list[str] = []
    for found in api.get_all_operations():
        operation = found.ok()
        # no negative calls exist where nothing can be said wrongly
        strategy = operation.as_strategy(generation_mode=mode)

        @seed(20260105)
        @settings(
            max_examples=15, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=strategy)
        def answers(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=bearer(OPERATOR), timeout=60)

        try:
            answers()
        except (FailureGroup, Failure) as fault:
            faults += [f"{operation.label}: {each}" for each in getattr(fault, "exceptions", [fault])]
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, operation.label
    assert not faults, "\n\n".join(faults)


def test_the_description_names_every_endpoint_of_the_contract(api: Any) -> None:
    named = {
        "/", "/healthz", "/readyz", "/db-check", "/metrics", "/trading/health", "/trading/status", "/trading/metrics",
        "/trading/decisions", "/trading/executions", "/trading/orders", "/trading/positions", "/trading/tca",
        "/trading/flags", "/trading/llm-evaluation", "/trading/halt", "/trading/reduce", "/trading/resume",
        "/trading/cancel-all", "/trading/flatten", "/strategies/{strategy_id}/disable",
        "/strategies/{strategy_id}/enable",
    }  # fmt: skip
    assert set(api.raw_schema["paths"]) == named
    for path, operations in api.raw_schema["paths"].items():
        for method, operation in operations.items():
            assert operation["responses"]["200"]["content"], (method, path)
            assert operation["summary"], (method, path)
