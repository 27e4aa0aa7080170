"""The operator's API: who may call, what a call does once, what is on record, and what works without a database."""

import json
import logging
import socket
import threading
from collections.abc import Generator
from decimal import Decimal
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from alpaca_streams import until
from http_world import DOWN, OPERATOR, VIEWER, KeptEngine, app_of, bearer, ledger_of, serving
from postgres import free_port

from torghut_runtime.api.deadlines import Deadlines
from torghut_runtime.errors import InputError
from torghut_runtime.settings import Settings, load_settings, require_operators
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.ledger import verify

CALLS = {
    "/trading/halt": {},
    "/trading/reduce": {},
    "/trading/resume": {"ack": []},
    "/trading/cancel-all": {},
    "/trading/flatten": {"confirm": True},
    "/strategies/momentum/disable": {"mode": "freeze"},
    "/strategies/momentum/enable": {},
}
WITHOUT_DATABASE = ("/trading/halt", "/trading/reduce", "/trading/cancel-all")


@pytest.fixture
def kept(database_dsn: str) -> KeptEngine:
    return KeptEngine(database_dsn)


@pytest.fixture
def client(kept: KeptEngine) -> Generator[httpx.Client]:
    with serving(app_of(kept.dsn, kept)) as served:
        yield served


def call(client: httpx.Client, path: str, token: str = OPERATOR, **body: Any) -> httpx.Response:
    return client.post(path, json={"reason": "drill", **CALLS.get(path, {}), **body}, headers=bearer(token))


def outcomes(dsn: str) -> list[tuple[str, str, str]]:
    return [(row.actor, row.body["action"], row.body["outcome"]) for row in ledger_of(dsn)]


def metric(client: httpx.Client, line: str) -> float:
    text = client.get("/metrics").text
    return next((float(each.rsplit(" ", 1)[1]) for each in text.splitlines() if each.startswith(line)), 0.0)


def test_every_call_acts_answers_and_is_on_record(client: httpx.Client, kept: KeptEngine) -> None:
    for path in CALLS:
        ack = {"ack": ["operator_halt", "operator_reduce"]} if path.endswith("resume") else {}
        answer = call(client, path, **ack)
        assert answer.status_code == 200, (path, answer.text)
        assert set(answer.json()) == {
            "ok", "action", "actor", "state_before", "state_after", "effects", "ledger_seq", "durable", "at",
        }  # fmt: skip
        assert answer.json()["durable"] is True
        row = ledger_of(kept.dsn)[-1]
        assert row.seq == answer.json()["ledger_seq"]
        assert (row.actor, row.body["reason"], row.body["outcome"]) == ("anna", "drill", "done")
        assert row.body["state_after"] == answer.json()["state_after"]
    actions = ["halt", "reduce", "resume", "cancel-all", "flatten", "disable", "enable"]
    assert kept.calls == actions
    assert [row.body["action"] for row in ledger_of(kept.dsn)] == actions
    assert [row.subject for row in ledger_of(kept.dsn)] == ["paper"] * 5 + ["momentum"] * 2
    assert (kept.trading.state, kept.positions_held, kept.blocks) == ("ACTIVE", {}, {})
    with connect(create_engine(kept.dsn)) as connection:
        assert verify(connection).reason is None


def test_without_a_valid_token_nothing_is_done(client: httpx.Client, kept: KeptEngine) -> None:
    body = {"reason": "drill"}
    for path, more in CALLS.items():
        for headers in ({}, bearer("wrong"), {"Authorization": f"Basic {OPERATOR}"}, {"Authorization": "Bearer"}):
            answer = client.post(path, json={**body, **more}, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    assert kept.calls == []
    assert metric(client, "torghut_operator_auth_failures_total") == 4 * len(CALLS)
    # recorded once a minute per address, however many there are
    until(lambda: len(ledger_of(kept.dsn)) == 1)
    row = ledger_of(kept.dsn)[0]
    assert (row.actor, row.body["outcome"], row.body["address"]) == ("unauthenticated", "refused", "127.0.0.1")


def test_a_viewer_may_not_act_and_that_is_on_record(client: httpx.Client, kept: KeptEngine) -> None:
    for path in CALLS:
        answer = call(client, path, VIEWER)
        assert (answer.status_code, answer.json()["error"]) == (403, "operator_role_required")
    assert kept.calls == []
    assert {(actor, outcome) for actor, _, outcome in outcomes(kept.dsn)} == {("vera", "forbidden")}
    assert len(ledger_of(kept.dsn)) == len(CALLS)


def test_with_nobody_configured_every_call_is_403(database_dsn: str) -> None:
    kept = KeptEngine(database_dsn)
    with serving(app_of(database_dsn, kept, operator_tokens=None)) as client:
        for path in CALLS:
            answer = call(client, path)
            assert (answer.status_code, answer.json()["error"]) == (403, "operator_tokens_missing")
    assert kept.calls == []


UNFIT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/trading/halt", {}),
    ("/trading/halt", {"reason": ""}),
    ("/trading/halt", {"reason": " "}),
    ("/trading/halt", {"reason": "x" * 501}),
    ("/trading/halt", {"reason": "two\nlines"}),
    ("/trading/halt", {"reason": "x", "more": 1}),
    ("/trading/halt", {"reason": "x", "request_id": "a b"}),
    ("/trading/halt", {"reason": 1}),
    ("/trading/resume", {"reason": "x", "ack": "operator_halt"}),
    ("/trading/flatten", {"reason": "x"}),
    ("/trading/flatten", {"reason": "x", "confirm": False}),
    ("/trading/flatten", {"reason": "x", "confirm": "true"}),
    ("/trading/flatten", {"reason": "x", "confirm": True, "symbols": ["aapl"]}),
    ("/strategies/momentum/disable", {"reason": "x", "mode": "stop"}),
)


def test_a_body_that_does_not_fit_is_422(client: httpx.Client, kept: KeptEngine) -> None:
    for path, body in UNFIT:
        answer = client.post(path, json=body, headers=bearer(OPERATOR))
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_body"), (path, body)
    assert kept.calls == []
    assert outcomes(kept.dsn) == [("anna", path.rsplit("/", 1)[1], "invalid") for path, _ in UNFIT]


def test_what_is_no_json_or_too_much_is_refused(client: httpx.Client, kept: KeptEngine) -> None:
    big = json.dumps({"reason": "x" * 20_000}).encode()
    cases: list[tuple[Any, int]] = [
        (b"", 422), (b"[]", 422), (b"{", 422), (b'{"reason": "\\ud800"}', 422), (b'{"reason": "\\u0000"}', 422),
        (b"\xff", 422), (b'{"reason": NaN}', 422), (big, 413), (iter([big]), 413), (b"[" * 16_000, 422),
    ]  # fmt: skip
    for content, status in cases:
        answer = client.post("/trading/halt", content=content, headers=bearer(OPERATOR))
        assert answer.status_code == status, content
    assert kept.calls == []
    assert outcomes(kept.dsn) == [("anna", "halt", "invalid")] * len(cases)


def test_reasons_of_one_and_of_500_characters_are_taken(client: httpx.Client) -> None:
    for length in (1, 500):
        assert call(client, "/trading/cancel-all", reason="é" * length).status_code == 200


def test_conflicts_are_409_with_what_is_missing(client: httpx.Client, kept: KeptEngine) -> None:
    call(client, "/trading/halt")
    answer = call(client, "/trading/resume")
    assert (answer.status_code, answer.json()) == (
        409, {"ok": False, "error": "unacknowledged_reasons", "detail": {"missing": ["operator_halt"]}},
    )  # fmt: skip
    assert call(client, "/trading/resume", ack=["operator_halt"]).status_code == 200
    assert [outcome for _, _, outcome in outcomes(kept.dsn)] == ["done", "refused", "done"]


def test_a_standby_stops_but_neither_resumes_nor_flattens(client: httpx.Client, kept: KeptEngine) -> None:
    kept.role = "standby"
    for path in WITHOUT_DATABASE:
        assert call(client, path).status_code == 200
    for path in ("/trading/resume", "/trading/flatten"):
        answer = call(client, path)
        assert (answer.status_code, answer.json()["error"]) == (409, "lease_not_held")


def test_an_unknown_strategy_is_404(client: httpx.Client, kept: KeptEngine) -> None:
    for path in ("/strategies/nobody/disable", "/strategies/no%00body/enable"):
        answer = call(client, path)
        assert (answer.status_code, answer.json()["error"]) == (404, "unknown_strategy")
    assert kept.blocks == {}
    assert [row.subject for row in ledger_of(kept.dsn)] == ["nobody", "no?body"]


def test_a_call_repeated_with_its_id_acts_once(client: httpx.Client, kept: KeptEngine) -> None:
    first = call(client, "/trading/flatten", request_id="f-1")
    kept.positions_held["TSLA"] = Decimal(1)
    again = call(client, "/trading/flatten", request_id="f-1")
    assert first.json() == again.json()
    assert (kept.calls, list(kept.positions_held)) == (["flatten"], ["TSLA"])
    assert [outcome for _, _, outcome in outcomes(kept.dsn)] == ["done", "repeated"]
    other = call(client, "/trading/halt", request_id="f-1")
    assert (other.status_code, other.json()["error"]) == (409, "request_id_reused")
    foreign = call(client, "/trading/flatten", "another-token", request_id="f-1")
    assert (foreign.status_code, foreign.json()["error"]) == (409, "request_id_reused")


def test_the_id_is_remembered_by_another_process_and_for_a_day(kept: KeptEngine) -> None:
    other = KeptEngine(kept.dsn)
    with serving(app_of(kept.dsn, kept)) as first, serving(app_of(kept.dsn, other)) as second:
        answer = call(first, "/trading/halt", request_id="h-1")
        stored = "SELECT count(*) FROM operator_requests WHERE status_code = 200"
        until(lambda: scalar(kept.dsn, stored) == 1)
        assert call(second, "/trading/halt", request_id="h-1").json() == answer.json()
        assert other.calls == []
        with connect(create_engine(kept.dsn)) as connection:
            connection.execute(sa.text("UPDATE operator_requests SET at = at - interval '23 hours 59 minutes'"))
        assert call(second, "/trading/halt", request_id="h-1").json() == answer.json()
        with connect(create_engine(kept.dsn)) as connection:
            connection.execute(sa.text("UPDATE operator_requests SET at = at - interval '2 minutes'"))
    with serving(app_of(kept.dsn, other)) as third:
        assert call(third, "/trading/halt", request_id="h-1").status_code == 200
    assert other.calls == ["halt"]


def scalar(dsn: str, statement: str) -> Any:
    with connect(create_engine(dsn)) as connection:
        return connection.execute(sa.text(statement)).scalar()


@pytest.mark.parametrize("processes", [1, 2])
def test_two_calls_at_once_with_one_id_act_once(processes: int, kept: KeptEngine) -> None:
    kept.gate = threading.Event()
    answers: list[httpx.Response] = []
    with serving(app_of(kept.dsn, kept)) as first, serving(app_of(kept.dsn, kept)) as other:
        second = other if processes == 2 else first
        threads = [
            threading.Thread(
                target=lambda client=client: answers.append(call(client, "/trading/flatten", request_id="x"))
            )
            for client in (first, second)
        ]
        for thread in threads:
            thread.start()
        until(lambda: kept.calls == ["flatten"])
        kept.gate.set()
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert kept.calls == ["flatten"]


def test_without_a_database_stops_act_and_are_written_later() -> None:
    kept = KeptEngine(DOWN)
    with serving(app_of(DOWN, kept)) as client:
        for path in WITHOUT_DATABASE:
            answer = call(client, path, request_id=path.rsplit("/", 1)[1])
            assert (answer.status_code, answer.json()["durable"], answer.json()["ledger_seq"]) == (202, False, None)
            assert call(client, path, request_id=path.rsplit("/", 1)[1]).json() == answer.json()
        assert (kept.trading.state, kept.open_orders) == ("HALTED", 0)
        for path in set(CALLS) - set(WITHOUT_DATABASE):
            answer = call(client, path)
            assert (answer.status_code, answer.json()["error"]) == (503, "database_unavailable")
        assert metric(client, 'torghut_operator_requests_total{action="halt",outcome="stored_later"}') == 1
    assert kept.calls == ["halt", "reduce", "cancel-all"]


def test_what_waited_for_the_database_is_written_when_it_is_back(database_dsn: str, postgres_port: int) -> None:
    """The service reaches its database over a port that nobody listens on at first."""
    port = free_port()
    kept = KeptEngine(DOWN)
    dsn = database_dsn.replace(f":{postgres_port}/", f":{port}/")
    with serving(app_of(dsn, kept)) as client:
        assert call(client, "/trading/halt").status_code == 202
        with socket.create_server(("127.0.0.1", port)) as listener:
            relay = threading.Thread(target=_relay, args=(listener, postgres_port), daemon=True)
            relay.start()
            until(lambda: outcomes(database_dsn) == [("anna", "halt", "done")])


def _relay(listener: Any, port: int) -> None:
    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()

    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        far = socket.create_connection(("127.0.0.1", port))
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


def test_a_ledger_that_is_locked_does_not_hold_a_halt(kept: KeptEngine) -> None:
    dsn = kept.dsn
    with serving(app_of(dsn, kept, deadlines=Deadlines())) as client, connect(create_engine(dsn)) as connection:
        connection.execute(sa.text("SELECT * FROM governance_ledger_head FOR UPDATE"))
        kept.dsn = DOWN  # the engine's own record would wait for the same lock
        answer = call(client, "/trading/halt")
        assert (answer.status_code, answer.json()["durable"]) == (202, False)
        assert kept.trading.state == "HALTED"
        connection.rollback()
        until(lambda: [outcome for _, _, outcome in outcomes(dsn)] == ["done"])


def test_no_token_appears_in_logs_answers_or_the_ledger(
    client: httpx.Client, kept: KeptEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts = [call(client, "/trading/halt").text, call(client, "/trading/halt", "secret-guess").text]
    texts.append(client.post("/trading/halt", content=b"{", headers=bearer(OPERATOR)).text)
    until(lambda: len(ledger_of(kept.dsn)) == 3)
    texts += [str(row) for row in ledger_of(kept.dsn)] + [client.get("/metrics").text, caplog.text]
    for text in texts:
        for secret in (OPERATOR, VIEWER, "secret-guess"):
            assert secret not in text


@pytest.mark.parametrize("environment", ["stage", "prod"])
def test_stage_and_prod_need_an_operator(environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = json.dumps([{"actor": "v", "role": "viewer", "sha256": "0" * 64}])
    operator = json.dumps([{"actor": "o", "role": "operator", "sha256": "0" * 64}])
    monkeypatch.setenv("APP_ENV", environment)
    for tokens in ("", viewer):
        monkeypatch.setenv("TORGHUT_OPERATOR_TOKENS", tokens)
        with pytest.raises(InputError, match="TORGHUT_OPERATOR_TOKENS"):
            require_operators(load_settings())
    monkeypatch.setenv("TORGHUT_OPERATOR_TOKENS", operator)
    require_operators(load_settings())


def test_read_auth_without_tokens_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORGHUT_HTTP_READ_AUTH", "true")
    with pytest.raises(InputError, match="TORGHUT_OPERATOR_TOKENS"):
        require_operators(load_settings())


ENTRY = {"actor": "a", "role": "viewer", "sha256": "0" * 64}


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "{}",
        '["a"]',
        json.dumps([{**ENTRY, "role": "root"}]),
        json.dumps([{**ENTRY, "sha256": "short"}]),
        json.dumps([{**ENTRY, "actor": "a b"}]),
        json.dumps([{**ENTRY, "token": "t0ken"}]),
        json.dumps([ENTRY, {**ENTRY, "actor": "b"}]),
    ],
)
def test_tokens_that_cannot_be_used_are_named_and_not_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORGHUT_OPERATOR_TOKENS", text)
    with pytest.raises(InputError, match="TORGHUT_OPERATOR_TOKENS") as found:
        load_settings()
    assert "t0ken" not in str(found.value)
    assert Settings.model_fields["operator_tokens"].default == ()
