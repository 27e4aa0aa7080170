"""One running ``torghut dev`` and one browser for all tests from the outside."""

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from dagster_dev import DENIED, PROMOTED, SHIPPED, DevServer, alive, wait_for, write_candidates
from lane_project import ROOT
from playwright.sync_api import Browser, Page, expect, sync_playwright
from postgres import open_folder

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000
ARTIFACTS = ROOT / "test-artifacts"


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Generator[DevServer]:
    """``torghut dev`` with an embedded PostgreSQL, every candidate registered and judged once."""
    project = write_candidates(tmp_path_factory.mktemp("project"))
    with open_folder() as home:
        server = DevServer(project, home)
        try:
            server.wait_until_ready()
            wait_for(lambda: set(server.partitions()) == {PROMOTED, DENIED, SHIPPED}, 120)
            statuses = {name: server.run(name)[1] for name in (PROMOTED, DENIED, SHIPPED)}
            assert statuses == dict.fromkeys(statuses, "SUCCESS"), "".join(server.lines[-80:])
            yield server
            started = server.descendants()
            assert server.stop() == 0
            assert alive(started) == []
        finally:
            server.kill()


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    """Debian's Chromium, or the one that TORGHUT_CHROMIUM names."""
    named = os.environ.get("TORGHUT_CHROMIUM")
    program = named or next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    assert program is not None, "no Chromium; scripts/install-browser.sh installs one"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Generator[Page]:
    """A fresh page; waits up to a minute for what a busy machine draws late."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures are kept."""
    ARTIFACTS.mkdir(exist_ok=True)
    return ARTIFACTS
