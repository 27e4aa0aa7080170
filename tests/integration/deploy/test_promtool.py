"""promtool accepts the alert rules, and each alert fires and stays silent where its tests say so."""

import shutil
import subprocess
from pathlib import Path

import pytest

PROMETHEUS = Path(__file__).parents[3] / "deploy" / "prometheus"


def promtool(*words: str) -> str:
    program = shutil.which("promtool")
    assert program is not None, "promtool is missing: apt-get install prometheus"
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
@pytest.mark.parametrize("path", sorted(PROMETHEUS.glob("*.rules.yaml")), ids=lambda path: path.name)
def test_rules_are_accepted(path: Path) -> None:
    assert "SUCCESS" in promtool("check", "rules", str(path))


@pytest.mark.full
@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.test.yaml")), ids=lambda path: path.name)
def test_alerts_fire_and_stay_silent(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(path))
