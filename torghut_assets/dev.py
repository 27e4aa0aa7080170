"""``torghut dev``: PostgreSQL, a broker, simulator, runtime and Dagster, started, shown and stopped together.

Here stands what is started in which order and what follows when one of them ends. The database server itself is
``storage.embedded``'s business, processes are :mod:`torghut_assets.dev_parts`'s, the terminal is
:mod:`torghut_assets.dev_view`'s; what Dagster runs is said in ``definitions``.
"""

import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

import psycopg

from torghut_assets.dev_broker import development_broker
from torghut_assets.dev_parts import Part, Say, Service, answers_http, listens
from torghut_assets.dev_trading import (
    Trading,
    operator_variables,
    runtime_part,
    simulator_part,
    trading_variables,
)
from torghut_assets.dev_view import View, terminal_view
from torghut_assets.shipped_files import shipped
from torghut_runtime.errors import InputError, StoreUnavailableError
from torghut_runtime.settings import Settings, database_url
from torghut_runtime.storage.embedded import ensure_database

PG_URL_VARIABLE: Final = "TORGHUT_DAGSTER_PG_URL"
PROJECT_VARIABLE: Final = "TORGHUT_PROJECT"
CATALOG_VARIABLE: Final = "TRADING_STRATEGY_CONFIG_PATH"
_LOOK_SECONDS: Final = 0.5
_LOST_LOOKS: Final = 10
"""After so many looks without an answer a service of ours has ended."""


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


def check_port(host: str, port: int, option: str = "port") -> None:
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
                f"{host}:{port} is in use; give another or stop what listens there", field=option
            ) from error


def dagster_part(project: Path, environment: Mapping[str, str], host: str, port: int, home: Path) -> Part:
    """``dagster dev``, which takes SIGINT as the wish to stop and may ignore SIGTERM."""
    workspace = project / "workspace.yaml"
    command = [sys.executable, "-m", "dagster", "dev", "--host", host, "--port", str(port)]
    command += ["--workspace", str(workspace if workspace.is_file() else shipped("workspace.yaml"))]
    address = f"http://{host}:{port}"
    return Part(
        "dagster",
        address,
        command,
        environment,
        lambda: answers_http(f"{address}/server_info"),
        project,
        home / "logs" / "dagster.log",
        signal.SIGINT,
    )


@dataclass(frozen=True)
class Where:
    """What the developer chose: the project, where Dagster listens, and whether and how it trades."""

    project: Path
    host: str = "127.0.0.1"
    port: int = 3000
    trading: Trading | None = None

    def check_ports(self) -> None:
        """Refuse ports that are taken.

        Raises:
            InputError: names the option.
        """
        check_port(self.host, self.port)
        if self.trading is not None:
            check_port("127.0.0.1", self.trading.runtime_port, "runtime-port")
            if not os.environ.get("TRADING_SIMULATOR_URL"):
                check_port("127.0.0.1", self.trading.simulator_port, "simulator-port")


def run_dev(
    settings: Settings,
    where: Where,
    *,
    say: Say | None = None,
    stopping: threading.Event | None = None,
) -> int:
    """Start everything, stay until a signal, then stop all.

    A database that ``DB_DSN`` names, or that was running already, is used and left alone, and so are a broker that
    ``TRADING_ORDER_FEED_BOOTSTRAP_SERVERS`` names and a simulator that ``TRADING_SIMULATOR_URL`` names.

    Args:
        settings: database and home folder.
        where: the folder with ``config/`` (its ``dagster.yaml`` and ``workspace.yaml`` are used where it has them),
            addresses, and the trading side.
        say: shows a line; the terminal's own view when left out.
        stopping: ends the stay when set; signals set it, too.

    Returns:
        0 after a wished end, 1 when a part ended by itself.

    Raises:
        InputError: a port is taken.
        StoreUnavailableError: PostgreSQL cannot be started or reached, or lacks Dagster's database.
        UpstreamError: the broker cannot be started.
    """
    where.check_ports()
    wish = stopping or threading.Event()
    with _signals(wish), terminal_view(say) as view:
        with ensure_database(settings) as dsn, development_broker(settings, view.say) as feed:
            url = os.environ.get(PG_URL_VARIABLE) or dagster_url(dsn)
            check_dagster_database(url)
            database = database_url(dsn)
            view.tell(f"PostgreSQL is ready on {dsn.rpartition('@')[2].partition('?')[0]}")
            environment = {
                **os.environ,
                "DAGSTER_HOME": str(prepare_dagster_home(settings.home, where.project)),
                "DAGSTER_DISABLE_TELEMETRY": "1",
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": "ignore",
                "DB_DSN": dsn,
                PG_URL_VARIABLE: url,
                PROJECT_VARIABLE: str(where.project),
                **feed,
            }
            services = [_service("postgres", database.host, database.port or 5432)]
            servers = environment.get("TRADING_ORDER_FEED_BOOTSTRAP_SERVERS")
            if servers:
                host, _, port = servers.split(",")[0].rpartition(":")
                services.append(_service("broker", host, int(port)))
            failed = _stay(view, services, _parts(settings, where, environment, view), wish)
        view.tell(failed or "stopped")
    return 0 if failed is None else 1


def _service(name: str, host: str | None, port: int) -> Service:
    address = f"{host or '127.0.0.1'}:{port}"
    if host is None or host.startswith("/"):
        return Service(name, host or "socket", lambda: True)
    return Service(name, address, lambda: listens(host, port))


def _parts(settings: Settings, where: Where, environment: dict[str, str], view: View) -> list[Part | Service]:
    """The processes in the order of their start, and a simulator of somebody else's."""
    home, project, trading = settings.home, where.project, where.trading
    parts: list[Part | Service] = []
    if trading is not None:
        environment |= trading_variables(environment, trading, home=home, project=project)
        tokens, path = operator_variables(environment, home)
        given = os.environ.get("TRADING_SIMULATOR_URL")
        if given:
            at = urlsplit(given)
            parts.append(_service("simulator", at.hostname, at.port or 80))
        else:
            parts.append(simulator_part(trading, environment, home=home, project=project))
        parts.append(runtime_part(trading, environment | tokens, home=home, project=project))
        view.tell(f"account {environment['TRADING_ACCOUNT_LABEL']}, strategies of {environment[CATALOG_VARIABLE]}")
        if path is not None:
            view.tell(f"the operator's token stands in {path}")
    parts.append(dagster_part(project, environment, where.host, where.port, home))
    view.tell(f"starting Dagster, which takes up to a minute: http://{where.host}:{where.port}")
    return parts


def _stay(
    view: View, services: Sequence[Service], parts: Sequence[Part | Service], wish: threading.Event
) -> str | None:
    """Start the parts, watch everything until the wish, stop the parts; why it ended otherwise."""
    processes = [part for part in parts if isinstance(part, Part)]
    ours = [*services, *parts]
    lost: dict[str, int] = {}
    failed: str | None = None
    try:
        for process in processes:
            process.start(view.say)
        while failed is None and not wish.wait(_LOOK_SECONDS):
            for each in ours:
                each.look()
                lost[each.name] = lost.get(each.name, 0) + 1 if each.state == "does not answer" else 0
                if isinstance(each, Part) and each.state == "ended":
                    failed = f"{_title(each.name)} ended by itself with {each.code}; its last lines say why"
                elif isinstance(each, Service) and lost[each.name] >= _LOST_LOOKS:
                    failed = f"{_title(each.name)} on {each.address} does not answer any more"
            view.show(ours)
        view.tell("stopping" if failed is None else f"{failed.partition(';')[0]}; stopping the others")
    finally:
        _stop(processes)
    return failed


def _stop(processes: Sequence[Part]) -> None:
    """All are asked at once but the simulator, which the runtime needs to cancel its orders; it goes last."""
    last = [part for part in processes if part.name == "simulator"]
    first = [part for part in processes if part.name != "simulator"]
    for part in first:
        part.ask_to_stop()
    for part in [*first, *last]:
        part.stop()


def _title(name: str) -> str:
    return {"dagster": "Dagster", "postgres": "PostgreSQL"}.get(name, f"the {name}")


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
