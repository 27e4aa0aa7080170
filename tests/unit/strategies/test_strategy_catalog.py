"""The strategy catalog: its forms, its strictness, and where each fault lies."""

import json
from pathlib import Path
from typing import Any

import pytest

from torghut_runtime.errors import InputError
from torghut_runtime.strategies.catalog import load_catalog

ENTRY: dict[str, Any] = {"strategy_id": "a", "strategy_type": "legacy_macd_rsi"}


def refusal(*entries: Any) -> InputError:
    with pytest.raises(InputError) as raised:
        load_catalog(json.dumps(list(entries)))
    return raised.value


def test_defaults_are_those_of_the_contract() -> None:
    (entry,) = load_catalog(json.dumps([ENTRY]))
    assert (entry.enabled, entry.base_timeframe, entry.priority, entry.params, entry.search) == (
        True,
        "1Min",
        100,
        {},
        {},
    )
    assert entry.name == "a"
    assert entry.universe_symbols is None
    assert entry.max_notional_per_trade is None
    assert entry.max_position_pct_equity is None


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([ENTRY]),
        json.dumps({"strategies": [ENTRY]}),
        "- strategy_id: a\n  strategy_type: legacy_macd_rsi\n",
        "strategies:\n  - {strategy_id: a, strategy_type: legacy_macd_rsi}\n",
        "kind: ConfigMap\ndata:\n  strategies.yaml: |\n    - {name: a, strategy_type: legacy_macd_rsi}\n",
    ],
)
def test_every_form_holds_the_same_entry(text: str, tmp_path: Path) -> None:
    (expected,) = load_catalog(json.dumps([ENTRY]))
    (tmp_path / "strategies.yaml").write_text(text)
    assert load_catalog(text) == load_catalog(tmp_path / "strategies.yaml") == [expected]


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"enabled": "false"}, "enabled", "input should be a valid boolean, was 'false'"),
        ({"enabled": 0}, "enabled", "valid boolean"),
        ({"enabled": None}, "enabled", "valid boolean"),
        ({"strategy_typ": "x"}, "strategy_typ", "unknown key; did you mean strategy_type?"),
        ({"universe": ["AAPL"]}, "universe", "unknown key"),
        ({"xyzzy": 1}, "xyzzy", "unknown key; known are base_timeframe, description, enabled"),
        ({"priority": "1"}, "priority", "valid integer"),
        ({"priority": True}, "priority", "valid integer"),
        ({"priority": -1}, "priority", "greater than or equal to 0"),
        ({"base_timeframe": "1min"}, "base_timeframe", "unknown timeframe '1min'"),
        ({"max_notional_per_trade": -1}, "max_notional_per_trade", "greater than or equal to 0"),
        ({"max_notional_per_trade": "1e3"}, "max_notional_per_trade", "valid number"),
        ({"max_notional_per_trade": True}, "max_notional_per_trade", "valid number"),
        ({"max_position_pct_equity": 1.01}, "max_position_pct_equity", "less than or equal to 1"),
        ({"universe_symbols": []}, "universe_symbols", "leave the key out"),
        ({"universe_symbols": "AAPL"}, "universe_symbols", "must be a list of symbols"),
        ({"universe_symbols": ["AAPL", "aapl"]}, "universe_symbols", "listed twice"),
        ({"universe_symbols": ["A B"]}, "universe_symbols", "not a symbol: 'A B'"),
        ({"universe_symbols": [False]}, "universe_symbols", "needs quotes"),
        ({"symbols": ["AAPL"], "universe_symbols": ["AAPL"]}, None, "two names of one key"),
        ({"params": []}, "params", "valid dictionary"),
        ({"search": {"p": []}}, "search.p", "at least one value"),
        ({"search": {"p": 5}}, "search.p", "at least one value"),
        ({"search": {"p": [1, 2, 1]}}, "search.p", "listed twice"),
        ({"provenance": {"candidate_id": "c", "run_id": "r", "sha": "0"}}, "provenance.sha", "did you mean sha256?"),
        ({"strategy_type": ""}, "strategy_type", "at least 1 character"),
    ],
)
def test_a_fault_is_named_with_entry_and_field(change: dict[str, Any], field: str | None, message: str) -> None:
    error = refusal({"strategy_id": "other", "strategy_type": "t"}, {**ENTRY, **change})
    assert (error.row, error.field) == (2, field)
    assert message in error.message


def test_a_missing_type_and_a_repeated_name_are_faults() -> None:
    error = refusal({"strategy_id": "a"})
    assert (error.field, error.message) == ("strategy_type", "is required")
    error = refusal(ENTRY, ENTRY)
    assert (error.row, error.field) == (2, "name")
    error = refusal({**ENTRY, "name": "n1"}, {**ENTRY, "name": "n2"})
    assert (error.row, error.field) == (2, "strategy_id")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a: 1\n  a: 2", "the key 'a' stands twice at line 2"),
        ('[{"a": 1, "a": 2}]', "the key 'a' stands twice"),
        ("- 1: x", "is not text"),
        ("a: [", "is not YAML"),
        ("[{]", "is not JSON"),
        ("5", "must be a list of strategies"),
        ("strategies: {}", "must be a list of strategies"),
        ("strategy: []", "did you mean strategies?"),
        ("- 5", "must be an object with keys and values"),
        ("kind: ConfigMap\ndata: {other: x}", "the ConfigMap has no text under strategies.yaml"),
        ("- !!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_texts_that_are_no_catalog(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_catalog(text)
    assert message in str(raised.value)


def test_numbers_may_be_decimal_texts_and_an_explicit_zero_is_zero() -> None:
    (entry,) = load_catalog(json.dumps([{**ENTRY, "max_notional_per_trade": "1500.50", "max_position_pct_equity": 0}]))
    assert (entry.max_notional_per_trade, entry.max_position_pct_equity) == (1500.5, 0.0)


def test_symbols_are_upper_cased_and_have_two_names() -> None:
    (entry,) = load_catalog(json.dumps([{**ENTRY, "symbols": ["aapl", "BTC/USD"]}]))
    assert entry.universe_symbols == ("AAPL", "BTC/USD")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, content in ((tmp_path / "absent.yaml", None), (tmp_path / "latin.yaml", b"\xff\xfe\x00")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read") as raised:
            load_catalog(path)
        assert raised.value.file == str(path)
