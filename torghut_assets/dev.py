"""``torghut dev``: PostgreSQL, a broker and Dagster, started, shown in one terminal and stopped together.

Here stands the supervision of the processes. The database server itself is ``storage.embedded``'s business, what
Dagster runs is said in ``definitions``.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Final

import psycopg

from torghut_assets.dev_broker import development_broker
from torghut_assets.shipped_files import shipped
from torghut_runtime.errors import InputError, StoreUnavailableError
from torghut_runtime.settings import Settings, database_url
from torghut_runtime.storage.embedded import ensure_database

PG_URL_VARIABLE: Final = "TORGHUT_DAGSTER_PG_URL"
PROJECT_VARIABLE: Final = "TORGHUT_PROJECT"
_PATIENCE: Final = 30.0

Say = Callable[[str], None]
"""Prints one line of the terminal view."""


def dagster_url(dsn: str) -> str:
    """Dagster's URL for the server of ``dsn``: database ``dagster``, driver psycopg2."""
    try:
        url = database_url(dsn).set(drivername="postgresql+psycopg2", database="dagster")
    except ValueError as error:
        raise InputError(str(error), field="DB_DSN") from None
    return url.render_as_string(hide_password=False)


def prepare_dagster_home(home: Path, project: Path) -> Path:
    """Make the folder that DAGSTER_HOME names, with the project's ``dagster.yaml`` or the one we ship."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    own = project / "dagster.yaml"
    shutil.copyfile(own if own.is_file() else shipped("deploy/dagster/dagster.yaml"), folder / "dagster.yaml")
    return folder


def check_dagster_database(url: str) -> None:
    """See whether Dagster's database can be used.

    Raises:
        StoreUnavailableError: it cannot be reached, or does not exist.
    """
    try:
        psycopg.connect(url.replace("+psycopg2", "", 1), connect_timeout=10).close()
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise StoreUnavailableError(
            f"Dagster's database cannot be used ({reason}); create database dagster there, "
            f"or name another with {PG_URL_VARIABLE}"
        ) from None


def check_port(host: str, port: int) -> None:
    """Refuse a port that somebody else listens on.

    Raises:
        InputError: the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"{host}:{port} is in use; give another or stop what listens there", field="port"
            ) from error


@contextmanager
def dagster_process(
    project: Path, environment: dict[str, str], host: str, port: int, say: Say
) -> Generator[subprocess.Popen[str]]:
    """``dagster dev`` in a session of its own, its output shown; ended with everything it started."""
    workspace = project / "workspace.yaml"
    command = [sys.executable, "-m", "dagster", "dev", "--host", host, "--port", str(port)]
    command += ["--workspace", str(workspace if workspace.is_file() else shipped("workspace.yaml"))]
    process = subprocess.Popen(
        command,
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    reader = threading.Thread(target=_show, args=(process.stdout, say), daemon=True)
    reader.start()
    try:
        yield process
    finally:
        stop_group(process)
        reader.join(timeout=_PATIENCE)
        if process.stdout is not None:
            process.stdout.close()


def stop_group(process: subprocess.Popen[str], patience: float = _PATIENCE) -> None:
    """End a session leader and all its children: asked first, then made to.

    Dagster takes SIGINT as the wish to stop and may ignore SIGTERM.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if _group_ended(process, patience):
            break
    process.wait()


def _group_ended(process: subprocess.Popen[str], patience: float) -> bool:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        process.poll()
        if not _group_lives(process.pid):
            return True
        time.sleep(0.05)
    return False


def _group_lives(group: int) -> bool:
    """Whether any process of the group still runs.

    Where nobody collects orphans, in many containers, dead ones stay in the group for ever: those do not count.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    if not Path("/proc/self/stat").exists():
        return True
    return any(_runs_in(group, entry) for entry in Path("/proc").glob("[0-9]*/stat"))


def _runs_in(group: int, stat: Path) -> bool:
    try:
        state, _, its_group = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:3]
    except OSError:
        return False  # it ended meanwhile
    return int(its_group) == group and state not in {"Z", "X"}


def _show(lines: IO[str] | None, say: Say) -> None:
    for line in lines or ():
        say(f"dagster    | {line.rstrip()}")


def answers(host: str, port: int) -> bool:
    """Whether Dagster's web server answers."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/server_info", timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def run_dev(
    settings: Settings,
    *,
    project: Path,
    host: str = "127.0.0.1",
    port: int = 3000,
    say: Say = lambda line: print(line, flush=True),
    stopping: threading.Event | None = None,
) -> int:
    """Start PostgreSQL, the order feed's broker and Dagster, stay until a signal, then stop all.

    A database that ``DB_DSN`` names, or that was running already, is used and left alone, and so is a broker that
    ``TRADING_ORDER_FEED_BOOTSTRAP_SERVERS`` names.

    Args:
        settings: database and home folder.
        project: the folder with ``config/``; its ``dagster.yaml`` and ``workspace.yaml`` are used where it has them.
        host: where the web server listens.
        port: of the web server.
        say: shows a line.
        stopping: ends the stay when set; signals set it, too.

    Returns:
        0 after a wished end, 1 when Dagster ended by itself.

    Raises:
        InputError: the port is taken.
        StoreUnavailableError: PostgreSQL cannot be started or reached, or lacks Dagster's database.
        UpstreamError: the broker cannot be started.
    """
    check_port(host, port)
    wish = stopping or threading.Event()
    with _signals(wish), ensure_database(settings) as dsn, development_broker(settings, say) as feed:
        url = os.environ.get(PG_URL_VARIABLE) or dagster_url(dsn)
        check_dagster_database(url)
        say(f"torghut    | PostgreSQL is ready on {dsn.rpartition('@')[2].partition('?')[0]}")
        environment = {
            **os.environ,
            "DAGSTER_HOME": str(prepare_dagster_home(settings.home, project)),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
            "DB_DSN": dsn,
            PG_URL_VARIABLE: url,
            PROJECT_VARIABLE: str(project),
            **feed,
        }
        with dagster_process(project, environment, host, port, say) as process:
            say(f"torghut    | starting Dagster, which takes up to a minute: http://{host}:{port}")
            announced = False
            while process.poll() is None and not wish.wait(0.5):
                if not announced and answers(host, port):
                    announced = True
                    say(f"torghut    | ready: http://{host}:{port} (Ctrl-C stops everything)")
            ended = process.poll()
            say("torghut    | stopping")
        if ended is not None and not wish.is_set():
            say(f"torghut    | Dagster ended by itself with {ended}; its last lines say why")
            return 1
    say("torghut    | stopped")
    return 0


@contextmanager
def _signals(wish: threading.Event) -> Generator[None]:
    """Let Ctrl-C, ``kill`` and a closed terminal be wishes to stop, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, frame: FrameType | None) -> None:
        del number, frame
        wish.set()

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
