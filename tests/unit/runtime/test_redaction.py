"""Secrets do not get into what is shown, whichever way they come."""

import json
import logging
from io import StringIO

import pytest

from torghut_runtime.logs import Lines, about
from torghut_runtime.redaction import Redactor, secrets_of

ENVIRONMENT = {
    "APCA_API_KEY_ID": "PKTESTKEYIDENTITY",
    "APCA_API_SECRET_KEY": 'sec"ret\\with-quotes',
    "OPENAI_API_KEY": "sk-test-0123456789",
    "TRADING_ORDER_FEED_SASL_PASSWORD": "kafka-pass-word",
    "DB_DSN": "postgresql://torghut:p%40ss-word-9@db/torghut",
    "TORGHUT_WEBHOOK_URL": "https://hooks.example/services/T0/B0/abcdef",
    "TORGHUT_OPERATOR_TOKENS": json.dumps([{"actor": "ada", "role": "operator", "sha256": "e3b0c44298fc1c149afb"}]),
    "TORGHUT_HTTP_READ_AUTH": "false",
    "LLM_TOKEN_BUDGET_DAILY": "2000000",
    "TRADING_SIMULATOR_URL": "http://127.0.0.1:8282",
    "TRADING_POLL_MS": "5000",
}
SECRET = [
    "PKTESTKEYIDENTITY", 'sec"ret\\with-quotes', "sk-test-0123456789", "kafka-pass-word", "p%40ss-word-9",
    "p@ss-word-9",
    "https://hooks.example/services/T0/B0/abcdef", "e3b0c44298fc1c149afb",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRET)
@pytest.mark.parametrize("shape", ["{}", "x{}y", "error: {} was refused", '{{"a": "{}"}}'])
def test_a_secret_of_the_environment_is_hidden_wherever_it_stands(secret: str, shape: str) -> None:
    text = Redactor(ENVIRONMENT).text(shape.replace("{{", "{").replace("}}", "}").replace("{}", secret))
    assert secret not in text
    assert "***" in text


def test_numbers_switches_and_plain_addresses_are_no_secrets() -> None:
    found = secrets_of(ENVIRONMENT)
    assert not found & {"2000000", "false", "5000", "http://127.0.0.1:8282"}


def test_the_documented_password_of_the_embedded_server_does_not_hide_our_name() -> None:
    redactor = Redactor({"DB_DSN": "postgresql://torghut:torghut@127.0.0.1:15438/torghut"})
    assert redactor.text("torghut is up") == "torghut is up"
    assert redactor.text("cannot reach postgresql://torghut:torghut@127.0.0.1/torghut") == (
        "cannot reach postgresql://torghut:***@127.0.0.1/torghut"
    )


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdef-123456",
        "postgresql+psycopg2://u:abcdef-123456@h/db refused",
        "APCA-API-SECRET-KEY: abcdef-123456",
        "{'APCA-API-KEY-ID': 'abcdef-123456'}",
        "password=abcdef-123456 host=db",
    ],
)
def test_credentials_of_others_are_hidden_by_their_form(text: str) -> None:
    assert "abcdef-123456" not in Redactor({}).text(text)


def logged(*arguments: object, **options: object) -> dict[str, object]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Lines(Redactor(ENVIRONMENT)))
    logger = logging.getLogger("redaction")
    logger.addHandler(handler)
    try:
        logger.error(*arguments, **options)  # type: ignore[arg-type]
    finally:
        logger.removeHandler(handler)
    (line,) = stream.getvalue().splitlines()
    return json.loads(line)


@pytest.mark.parametrize("secret", SECRET)
def test_no_part_of_a_line_shows_a_secret(secret: str) -> None:
    try:
        raise ValueError(f"cannot use {secret}")
    except ValueError:
        line = logged("with %s", secret, exc_info=True, extra={"detail": {"deep": [secret]}, secret: 1})
    assert secret not in json.dumps(line, ensure_ascii=False)
    assert secret not in str(line)
    assert line["***"] == 1
    assert line["detail"] == {"deep": ["***"]}
    assert str(line["error"]).endswith("ValueError: cannot use ***")


def test_a_line_carries_what_it_is_about_until_the_block_ends() -> None:
    with about(trace_id="t1", symbol="AAPL"):
        with about(order_id="o1", symbol="MSFT", strategy_id=None):
            inner = logged("inner", extra={"trace_id": "t2"})
        outer = logged("outer")
    after = logged("after")
    assert (inner["trace_id"], inner["symbol"], inner["order_id"]) == ("t2", "MSFT", "o1")
    assert "strategy_id" not in inner
    assert (outer["trace_id"], outer["symbol"]) == ("t1", "AAPL")
    assert "order_id" not in outer
    assert set(after) == {"ts", "level", "logger", "message"}
