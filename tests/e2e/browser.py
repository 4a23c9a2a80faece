"""Headless Chromium: tabs of several people, and what the pages complained about."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.e2e.support import DEADLINE

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Tabs:
    """Headless Chromium with a fresh profile per person. Used in one thread, the one that opened it."""

    def __init__(self, browser: Browser, port: int) -> None:
        self._browser = browser
        self._port = port
        self._pages: list[Page] = []
        self.complaints: list[str] = []

    def open(self, room: str, username: str | None = None, **options: Any) -> Page:
        """A tab of a new person, connected if the name is given; else it shows the question for the name."""
        context: BrowserContext = self._browser.new_context(**options)
        context.set_default_timeout(DEADLINE * 1000)
        page = context.new_page()
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._pages.append(page)
        page.goto(f"http://127.0.0.1:{self._port}/#{room}")
        if username is not None:
            page.get_by_role("textbox", name="Your name").fill(username)
            page.get_by_role("button", name="Join the chat").click()
            expect(page.locator("#state")).to_have_text("Connected")
        return page

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def forgive_lost_connections(self) -> None:
        """Chromium itself reports every failed attempt to connect as an error."""
        self.complaints = [text for text in self.complaints if "WebSocket connection to" not in text]

    def photograph(self, shots: Path) -> None:
        for number, page in enumerate(self._pages):
            page.screenshot(path=shots / f"tab{number}.png")


Script = Callable[[Tabs], None]


class InBrowser(Protocol):
    """Run a script against the chat, or against whatever else is on `port`."""

    async def __call__(self, script: Script, port: int | None = None) -> None: ...


def browse(script: Script, port: int, shots: Path) -> None:
    """Run `script(tabs)` with a browser. When it fails, screenshots of all tabs are in `shots`."""
    expect.set_options(timeout=DEADLINE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        tabs = Tabs(browser, port)
        try:
            script(tabs)
        except BaseException:
            tabs.photograph(shots)
            print(f"screenshots: {shots}/tab*.png; the pages said: {tabs.complaints}")
            raise
        finally:
            browser.close()
    assert tabs.complaints == []
