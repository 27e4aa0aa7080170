"""`make` brings uv to a bare machine: `scripts/bootstrap.sh` on machines played by scripts on a PATH of our own."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).parents[3] / "scripts" / "bootstrap.sh"
TOOLS = ("sh", "id", "dirname", "mkdir", "chmod", "mv", "tail", "grep", "cat", "cp")
UV = "#!/bin/sh\necho uv 0.9.1 $UV_DEFAULT_INDEX\n"


class Machine:
    """A machine whose PATH holds only what a test puts there."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "bootstrap"
        self.bin = root / "bin"
        self.bin.mkdir()
        self.environment = {"PATH": str(self.bin), "TORGHUT_BOOTSTRAP_DIR": str(self.folder), "HOME": str(root)}
        for tool in TOOLS:
            found = next(Path(place) / tool for place in os.defpath.split(":") if (Path(place) / tool).exists())
            (self.bin / tool).symlink_to(found)

    def add(self, name: str, text: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def add_python(self, *, venv: bool, pip: bool, index: str = "") -> None:
        """A Python whose ``venv`` and ``pip`` work or do not; pip "installs" a uv that prints its version."""
        source = self.bin / "uv.source"
        source.write_text(UV)
        source.chmod(0o755)
        # What `venv` makes is a python of its own, whose pip puts uv beside it.
        (self.bin / "venv-python").write_text(f"#!/bin/sh\ncp {source} {self.folder}/venv/bin/uv\n")
        (self.bin / "venv-python").chmod(0o755)
        self.add(
            "python3",
            f"""#!/bin/sh
case "$*" in
    *"sys.exit("*) exit 0 ;;
    *"sys.executable"*) echo "{self.bin}/python3" ;;
    *"-m venv"*)
        [ {int(venv)} = 1 ] || exit 1
        mkdir -p {self.folder}/venv/bin
        cp {self.bin}/venv-python {self.folder}/venv/bin/python ;;
    *"pip config get global.index-url"*) [ -n "{index}" ] && echo "{index}" ;;
    *"--target"*)
        [ {int(pip)} = 1 ] || exit 1
        mkdir -p {self.folder}/site/bin
        cp {source} {self.folder}/site/bin/uv ;;
    *) exit 1 ;;
esac
""",
        )

    def bootstrap(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(BOOTSTRAP)], env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )

    def uv(self, **environment: str) -> str:
        done = subprocess.run(
            [str(self.folder / "uv"), "--version"],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_uv_comes_from_an_environment_where_python_can_make_one(machine: Machine) -> None:
    machine.add_python(venv=True, pip=False)
    assert machine.bootstrap().returncode == 0
    assert machine.uv() == "uv 0.9.1"


def test_uv_comes_by_pip_where_python_has_no_venv(machine: Machine) -> None:
    machine.add_python(venv=False, pip=True)
    assert machine.bootstrap().returncode == 0
    assert machine.uv() == "uv 0.9.1"
    assert (machine.folder / "site" / "bin" / "uv").is_file()


def test_root_without_venv_and_pip_gets_python_venv_from_apt(machine: Machine) -> None:
    machine.add_python(venv=False, pip=False)
    machine.add("id", "#!/bin/sh\necho 0\n")
    crippled = (machine.bin / "python3").read_text()
    machine.add("apt-get", f"#!/bin/sh\ncp {machine.bin}/whole {machine.bin}/python3\n")
    machine.add("whole", crippled.replace("[ 0 = 1 ]", "[ 1 = 1 ]"))
    outcome = machine.bootstrap()
    assert (outcome.returncode, machine.uv()) == (0, "uv 0.9.1"), outcome.stderr
    assert "installing python3-venv with apt-get" in outcome.stderr


def test_without_any_way_to_install_uv_the_message_says_what_to_do(machine: Machine) -> None:
    machine.add_python(venv=False, pip=False)
    machine.add("id", "#!/bin/sh\necho 1000\n")
    outcome = machine.bootstrap()
    assert outcome.returncode == 1
    assert "apt-get install python3-venv" in outcome.stderr
    assert not (machine.folder / "uv").exists()


def test_without_a_usable_python_the_message_names_the_versions(machine: Machine) -> None:
    machine.add("python3", "#!/bin/sh\nexit 1\n")
    outcome = machine.bootstrap()
    assert outcome.returncode == 1
    assert "Python 3.11, 3.12 or 3.13" in outcome.stderr


def test_a_recent_uv_on_the_path_is_used(machine: Machine) -> None:
    machine.add_python(venv=False, pip=False)
    machine.add("uv", UV)
    assert machine.bootstrap().returncode == 0
    assert machine.uv() == "uv 0.9.1"


def test_an_old_uv_on_the_path_is_not_used(machine: Machine) -> None:
    machine.add_python(venv=False, pip=True)
    machine.add("uv", "#!/bin/sh\necho uv 0.7.22\n")
    assert machine.bootstrap().returncode == 0
    assert machine.uv() == "uv 0.9.1"


def test_uv_asks_the_index_that_pip_is_configured_for(machine: Machine) -> None:
    machine.add_python(venv=True, pip=False, index="http://127.0.0.1:9/simple")
    assert machine.bootstrap().returncode == 0
    assert machine.uv() == "uv 0.9.1 http://127.0.0.1:9/simple"
    assert machine.uv(UV_DEFAULT_INDEX="http://127.0.0.1:8/simple") == "uv 0.9.1 http://127.0.0.1:8/simple"


def test_the_real_python_is_accepted(machine: Machine) -> None:
    machine.add("uv", UV)
    machine.environment["TORGHUT_PYTHON"] = sys.executable
    outcome = machine.bootstrap()
    assert outcome.returncode == 0, outcome.stderr
    assert f"UV_PYTHON:-{sys.executable}" in (machine.folder / "uv").read_text()
