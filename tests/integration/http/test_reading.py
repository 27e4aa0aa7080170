"""What is read over HTTP: fields, filters and pages over real rows, and what is answered without a database."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from http_world import DOWN, OPERATOR, VIEWER, KeptEngine, app_of, bearer, order_world, serving

from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.api.documents.costs import TcaRow
from torghut_runtime.api.documents.orders import DecisionRow, ExecutionRow, OrderRow
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.runtime_tables import llm_decision_reviews

LISTS = ("/trading/decisions", "/trading/executions", "/trading/orders", "/trading/tca")
READ = (
    *LISTS, "/", "/healthz", "/readyz", "/db-check", "/metrics", "/trading/health", "/trading/status",
    "/trading/metrics", "/trading/positions", "/trading/flags", "/trading/llm-evaluation", "/console", "/openapi.json",
)  # fmt: skip
STATUS = (
    "enabled", "mode", "adapter", "running", "role", "last_run_at", "last_reconcile_at", "last_error", "trading_state",
    "kill_switch_enabled", "kill_switch", "live_gate", "signal_continuity", "rollback", "catalog", "limits", "queues",
    "metrics", "llm", "operations",
)  # fmt: skip
BAD = (
    {"limit": "0"}, {"limit": "501"}, {"limit": "many"}, {"cursor": "nonsense"}, {"cursor": "W10"},
    {"cursor": "WyIyMDI2IiwieCJd"}, {"symbol": "a b"}, {"symbol": "A\x00"}, {"since": "yesterday"},
    {"since": "2026-01-05T10:00:00"}, {"sybmol": "AAPL"},
)  # fmt: skip


@pytest.fixture
def client(database_dsn: str, connection: sa.Connection) -> Generator[httpx.Client]:
    order_world(connection)
    with serving(app_of(database_dsn, KeptEngine(database_dsn))) as served:
        yield served


def test_the_root_says_who_answers(database_dsn: str) -> None:
    with serving(app_of(database_dsn, version="1.2.3", commit="abc123")) as client:
        assert client.get("/").json() == {
            "service": "torghut-runtime", "status": "ok", "version": "1.2.3", "commit": "abc123",
        }  # fmt: skip


def test_rows_have_the_contracts_fields_and_a_trace(client: httpx.Client) -> None:
    models = (DecisionRow, ExecutionRow, OrderRow, TcaRow)
    for path, model in zip(LISTS, models, strict=True):
        rows = client.get(path).json()["items"]
        assert [row["trace_id"] for row in rows] == ["trace-2", "trace-1", "trace-0"], path
        assert list(rows[0]) == list(model.model_fields), path


def test_a_decision_says_why_it_was_refused(client: httpx.Client) -> None:
    row = client.get("/trading/decisions").json()["items"][0]
    assert row["reasons"] == ["price_stale", "cooldown_active"]
    assert row["client_order_id"] == "client-2"
    assert row["status"] == "filled"


def test_an_execution_carries_its_cost_and_an_order_its_execution(client: httpx.Client) -> None:
    execution = client.get("/trading/executions").json()["items"][0]
    assert (execution["filled_qty"], execution["avg_fill_price"]) == ("3", "101")
    assert (execution["tca"]["slippage_bps"], execution["tca"]["shortfall_notional"]) == ("100", "3")
    order = client.get("/trading/orders").json()["items"][0]
    assert (order["state"], order["filled_qty"], order["alpaca_order_id"]) == ("filled", "3", "order-2")
    assert order["terminal_at"] is not None


def test_an_intent_without_an_order_is_open_and_has_no_cost(client: httpx.Client, connection: sa.Connection) -> None:
    from feed_database import intend

    intend(connection, "client-new", state="initialised")
    shown = client.get("/trading/orders", params={"open": "true"}).json()["items"]
    assert [(row["client_order_id"], row["state"], row["filled_qty"]) for row in shown] == [
        ("client-new", "initialised", "0")
    ]
    assert shown[0]["alpaca_order_id"] is None
    closed = client.get("/trading/orders", params={"open": "false"}).json()["items"]
    assert {row["client_order_id"] for row in closed} == {"client-0", "client-1", "client-2"}


def test_filters_keep_what_they_name(client: httpx.Client) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for path in LISTS:
        assert client.get(path, params={"symbol": "AAPL"}).json()["items"], path
        assert client.get(path, params={"symbol": "MSFT"}).json()["items"] == [], path
        assert client.get(path, params={"since": later}).json()["items"] == [], path
        if path != "/trading/orders":
            assert client.get(path, params={"strategy_id": "s1"}).json()["items"], path
            assert client.get(path, params={"strategy_id": "s2"}).json()["items"] == [], path


def test_status_and_state_filter(client: httpx.Client) -> None:
    for path, name in (("decisions", "status"), ("executions", "status"), ("orders", "state")):
        assert len(client.get(f"/trading/{path}", params={name: "filled"}).json()["items"]) == 3
        assert client.get(f"/trading/{path}", params={name: "rejected"}).json()["items"] == []


def test_filters_of_costs_apply_to_summary_groups_and_items_alike(client: httpx.Client) -> None:
    whole = client.get("/trading/tca").json()
    assert (whole["summary"]["order_count"], whole["summary"]["sum_shortfall_notional"]) == (3, "9")
    assert [row["strategy_id"] for row in whole["aggregates"]["strategy"]] == ["s1"]
    none = client.get("/trading/tca", params={"strategy_id": "s2"}).json()
    assert none["summary"]["order_count"] == 0
    assert none["aggregates"] == {"strategy": [], "symbol": []}
    assert none["items"] == []
    # a page is a part of the items only
    page = client.get("/trading/tca", params={"limit": 1}).json()
    assert (page["summary"], len(page["items"])) == (whole["summary"], 1)


def test_pages_join_to_the_whole_list(client: httpx.Client) -> None:
    for path in LISTS:
        whole = client.get(path).json()
        assert whole["next_cursor"] is None
        found: list[Any] = []
        page: dict[str, Any] = {"next_cursor": None}
        for number in range(3):
            assert (page["next_cursor"] is None) == (number == 0)
            cursor = {} if number == 0 else {"cursor": page["next_cursor"]}
            page = client.get(path, params={"limit": 1, **cursor}).json()
            found += page["items"]
        assert found == whole["items"], path
        assert page["next_cursor"] is None


def test_bad_parameters_are_422(client: httpx.Client) -> None:
    for path in LISTS:
        for given in BAD:
            answer = client.get(path, params=given)
            assert (answer.status_code, answer.json()["error"]) == (422, "invalid_parameters"), (path, given)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("DELETE", "/trading/status", 405, "method_not_allowed")],
)
def test_what_is_not_there_has_the_shape_of_every_fault(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()) == (status, {"ok": False, "error": code})


def test_limits_are_from_1_to_500(client: httpx.Client) -> None:
    for limit in (1, 500):
        assert client.get("/trading/decisions", params={"limit": limit}).status_code == 200


def test_status_has_every_key_and_positions_the_account(client: httpx.Client) -> None:
    assert set(STATUS) <= set(client.get("/trading/status").json())
    positions = client.get("/trading/positions").json()
    assert set(positions["account"]) == {
        "equity", "cash", "buying_power", "gross_exposure", "net_exposure", "day_pnl", "high_water_mark", "drawdown",
    }  # fmt: skip
    assert positions["items"][0]["qty"] == "10"


def test_counters_are_a_copy_of_the_metrics(client: httpx.Client) -> None:
    found = client.get("/trading/metrics").json()
    assert set(found) == {"counters", "signal_lag_seconds", "running", "last_run_at", "last_reconcile_at", "tca"}
    assert "torghut_trading_decisions_total" in found["counters"]
    assert found["signal_lag_seconds"] == 1.5
    assert found["tca"]["order_count"] == 3


def test_flags_are_those_of_the_environment_until_a_service_serves_them(client: httpx.Client) -> None:
    found = client.get("/trading/flags").json()
    assert (found["enabled"], found["snapshot"]["source"], len(found["flags"])) == (False, "environment", 10)
    by_key = {row["key"]: row for row in found["flags"]}
    stop = by_key["torghut_trading_kill_switch_enabled"]
    assert (stop["class"], stop["rule"], stop["effective"], stop["reason"]) == ("stop", "or", True, "env_only")


def review(**values: Any) -> dict[str, Any]:
    return {
        "account_label": "paper", "decision_hash": "d", "model": "m", "prompt_version": "v1", "prompt_sha256": "a",
        "request": b"", "request_sha256": "a", "mode": "enforce", "circuit": "closed", "applied": False,
        "verdict": None, "confidence": None, "risk_flags": [], "error": None, "prompt_tokens": None,
        "completion_tokens": None, "late": False, **values,
    }  # fmt: skip


def test_the_advisers_day_is_counted_in_new_york(database_dsn: str, connection: sa.Connection) -> None:
    rows = [
        review(verdict="veto", applied=True, confidence=0.5, risk_flags=["gap", "news"], prompt_tokens=10),
        review(verdict="approve", applied=True, confidence=1.0, risk_flags=["gap"], completion_tokens=5),
        review(error="llm_error", late=True),
        review(verdict="veto", created_at=datetime.now(UTC) - timedelta(days=2)),
    ]
    for row in rows:
        connection.execute(sa.insert(llm_decision_reviews).values(**row))
    connection.commit()
    with serving(app_of(database_dsn)) as client:
        found = client.get("/trading/llm-evaluation").json()
    assert found["window"]["timezone"] == "America/New_York"
    assert found["metrics"] == {
        "total_reviews": 3,
        "verdict_counts": {"approve": 1, "veto": 1},
        "error_rate": 1 / 3,
        "avg_confidence": 0.75,
        "decision_contribution": 1 / 3,
        "tokens": {"prompt": 10, "completion": 5, "total": 15},
        "top_risk_flags": [{"flag": "gap", "count": 2}, {"flag": "news", "count": 1}],
        "late_total": 1,
    }


def test_health_is_degraded_by_one_dependency(database_dsn: str) -> None:
    engine = KeptEngine(database_dsn)
    with serving(app_of(database_dsn, engine)) as client:
        assert client.get("/trading/health").status_code == 200
        engine.found["alpaca"] = type(engine.found["alpaca"])(ok=False, detail="refused")
        answer = client.get("/trading/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
    assert answer.json()["dependencies"]["alpaca"] == {"ok": False, "detail": "refused"}


def test_a_stale_part_ends_liveness_and_health(database_dsn: str) -> None:
    engine = KeptEngine(database_dsn)
    part = type(engine.parts["loop"])
    with serving(app_of(database_dsn, engine)) as client:
        for age, expected in ((14.0, 200), (16.0, 503)):
            engine.parts["loop"] = part(age, "ok")
            assert client.get("/healthz").status_code == expected
        engine.parts["loop"] = part(0.0, "failed")
        assert client.get("/trading/health").json()["scheduler"] == {"ok": False, "detail": "not well: loop"}


def test_reasons_of_the_engine_make_it_unready_and_a_standby_is_ready(database_dsn: str) -> None:
    engine = KeptEngine(database_dsn, role="standby")
    with serving(app_of(database_dsn, engine)) as client:
        from alpaca_streams import until

        until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/readyz").json()["role"] == "standby"
        engine.unready_reasons = ("broker_unavailable",)
        assert client.get("/readyz").json()["reasons"] == ["broker_unavailable"]


class TakesOver(KeptEngine):
    """A standby that gets the lease as soon as it has said, at a lag of 0, that nothing is in its way."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name == "unready_reasons" and super().__getattribute__("lag") == 0.0:
            self.role, self.unready_reasons = "leader", ("not_reconciled",)
        return value


def test_a_standby_that_gets_the_lease_meanwhile_is_no_leader_that_is_ready(database_dsn: str) -> None:
    from alpaca_streams import until

    standby = TakesOver(database_dsn, role="standby")
    with serving(app_of(database_dsn, standby)) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        standby.lag = 0.0
        told = [client.get("/readyz").json() for _ in range(2)]
    assert told == [
        {"status": "ready", "role": "standby", "reasons": []},
        {"status": "not ready", "role": "leader", "reasons": ["not_reconciled"]},
    ]


def test_without_a_database_lists_are_503_and_the_rest_answers() -> None:
    with serving(app_of(DOWN, KeptEngine(DOWN))) as client:
        for path in (*LISTS, "/trading/llm-evaluation", "/db-check"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()) == (503, {"ok": False, "error": "database_unavailable"}), path
        for path in (
            "/",
            "/healthz",
            "/metrics",
            "/trading/status",
            "/trading/positions",
            "/trading/flags",
            "/console",
        ):
            assert client.get(path).status_code == 200, path
        assert client.get("/trading/metrics").json()["tca"] is None
        assert client.get("/trading/health").json()["dependencies"]["postgres"]["ok"] is False


@contextmanager
def silent_server() -> Generator[str]:
    """Something that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"postgresql://torghut:torghut@127.0.0.1:{listener.getsockname()[1]}/torghut"


def test_a_database_that_hangs_holds_no_answer() -> None:
    with silent_server() as dsn, serving(app_of(dsn, KeptEngine(DOWN), deadlines=Deadlines())) as client:
        for path in (*LISTS, "/trading/health", "/db-check"):
            assert client.get(path, timeout=30).status_code == 503
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.get("/db-check").status_code)) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [503] * 20
        assert client.get("/healthz").status_code == 200


def test_a_schema_that_is_behind_is_503_not_500(empty_database_dsn: str) -> None:
    with serving(app_of(empty_database_dsn)) as client:
        for path in LISTS:
            assert client.get(path).status_code == 503, path


def test_reading_changes_nothing(client: httpx.Client, database_dsn: str) -> None:
    def written() -> list[Any]:
        query = sa.text("SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables ORDER BY 1")
        with connect(create_engine(database_dsn)) as opened:
            return list(opened.execute(query).all())

    before = written()
    for path in READ:
        client.get(path)
    assert written() == before


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 401), (VIEWER, 200), (OPERATOR, 200)])
def test_with_read_auth_reading_needs_a_token(token: str | None, status: int, database_dsn: str) -> None:
    app = app_of(database_dsn, KeptEngine(database_dsn), http_read_auth=True)
    with serving(app) as client:
        headers = {} if token is None else bearer(token)
        for path in READ:
            if path in ("/healthz", "/readyz", "/console"):
                continue
            assert client.get(path, headers=headers).status_code == status, path
        assert client.get("/healthz").status_code == 200  # probes of the platform carry no token
        assert "AAPL" not in client.get("/console").text  # the page shows nothing until a token is given
        assert client.get("/console/events", headers=bearer("wrong")).status_code == 401
