"""The running chat, for clients and browsers."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.e2e.browser import InBrowser, Script, browse
from tests.e2e.support import DEADLINE, Server, hypercorn


def wait_until_empty(server: Server) -> None:
    """Nobody is left behind in a room once all clients are gone."""
    deadline = time.monotonic() + DEADLINE
    while rooms := json.loads(server.get("/api/chat/rooms")[2])["rooms"]:
        assert time.monotonic() < deadline, rooms
        time.sleep(0.02)


@pytest.fixture(scope="session")
def running_chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("chat") / "server.log", hypercorn) as server:
        yield server
        wait_until_empty(server)
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def chat(running_chat: Server) -> Iterator[Server]:
    """The chat on `hypercorn --worker-class trio`, shared by all tests: each uses rooms of its own.

    What the server logged meanwhile is printed, which pytest shows when the test fails.
    """
    running_chat.check()
    before = running_chat.log.stat().st_size
    yield running_chat
    print(running_chat.log.read_bytes()[before:].decode())


@pytest.fixture
def in_browser(chat: Server, tmp_path: Path) -> InBrowser:
    """`await in_browser(script)` runs `script(tabs)` in a thread; `trio.from_thread.run` leads back to the test.

    Fails if a page logged an error.
    """

    async def run(script: Script, port: int | None = None) -> None:
        await trio.to_thread.run_sync(browse, script, port or chat.port, tmp_path)

    return run
