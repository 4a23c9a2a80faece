"""The chat's page in headless Chromium, together with a client that is not a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from playwright.sync_api import Page, expect

from tests.e2e.browser import InBrowser, Tabs
from tests.e2e.support import Server, hypercorn, joined, open_proxy

pytestmark = pytest.mark.slow


def say(page: Page, text: str) -> None:
    box = page.get_by_role("textbox", name="Message #")
    box.fill(text)
    box.press("Enter")
    expect(page.locator(".message.mine .bubble").last).to_have_text(text)
    expect(box).to_have_value("")


async def test_two_tabs_and_another_client_talk(chat: Server, in_browser: InBrowser) -> None:
    async with joined(chat, "three", "Robot") as (robot, _):

        def script(tabs: Tabs) -> None:
            ada = tabs.open("three", "Ada")
            grace = tabs.open("three", "Grace")
            for page in (ada, grace):
                expect(page.locator("#user-count")).to_have_text("3")
                expect(page.locator("#people .who")).to_have_text(["Ada", "Grace", "Robot"])
            expect(ada.locator(".event")).to_contain_text("Grace joined")

            say(ada, "Hello from Ada")
            expect(grace.locator(".message:not(.mine) .bubble")).to_have_text("Hello from Ada")
            expect(grace.locator(".message .author")).to_have_text("Ada")
            trio.from_thread.run(lambda: robot.until(content="Hello from Ada", username="Ada"))
            trio.from_thread.run(robot.say, "Hello from a robot")
            said = ["Hello from Ada", "Hello from a robot", "Hello from Grace"]
            for page in (ada, grace):
                expect(page.locator(".bubble")).to_have_text(said[:2])
            say(grace, said[2])
            for page in (ada, grace):
                expect(page.locator(".bubble")).to_have_text(said)

            grace.context.close()
            expect(ada.locator("#user-count")).to_have_text("2")
            expect(ada.locator(".event").last).to_have_text("Grace left")
            trio.from_thread.run(lambda: robot.until(action="leave", username="Grace"))

        await in_browser(script)


async def test_typing_is_shown_until_it_stops(chat: Server, in_browser: InBrowser) -> None:
    async with joined(chat, "typing", "Robot") as (robot, _):

        def script(tabs: Tabs) -> None:
            ada = tabs.open("typing", "Ada")
            grace = tabs.open("typing", "Grace")
            box = ada.get_by_role("textbox", name="Message #")
            box.press_sequentially("Hel")
            expect(grace.locator("#typing")).to_have_text("Ada is typing…")
            expect(ada.locator("#typing")).to_be_empty()
            trio.from_thread.run(robot.send, {"type": "typing", "is_typing": True})
            expect(grace.locator("#typing")).to_have_text("Ada and Robot are typing…")
            box.press("Enter")  # a message says that its writer stopped
            expect(grace.locator("#typing")).to_have_text("Robot is typing…")
            trio.from_thread.run(robot.send, {"type": "typing", "is_typing": False})
            expect(grace.locator("#typing")).to_be_empty()
            box.press_sequentially("Hm")
            expect(grace.locator("#typing")).to_have_text("Ada is typing…")
            box.fill("")
            expect(grace.locator("#typing")).to_be_empty()

        await in_browser(script)


async def test_the_list_of_rooms_is_live(chat: Server, in_browser: InBrowser) -> None:
    def script(tabs: Tabs) -> None:
        ada = tabs.open("hall", "Ada")
        grace = tabs.open("hall", "Grace")
        entry = ada.get_by_role("link", name="kitchen")
        expect(entry).to_have_count(0)

        grace.get_by_label("Name of a room to open").fill("Kitchen!")
        grace.get_by_role("button", name="Open the room").click()
        expect(grace.get_by_role("heading", level=1)).to_have_text("#kitchen")
        expect(entry.locator(".count")).to_have_text("1")
        expect(ada.get_by_role("link", name="hall").locator(".count")).to_have_text("1")

        entry.click()
        expect(ada.get_by_role("heading", level=1)).to_have_text("#kitchen")
        assert ada.url.endswith("#kitchen")
        expect(grace.locator("#user-count")).to_have_text("2")
        say(ada, "So this is the kitchen")
        expect(grace.locator(".bubble")).to_have_text("So this is the kitchen")

        ada.go_back()
        expect(ada.get_by_role("heading", level=1)).to_have_text("#hall")
        expect(ada.locator(".bubble")).to_have_count(0)
        expect(grace.locator("#user-count")).to_have_text("1")

    await in_browser(script)


async def test_a_reload_shows_the_history_and_remembers_the_name(chat: Server, in_browser: InBrowser) -> None:
    async with joined(chat, "reload", "Robot") as (robot, _):

        def script(tabs: Tabs) -> None:
            ada = tabs.open("reload", "Ada")
            say(ada, "before the reload")
            trio.from_thread.run(robot.say, "an answer")
            expect(ada.locator(".bubble")).to_have_text(["before the reload", "an answer"])
            ada.reload()
            expect(ada.locator("#state")).to_have_text("Connected")
            expect(ada.locator(".bubble")).to_have_text(["before the reload", "an answer"])
            expect(ada.locator(".message.mine .bubble")).to_have_text(["before the reload"])
            expect(ada.locator("#my-name")).to_have_text("Ada")

        await in_browser(script)


async def test_what_people_write_is_only_ever_text(chat: Server, in_browser: InBrowser) -> None:
    name = "<img src=x onerror=alert(1)>"
    text = "<script>alert(1)</script><b>bold</b>"
    async with joined(chat, "markup", name) as (robot, _):
        await robot.say(text)
        await robot.send({"type": "typing", "is_typing": True})

        def script(tabs: Tabs) -> None:
            ada = tabs.open("markup", "Ada")
            expect(ada.locator(".bubble")).to_have_text(text)
            expect(ada.locator(".author")).to_have_text(name)
            trio.from_thread.run(robot.send, {"type": "typing", "is_typing": True})
            expect(ada.locator("#typing")).to_have_text(f"{name} is typing…")
            assert ada.locator("main img, main b, main script, #people img").count() == 1  # the empty room's

        await in_browser(script)


async def test_a_refused_name_can_be_corrected(chat: Server, in_browser: InBrowser) -> None:
    def script(tabs: Tabs) -> None:
        page = tabs.open("refused")
        page.get_by_role("textbox", name="Your name").fill("A\u202eB")
        page.get_by_role("button", name="Join the chat").click()
        expect(page.locator("#name-error")).to_have_text("A name has at most 32 printable characters.")
        expect(page.locator("#state")).to_have_text("Not connected")
        page.get_by_role("textbox", name="Your name").fill("Ada")
        page.get_by_role("button", name="Join the chat").click()
        expect(page.locator("#state")).to_have_text("Connected")
        say(page, "in at last")

    await in_browser(script)


@pytest.fixture
def own_chat(tmp_path: Path) -> Iterator[Server]:
    """A server that may be stopped, because nobody else uses it."""
    with Server(tmp_path / "server.log", hypercorn) as server:
        yield server
        print(server.log.read_text())


async def test_the_page_comes_back_after_the_server_restarts(own_chat: Server, in_browser: InBrowser) -> None:
    def script(tabs: Tabs) -> None:
        ada = tabs.open("restart", "Ada")
        grace = tabs.open("restart", "Grace")
        say(ada, "before")
        expect(grace.locator(".bubble")).to_have_text(["before"])

        own_chat.stop()
        for page in (ada, grace):
            expect(page.get_by_role("alert")).to_contain_text("Connection lost")
        ada.get_by_role("textbox", name="Message #").fill("written meanwhile")
        expect(ada.get_by_role("button", name="Send the message")).to_be_disabled()

        own_chat.start()
        for page in (ada, grace):
            expect(page.locator("#state")).to_have_text("Connected")
            expect(page.locator("#user-count")).to_have_text("2")
            expect(page.locator("#notice")).to_be_hidden()
            expect(page.get_by_role("link", name="restart").locator(".count")).to_have_text("2")
        ada.get_by_role("button", name="Send the message").click()
        said = ["before", "written meanwhile"]
        for page in (ada, grace):
            expect(page.locator(".bubble")).to_have_text(said)
        tabs.forgive_lost_connections()

    await in_browser(script, own_chat.port)


async def test_a_reconnect_rereads_the_history_without_duplicates(chat: Server, in_browser: InBrowser) -> None:
    async with joined(chat, "cut", "Robot") as (robot, _), open_proxy(chat.port) as proxy:

        def script(tabs: Tabs) -> None:
            ada = tabs.open("cut", "Ada")
            say(ada, "one")
            trio.from_thread.run_sync(proxy.cut)
            expect(ada.locator("#state")).to_have_text("Reconnecting…")
            trio.from_thread.run(lambda: robot.until(action="leave", username="Ada"))
            trio.from_thread.run(robot.say, "two, which Ada misses")
            trio.from_thread.run_sync(proxy.mend)
            expect(ada.locator("#state")).to_have_text("Connected")
            trio.from_thread.run(robot.say, "three")
            expect(ada.locator(".bubble")).to_have_text(["one", "two, which Ada misses", "three"])
            expect(ada.locator(".mark")).to_have_count(0)
            expect(ada.locator("#user-count")).to_have_text("2")
            tabs.forgive_lost_connections()

        await in_browser(script, proxy.port)


async def test_who_reads_further_up_is_left_alone(chat: Server, in_browser: InBrowser) -> None:
    async with joined(chat, "scroll", "Robot") as (robot, _):
        for number in range(40):
            await robot.say(f"line {number}")

        def script(tabs: Tabs) -> None:
            ada = tabs.open("scroll", "Ada", viewport={"width": 390, "height": 700})
            newest, more = ada.locator(".bubble").last, ada.get_by_role("button", name="New messages")
            expect(newest).to_be_in_viewport()
            ada.locator(".bubble").first.scroll_into_view_if_needed()
            expect(newest).not_to_be_in_viewport()
            trio.from_thread.run(robot.say, "a word from below")
            expect(newest).to_have_text("a word from below")
            expect(newest).not_to_be_in_viewport()
            more.click()
            expect(newest).to_be_in_viewport()
            expect(more).to_be_hidden()
            trio.from_thread.run(robot.say, "one more")
            expect(newest).to_have_text("one more")
            expect(newest).to_be_in_viewport()

        await in_browser(script)


async def test_a_phone_has_room_for_everything(chat: Server, in_browser: InBrowser) -> None:
    def script(tabs: Tabs) -> None:
        page = tabs.open("phone", "Ada", viewport={"width": 320, "height": 568}, has_touch=True, is_mobile=True)
        rooms, people = page.locator("#rooms-panel"), page.locator("#people-panel")
        for button, panel in (("Show the rooms", rooms), ("1 in this room", people)):
            expect(panel).to_be_hidden()
            page.get_by_role("button", name=button).tap()
            expect(panel).to_be_in_viewport()
            page.keyboard.press("Escape")
            expect(panel).to_be_hidden()
        say(page, "unbreakable" * 20)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    await in_browser(script)
