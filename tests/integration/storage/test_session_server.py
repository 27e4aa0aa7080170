"""The server of a test session ends with the session, also when that is killed."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
SESSION = """
import sys
from postgres import session_server
from torghut_runtime.settings import embedded_dsn
from torghut_runtime.storage.database import connect, create_engine
with session_server() as port, connect(create_engine(embedded_dsn(port))) as connection:
    print(connection.exec_driver_sql("SELECT current_setting('torghut.folder')").scalar_one(), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_neither_server_nor_files_outlive_the_session(killed: bool) -> None:
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS
    )
    assert session.stdout is not None
    folder = Path(session.stdout.readline().strip()).parent
    assert (folder / "postgres" / "data" / "postmaster.pid").exists()
    if killed:
        session.kill()
    session.communicate()
    until = time.monotonic() + 60
    while folder.exists():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
