"""Two processes in two folders, in another environment each, leave the same bytes (trap 9)."""

import json
import os
import subprocess
import sys
from pathlib import Path

from lane_project import LENIENT, files, write_project

ONE = {
    "LANG": "C",
    "LC_ALL": "C",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "POLARS_MAX_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
OTHER = {
    "LANG": "de_DE.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "Pacific/Kiritimati",
    "PYTHONHASHSEED": "4242",
    "POLARS_MAX_THREADS": "3",
    "OMP_NUM_THREADS": "3",
    "MPLBACKEND": "svg",
    "DB_DSN": "postgresql://nobody@127.0.0.1:1/none",
}

COMMAND = "from torghut_assets.cli import main; main()"


def start(project: Path, cwd: Path, output: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """The command line, with paths relative to ``cwd``."""
    options = {
        "bars": project / "bars.parquet",
        "strategy-config": project / "config/test-candidate-strategies.yaml",
        "gate-policy": project / "config/test-candidate-policy.json",
        "research": project / "config/research.yaml",
        "strategy-configmap": project / "deploy/k8s/base/strategy-configmap.yaml",
        "output-dir": output,
    }
    words = [word for name, path in options.items() for word in (f"--{name}", os.path.relpath(path, cwd))]
    command = [sys.executable, "-c", COMMAND, "lane", "run", *words, "--ledger", "none"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "NUMBA_CACHE_DIR") if name in os.environ}
    return subprocess.Popen(
        [*command, "--json"],
        cwd=cwd,
        env={**kept, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_equal_inputs_give_equal_bytes_in_any_environment(tmp_path: Path) -> None:
    candidate = {"policy": LENIENT, "entry": {"search": {"lookback_bars": [20, 30]}}}
    places = [tmp_path / "here", tmp_path / "somewhere" / "else entirely"]
    started: list[subprocess.Popen[str]] = []
    for place, environment in zip(places, (ONE, OTHER), strict=True):
        project = write_project(place, {"test-candidate": candidate})
        cwd = place if environment is ONE else place.parent
        started.append(start(project, cwd, place / "out", environment))
    results: list[dict[str, object]] = []
    for process in started:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        results.append(json.loads(out))
    assert results[0]["promotion_allowed"] is True
    assert [results[0][key] for key in ("run_id", "candidate_id", "name")] == [
        results[1][key] for key in ("run_id", "candidate_id", "name")
    ]
    one, other = (files(place / "out") for place in places)
    manifests = [json.loads(each.pop("MANIFEST.json")) for each in (one, other)]
    timed = {path for path, entry in manifests[0]["files"].items() if not entry["reproducible"]}
    assert timed == {"gates/promotion-decision.json"}
    for manifest in manifests:
        for path in timed:
            del manifest["files"][path]
    assert manifests[0] == manifests[1]
    assert set(one) == set(other)
    assert [path for path in sorted(set(one) - timed) if one[path] != other[path]] == []
    assert "paper-candidate/strategy-configmap-patch.yaml" in one
    decisions = [json.loads(each["gates/promotion-decision.json"]) for each in (one, other)]
    assert [name for name in decisions[0] if decisions[0][name] != decisions[1][name]] in ([], ["decided_at"])
    for place, bundle in zip(places, (one, other), strict=True):
        assert [path for path, data in bundle.items() if str(place).encode() in data] == []
