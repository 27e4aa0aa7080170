"""``torghut dev`` as tests see it: a process that is started, asked over GraphQL and stopped, and what it leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lane_project import LENIENT, ROOT, write_project
from postgres import free_port

T = TypeVar("T")
PROMOTED, DENIED, SHIPPED = "promoted", "denied", "daily-momentum"
"""Candidates of :func:`write_candidates`, by their outcome; the shipped one has whatever the data say."""
START_LIMIT_S = 300.0
RUN_LIMIT_S = 300.0
POLL_S = 0.2
_FINAL = {"SUCCESS", "FAILURE", "CANCELED"}
PROGRAM = "from torghut_assets.cli import main; main()"
_LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
_CHECKS = """
query ($key: AssetKeyInput!, $check: String!, $partition: String!) {
  assetCheckExecutions(assetKey: $key, checkName: $check, partition: $partition, limit: 1) {
    status runId partition
    evaluation {
      success severity description
      metadataEntries {
        label
        ... on MarkdownMetadataEntry { mdStr }
        ... on TextMetadataEntry { text }
        ... on TableMetadataEntry { table { records } }
      }
    }
  }
}
"""


def write_candidates(folder: Path) -> Path:
    """A project with a candidate that is promoted, one that is denied, and the one that we ship."""
    write_project(
        folder,
        {PROMOTED: {"policy": LENIENT}, DENIED: {"policy": {**LENIENT, "gate1_min_trade_count": 100_000}}},
    )
    for path in (
        "config/candidates/daily-momentum.yaml",
        "config/strategies/daily-momentum.yaml",
        "config/autonomous-gate-policy.json",
        "torghut_assets/sample_data/us5_daily_raw_quandlwiki.parquet",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, folder / path)
    return folder


class DevServer:
    """One ``torghut dev`` on free ports, with a home folder of its own."""

    def __init__(
        self,
        project: Path,
        home: Path,
        environment: Mapping[str, str] | None = None,
        *,
        trading: Sequence[str] = ("--no-trading",),
    ) -> None:
        self.project = project
        self.port, self.postgres_port = free_port(), free_port()
        self.runtime_port, self.simulator_port = free_port(), free_port()
        self.lines: list[str] = []
        inherited = {name: value for name, value in os.environ.items() if name != "DB_DSN"}
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROGRAM,
                "dev",
                "--port",
                str(self.port),
                "--runtime-port",
                str(self.runtime_port),
                "--simulator-port",
                str(self.simulator_port),
                "--project",
                str(project),
                *trading,
            ],
            env={
                **inherited,
                "TORGHUT_HOME": str(home),
                "TORGHUT_POSTGRES_PORT": str(self.postgres_port),
                **(environment or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Of the web server."""
        return f"http://127.0.0.1:{self.port}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(self._process.stdout)

    def wait_until_ready(self) -> None:
        """Wait for the line that says so."""

        def ready() -> bool:
            assert self._process.poll() is None, "".join(self.lines[-50:])
            return any("everything is up" in line for line in self.lines)

        wait_for(ready, START_LIMIT_S)

    def descendants(self) -> list[int]:
        """Every living process that it started, and itself."""
        return _tree(self._process.pid)

    def process_of(self, words: str) -> int:
        """The id of the one living process below it with these words in its command line."""
        (found,) = [pid for pid in self.descendants() if words in _command_line(pid)]
        return found

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        code = self._process.wait(timeout=120)
        self._close()
        return code

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self._process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """End what a failed test left."""
        for pid in self.descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the web server as its pages do."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def partitions(self) -> list[str]:
        """Candidates that Dagster knows."""
        query = """
        query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { partitionKeys } } }
        """
        return self.graphql(query, key={"path": ["market", "bars"]})["assetNodeOrError"]["partitionKeys"]

    def run(self, candidate: str, *assets: list[str]) -> tuple[str, str]:
        """Launch the lane for a candidate, or some of its assets, and wait; returns run id and final status."""
        selector: dict[str, Any] = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "torghut",
            "jobName": "lane",
        }
        if assets:
            selector |= {"assetSelection": [{"path": path} for path in assets], "assetCheckSelection": []}
        tags = [{"key": "dagster/partition", "value": candidate}]
        answer = self.graphql(_LAUNCH, params={"selector": selector, "executionMetadata": {"tags": tags}})
        assert answer["launchRun"]["__typename"] == "LaunchRunSuccess", answer
        run_id = answer["launchRun"]["run"]["runId"]

        def final() -> str | None:
            query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
            status = self.graphql(query, id=run_id)["runOrError"]["status"]
            return status if status in _FINAL else None

        return run_id, wait_for(final, RUN_LIMIT_S)

    def failure(self, run_id: str) -> list[str]:
        """Messages of the steps that failed, with their causes."""
        query = """
        query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
          ... on ExecutionStepFailureEvent { error { message } failureMetadata { description metadataEntries { label
            ... on MarkdownMetadataEntry { mdStr } ... on TextMetadataEntry { text } } } } } } } }
        """
        events = self.graphql(query, id=run_id)["logsForRun"]["events"]
        return [json.dumps(event) for event in events if event]

    def check(self, asset: list[str], name: str, candidate: str) -> dict[str, Any]:
        """The latest evaluation of a check for one candidate; metadata by label."""
        (execution,) = self.graphql(_CHECKS, key={"path": asset}, check=name, partition=candidate)[
            "assetCheckExecutions"
        ]
        found = dict(execution["evaluation"])
        found["metadata"] = {
            entry["label"]: entry.get("mdStr")
            or entry.get("text")
            or [json.loads(record) for record in entry.get("table", {}).get("records", [])]
            for entry in found.pop("metadataEntries")
        }
        return {**found, "status": execution["status"], "partition": execution["partition"]}


def wait_for(condition: Callable[[], T | None], limit: float) -> T:
    """Poll until a condition gives something; fails after ``limit`` seconds."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(POLL_S)
    raise AssertionError(f"not within {limit:.0f} s")


def alive(pids: list[int]) -> list[int]:
    """Those processes that still run; the dead that nobody has collected do not."""
    living: list[int] = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in {"Z", "X"}:
            living.append(pid)
    return living


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return alive(found)
