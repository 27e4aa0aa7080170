"""State files are read strictly and never guessed at."""

import json
from pathlib import Path
from typing import Any

import pytest

from torghut_assets.guard.errors import GuardInputError
from torghut_assets.guard.policy import POLICY_PATH, load_policy
from torghut_assets.guard.state_file import MAX_BYTES, StateFile, load_state_file

POLICY = load_policy(Path(__file__).parents[3] / POLICY_PATH)
GOOD: dict[str, Any] = {
    "candidateId": "cand-0426c28f7b82",
    "runId": "0426c28f7b829261e3424599",
    "activeStage": "research-intake",
    "paused": False,
    "failureCounts": {},
}


def load(content: object, folder: Path) -> StateFile:
    path = folder / "state.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_state_file(path, POLICY)


def test_a_state_file_is_the_candidates_state(tmp_path: Path) -> None:
    state = load(GOOD, tmp_path).state
    assert (state.candidate_id, state.run_id) == ("cand-0426c28f7b82", "0426c28f7b829261e3424599")
    assert (state.active_stage, state.paused, state.version) == ("research-intake", False, None)


def test_run_id_is_an_alias_also_beside_an_equal_run_id(tmp_path: Path) -> None:
    without = {key: value for key, value in GOOD.items() if key != "runId"}
    assert load({**without, "run_id": "run-000001"}, tmp_path).run_id == "run-000001"
    assert load({**GOOD, "run_id": GOOD["runId"]}, tmp_path).run_id == GOOD["runId"]


@pytest.mark.parametrize("key", ["candidateId", "runId", "activeStage"])
@pytest.mark.parametrize("absent", [True, False])
def test_what_is_absent_stays_absent(tmp_path: Path, key: str, absent: bool) -> None:
    content = {**GOOD, key: None}
    if absent:
        del content[key]
    state = load(content, tmp_path).state
    assert [state.candidate_id, state.run_id, state.active_stage].count(None) == 1


def test_stored_failures_are_per_stage_for_each_class_or_per_class(tmp_path: Path) -> None:
    state = load({**GOOD, "failureCounts": {"research-intake": 3, "transient": 40}}, tmp_path)
    assert state.stored_failures("research-intake", "spec") == 3
    assert state.stored_failures("research-intake", "transient") == 40
    assert state.stored_failures("shadow-paper", "spec") == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"runId": "run-000001"}, "paused: Field required; failureCounts: Field required"),
        ({**GOOD, "paused": "false"}, "paused: Input should be a valid boolean"),
        ({**GOOD, "paused": 0}, "paused: Input should be a valid boolean"),
        ({**GOOD, "runId": 7}, "runId: Input should be a valid string"),
        ({**GOOD, "colour": "red"}, "colour: Extra inputs are not permitted"),
        ({**GOOD, "run_id": "run-000002"}, "run_id: differs from runId"),
        ({**GOOD, "failureCounts": []}, "failureCounts: Input should be a valid"),
        ({**GOOD, "failureCounts": {"moon": 1}}, "neither stages nor failure classes: moon"),
        ({**GOOD, "failureCounts": {"spec": True}}, "failureCounts.spec: Input should be a valid integer"),
        ({**GOOD, "failureCounts": {"spec": -1}}, "spec must not be negative, was -1"),
        ({**GOOD, "activeStage": "moon"}, "activeStage: is no stage of the policy: 'moon'"),
        ({**GOOD, "rollbackReadiness": {"humanApproved": "yes"}}, "rollbackReadiness.humanApproved"),
        ({**GOOD, "rollbackReadiness": {"moon": 1}}, "rollbackReadiness.moon: Extra inputs"),
        ([GOOD], "must hold one JSON object"),
        ("not json", "is not JSON"),
        ("", "is not JSON"),
        ('{"paused": false, "paused": true}', "key paused stands twice"),
        ('{"paused": NaN}', "NaN is no number"),
        ("[" * 100_000, "nested too deeply"),
        (" " * (MAX_BYTES + 1), "is larger than 1048576 bytes"),
    ],
)
def test_a_state_that_cannot_be_used_says_why(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(GuardInputError) as raised:
        load(content, tmp_path)
    assert raised.value.code == "invalid_state"
    assert message in str(raised.value)
    assert str(tmp_path / "state.json") in str(raised.value)


def test_what_is_no_readable_file_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b"\xff")
    for path in (tmp_path / "absent.json", tmp_path, tmp_path / "state.json"):
        with pytest.raises(GuardInputError) as raised:
            load_state_file(path, POLICY)
        assert raised.value.code == "invalid_state"
