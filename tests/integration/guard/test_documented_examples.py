"""Every guard and ledger command of the documentation does what the page says it does."""

import json
import re
import shlex
from pathlib import Path

import pytest
from guard_world import POLICY, POLICY_FILE, World

from torghut_assets.artifacts import ArtifactStore
from torghut_assets.cli import cli
from torghut_assets.guard.reference import PAGE, page
from torghut_runtime.command_line import run

ROOT = Path(__file__).parents[3]
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = [
    PAGE,
    *(RUNBOOKS / f"{name}.md" for name in ("emergency", "pause-and-resume")),
    *sorted(RUNBOOKS.glob("torghut-orchestration-*.md")),
]
"""Pages about the guard; those about the order feed have commands of their own."""
_BLOCK = re.compile(r"^ *```bash\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_EXPECTED = re.compile(r" # exit (\d)(?:, (\S+))?$")
CONTRACT = """\
torghut guard check-transition --state state.json $ids --from-stage research-intake --to-stage incident-recovery # exit 0, transition_allowed
torghut guard check-transition --state state.json $ids --from-stage research-intake --to-stage shadow-paper # exit 3, illegal_transition:research-intake->shadow-paper
torghut guard evaluate-failure --state state.json --stage research-intake --failure-class transient --attempt 2 # exit 0, retry
"""  # noqa: E501 - as the contract has it
IDS = "--candidate-id cand-0426c28f7b82 --run-id 0426c28f7b829261e3424599"


def documented(text: str) -> list[tuple[str, int | None, str | None]]:
    """Every line of the shell blocks, with the exit code and the reason that stand beside it."""
    found: list[tuple[str, int | None, str | None]] = []
    for block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            told = _EXPECTED.search(line.strip())
            command = _EXPECTED.sub("", line.strip())
            found.append((command, None if told is None else int(told[1]), None if told is None else told[2]))
    return found


def follow(commands: list[tuple[str, int | None, str | None]], capsys: pytest.CaptureFixture[str]) -> int:
    followed = 0
    for command, code, reason in commands:
        words = shlex.split(command)
        if words[0] == "echo":
            Path(words[-1]).write_text(words[1])
            continue
        assert words[0] == "torghut", f"a documented command that nobody executes: {command}"
        assert code is not None, f"the page does not say how this ends: {command}"
        found = run(cli, "torghut", words[1:])
        out = capsys.readouterr().out
        assert found == code, f"{command}\n{out}"
        if reason is not None:
            answer = json.loads(out)
            assert reason in {answer.get("reason"), answer.get("action")}, command
        followed += 1
    return followed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_commands_of_a_page_end_as_it_says(
    path: Path,
    world: World,
    guard_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DB_DSN", guard_dsn)
    if path != PAGE:
        known = World(world.engine, ArtifactStore(tmp_path / "artifacts" / "store"))
        known.walk("gate-evaluation", name="daily-momentum")
    followed = follow(documented(path.read_text(encoding="utf-8")), capsys)
    assert followed


def test_the_contracts_example_ends_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    state = {
        "candidateId": "cand-0426c28f7b82",
        "runId": "0426c28f7b829261e3424599",
        "activeStage": "research-intake",
        "paused": False,
        "failureCounts": {},
    }
    Path("state.json").write_text(json.dumps(state))
    block = f"```bash\n{CONTRACT.replace('$ids', IDS)}```"
    assert follow(documented(block), capsys) == 3


def test_the_page_shows_the_policy_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, POLICY)
    assert POLICY_FILE.is_file()
    assert all(f"| {stage} | lane-" in text for stage in POLICY.stage_names)
