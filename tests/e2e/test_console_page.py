"""The console in a browser over a real engine: what changes arrives, and the stop buttons stop."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from engine_world import settings_of
from feed_settings import feed_settings
from http_world import OPERATOR, PATIENT, TOKENS, VIEWER, serving
from live_engine import KEYS, REGISTRY, TRADES, Desk, desk, desks, entry
from playwright.sync_api import Page, expect

from torghut_runtime.engine.engine import Engine, EngineOptions
from torghut_runtime.main import create_app

__all__ = ["KEYS", "desk", "desks"]

pytestmark = [pytest.mark.full, pytest.mark.e2e]


@contextmanager
def console(desk: Desk) -> Generator[tuple[Engine, httpx.Client]]:
    desk.write(entry(enter_at=1))
    settings = feed_settings(given_dsn=desk.dsn, operator_tokens=TOKENS)
    trading = settings_of(SIMULATOR_URL=desk.simulator.url, STRATEGY_CONFIG_PATH=str(desk.catalog), **TRADES)
    engine = Engine(settings, trading, EngineOptions(registry=REGISTRY))
    with serving(create_app(settings, engine, engine.metrics, deadlines=PATIENT)) as client:
        yield desk.ready(engine), client


def test_the_console_is_live_and_its_buttons_stop(desk: Desk, page: Page, screenshots: Path) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    with console(desk) as (engine, client):
        page.goto(f"{client.base_url}/console")
        state = page.locator("#trading-state")
        expect(page.locator("#connection")).to_have_attribute("data-tone", "good")
        expect(state).to_have_text("ACTIVE")
        assert complaints == []

        # what the engine does arrives without a reload
        desk.step(engine, 2)
        expect(page.locator("#live-positions")).to_contain_text("AAPL")
        expect(page.locator("#live-decisions")).to_contain_text("alpha")

        def press(name: str, token: str, reason: str = "drill") -> None:
            page.get_by_label("Token").fill(token)
            page.get_by_label("Reason").fill(reason)
            page.get_by_role("button", name=name, exact=True).click()

        answer = page.locator("#answer")
        press("Halt", OPERATOR, "")
        expect(answer).to_have_text("A token and a reason are needed.")
        press("Halt", "wrong")
        expect(answer).to_have_text("Refused: unauthorized.")
        press("Halt", VIEWER)
        expect(answer).to_have_text("Refused: operator_role_required.")
        expect(state).to_have_text("ACTIVE")

        page.emulate_media(color_scheme="light")
        page.screenshot(path=screenshots / "console.png", full_page=True)

        press("Reduce", OPERATOR)
        expect(answer).to_contain_text("ACTIVE → REDUCING")
        expect(state).to_have_text("REDUCING")
        press("Halt", OPERATOR)
        expect(answer).to_contain_text("REDUCING → HALTED")
        expect(state).to_have_text("HALTED")
        expect(page.locator("#live-state")).to_contain_text("operator_")
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=screenshots / "console-dark.png", full_page=True)

        # flatten asks first; a dialog that is refused asks nothing of the engine
        press("Flatten", OPERATOR)
        page.get_by_role("button", name="Keep positions").click()
        expect(page.locator("#live-positions")).to_contain_text("AAPL")
        press("Flatten", OPERATOR)
        page.get_by_role("button", name="Close all positions").click()
        expect(answer).to_contain_text(re.compile("Done: flatten|Refused: kill_switch_enabled"))

        # narrow: nothing is wider than the screen
        page.set_viewport_size({"width": 400, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.screenshot(path=screenshots / "console-narrow.png", full_page=True)

        # by keyboard: the first stop of the tabulator leads past the head, and buttons are reached
        page.reload()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        assert page.get_by_label("Token").input_value() == ""


def test_the_pages_need_no_other_host(desk: Desk, page: Page) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(httpx.URL(request.url).host))
    with console(desk) as (_, client):
        page.goto(f"{client.base_url}/docs")
        expect(page.get_by_text("/trading/halt").first).to_be_visible()
        page.goto(f"{client.base_url}/console")
        expect(page.locator("#connection")).to_have_attribute("data-tone", "good")
    assert hosts == {"127.0.0.1"}
