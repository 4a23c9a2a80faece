"""`python -m examples.chat.cluster`: the chat on two nodes and a Valkey, and what its users notice when one is killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from playwright.sync_api import Page, WebSocket, expect

from tests.e2e.browser import Tabs, browse
from tests.e2e.support import DEADLINE, PROJECT, Server, connect, joined
from tests.engines.redis.server import MISSING, SERVERS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(SERVERS == [None], reason=MISSING)]


def command(port: int) -> list[str]:
    return [sys.executable, "-m", "examples.chat.cluster", "--port", str(port)]


class Cluster(Server):
    """All of it, behind one port."""

    def __init__(self, log: Path) -> None:
        super().__init__(log, command)

    def start(self) -> None:
        super().start()  # the first node that is ready answers
        wait_until(lambda: len(self.pids_of("Valkey")) == 1, self)

    def pids_of(self, name: str) -> list[int]:
        """Of each process that had the name, the newest last."""
        said = re.findall(rf"kill -9 (\d+) +# {name}\n|{name} is back: kill -9 (\d+)\n", self.log.read_text())
        return [int(first or later) for first, later in said]

    def replace(self, name: str) -> None:
        """Kill one, and wait until there is another."""
        lives = len(self.pids_of(name))
        os.kill(self.pids_of(name)[-1], signal.SIGKILL)
        wait_until(lambda: len(self.pids_of(name)) > lives, self)

    def kill(self) -> None:
        """What it has started ends with it, unless it is killed."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(DEADLINE)
        super().kill()


def wait_until(condition: Callable[[], bool], cluster: Cluster) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, cluster.log.read_text()
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster.log") as running:
        yield running
        print(running.log.read_text())
    assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_is_and_nothing_is_left_of_it(tmp_path: Path, stop: signal.Signals) -> None:
    with Cluster(tmp_path / "cluster.log") as cluster:
        pids = [cluster.pid] + [pid for name in ("node 0", "node 1", "Valkey") for pid in cluster.pids_of(name)]
        async with joined(cluster, "stop", "Ada") as (ada, _):
            await ada.say("hello")
            await ada.until(content="hello")
            assert cluster.stop(stop) == 0
            assert (await ada.closed()).code == 1012
    assert len(pids) == 4
    assert not [pid for pid in pids if is_there(pid)]
    said = cluster.log.read_text()
    assert f"http://127.0.0.1:{cluster.port}/" in said
    assert "Traceback" not in said


def test_a_port_that_is_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(command(port), cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: port {port} is in use. Another one: make demo-cluster PORT={port + 1}\n"


async def test_what_was_said_outlives_the_valkey(cluster: Cluster) -> None:
    async with joined(cluster, "valkey", "Ada") as (ada, _), joined(cluster, "valkey", "Grace") as (grace, _):
        await ada.say("before")
        await grace.until(content="before")
        await trio.to_thread.run_sync(cluster.replace, "Valkey")
        await ada.say("after")
        await grace.until(content="after")
        async with joined(cluster, "valkey", "Late") as (_, welcome):
            said = [each["content"] for each in welcome["history"] if each["type"] == "message"]
    assert said == ["before", "after"]


async def test_nobody_s_server_ends_while_the_valkey_says_nothing(cluster: Cluster) -> None:
    """For longer than anybody waits for it."""
    message = {"type": "message", "content": "late", "id": "of-this-test"}
    pid = cluster.pids_of("Valkey")[-1]
    async with joined(cluster, "silence", "Ada") as (ada, _):
        os.kill(pid, signal.SIGSTOP)
        await ada.send(message)
        await ada.closed()
    async with connect(cluster, "/ws/chat/silence", username="Ada") as ada:  # and the list of rooms has changed
        await ada.closed()
    os.kill(pid, signal.SIGCONT)
    async with joined(cluster, "silence", "Ada") as (ada, _):
        await ada.send(message)
        await ada.say("and again")
        await ada.until(content="and again")
        async with joined(cluster, "silence", "Late") as (_, welcome):
            said = [each["content"] for each in welcome["history"] if each["type"] == "message"]
    assert said == ["late", "and again"]
    assert "is gone" not in cluster.log.read_text()
    cluster.log.write_text("")  # where the handlers that could not go on have left their tracebacks


# ---- In the browser ----

LINES = 10


class Writer:
    """A tab whose person writes line after line, as fast as the page takes them."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.said: list[str] = []
        self.reconnects = 0
        self._name = name
        page.on("websocket", self._count)

    def _count(self, opened: WebSocket) -> None:
        self.reconnects += "/ws/chat/" in opened.url

    def write(self) -> None:
        """Returns when the page has taken it, which is before anybody has it."""
        self.said.append(f"{self._name} {len(self.said)}")
        box = self.page.get_by_role("textbox", name="Message #")
        box.fill(self.said[-1])
        while box.input_value():
            expect(self.page.locator("#state")).to_have_text("Connected")
            box.press("Enter")

    def shown(self) -> list[str]:
        return self.page.locator(".bubble").all_inner_texts()


async def test_two_tabs_talk_while_one_node_and_then_the_other_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    def script(tabs: Tabs) -> None:
        writers = [Writer(tabs.open("cluster", name), name) for name in ("Ada", "Grace")]

        def write(lines: int) -> None:
            for _ in range(lines):
                for writer in writers:
                    writer.write()

        for name in ("node 0", "node 1"):
            write(LINES)
            os.kill(cluster.pids_of(name)[-1], signal.SIGSTOP)  # what it is sent from now on is lost with it
            write(LINES)
            cluster.replace(name)
            write(LINES)

        said = [line for writer in writers for line in writer.said]
        for writer in writers:
            expect(writer.page.locator(".bubble")).to_have_count(len(said))
        [of_ada, of_grace] = [writer.shown() for writer in writers]
        assert of_ada == of_grace
        assert sorted(of_ada) == sorted(said)
        for writer in writers:
            assert [line for line in of_ada if line in writer.said] == writer.said
            assert writer.reconnects > 0
            expect(writer.page.locator(".mark")).to_have_count(0)
        tabs.photograph(tmp_path)
        tabs.forgive_lost_connections()

    await trio.to_thread.run_sync(browse, script, cluster.port, tmp_path)
