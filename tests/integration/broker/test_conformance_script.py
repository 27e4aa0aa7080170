"""The conformance run against another simulator finds nothing, and refuses every host but Alpaca's paper one."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

import conformance_alpaca as conformance


@pytest.mark.full
def test_a_simulator_in_the_place_of_the_account_shows_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conformance.main(["--self-check", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no difference in {len(conformance.CASES)} cases\n"
    frames = [json.loads(line)["frame"] for line in (tmp_path / "account.jsonl").read_text().splitlines()]
    assert {frame["event"] for frame in frames} >= {"new", "fill", "canceled", "replaced"}
    assert all(frame["order"]["id"].startswith("id-") for frame in frames)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        (None, True),
        ("https://paper-api.alpaca.markets", True),
        ("https://paper-api.alpaca.markets/v2", True),
        ("https://api.alpaca.markets", False),
        ("http://paper-api.alpaca.markets", False),
        ("https://paper-api.alpaca.markets.example.org", False),
        ("https://user@paper-api.alpaca.markets", False),
    ],
)
def test_no_other_host_is_talked_to(url: str | None, allowed: bool) -> None:
    found = conformance.paper_address({} if url is None else {"APCA_API_BASE_URL": url})
    assert found == (conformance.PAPER if allowed else None)


def test_without_keys_it_ends_with_2(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert conformance.main([]) == 2
    assert "APCA_API_KEY_ID" in capsys.readouterr().err


def test_what_differs_is_listed() -> None:
    def frames(event: str, **fields: object) -> conformance.Outcome:
        return conformance.Outcome(None, [{"event": event, "order": {"id": "id-1", **fields}}])

    theirs = {"case": frames("new", extra=1), "other": conformance.Outcome("AssertionError: no")}
    ours = {"case": frames("new"), "other": conformance.Outcome(None)}
    assert conformance.differences(theirs, ours) == [
        "case: new has field order.extra only at the account",
        "other: the account says AssertionError: no, the simulator passed",
    ]
