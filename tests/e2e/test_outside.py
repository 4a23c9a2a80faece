"""Publishing from plain processes, with the real command and two workers: every message once, whatever is lost."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.e2e.outside_app import KEYS
from tests.e2e.outside_script import COUNT
from tests.server.processes import COMMAND, PROJECT, QUICK, Command, command
from tests.server.support import Raw

pytestmark = pytest.mark.slow

PATIENCE = 120.0  # seconds, on a machine that does much else besides
LOSES_EVERY = 3  # of the answers
HANGS_EVERY = 40


@asynccontextmanager
async def serving(log: Path) -> AsyncIterator[Command]:
    with trio.fail_after(PATIENCE):
        async with command(log, "tests.e2e.outside_app:app", *QUICK, "--workers", "2") as server:
            yield server


class LossyProxy:
    """Passes each request on, on a connection of its own, so that either worker may get it; loses some answers.

    The connection is closed in place of the answer, or nothing more is said on it.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.lost = 0
        self.passed = 0
        self._target = target
        self._requests = 0

    async def serve(self, client: trio.SocketStream) -> None:
        async with client:
            while request := await _message(client):
                self._requests += 1
                number = self._requests
                async with await trio.open_tcp_stream("127.0.0.1", self._target) as server:
                    await server.send_all(request)
                    answer = await _message(server)
                if number % HANGS_EVERY == 0:
                    self.lost += 1
                    await client.receive_some()  # until the client gives up
                    return
                if number % LOSES_EVERY == 0:
                    self.lost += 1
                    return
                self.passed += 1
                await client.send_all(answer)


async def _message(stream: trio.SocketStream) -> bytes:
    """A request or an answer; nothing when the peer is gone."""
    data = b""
    while True:
        head, mark, body = data.partition(b"\r\n\r\n")
        if mark and len(body) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]):
            return data
        try:
            more = await stream.receive_some()
        except trio.BrokenResourceError:
            more = b""
        if not more:
            return b""
        data += more


@asynccontextmanager
async def lossy_proxy(target: int) -> AsyncIterator[LossyProxy]:
    proxy = LossyProxy(target)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel(reason="the test is over")


async def member(server: Command) -> Raw:
    raw = await server.connect()
    assert b" 101 " in await raw.handshake("/room")
    return raw


async def run(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        arguments,
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        cwd=PROJECT,
        env={"PATH": "", **environment},
    )


async def test_a_program_that_dies_and_begins_again_behind_a_proxy_that_loses_answers(tmp_path: Path) -> None:
    script = (sys.executable, str(PROJECT / "tests/e2e/outside_script.py"))
    answers = tmp_path / "answers"
    async with serving(tmp_path / "log") as server, lossy_proxy(server.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/api"
        async with await member(server) as one, await member(server) as other:
            for die_after in (20, 30, COUNT):
                done = await run(*script, url, KEYS[1], str(answers), str(die_after))
                assert done.returncode == (0 if die_after == COUNT else -9), done.stderr.decode()
            for raw in (one, other):
                orders = [json.loads((await raw.frame())[1])["order"] for _ in range(COUNT)]
                assert orders == list(range(COUNT))
            last = await run(str(COMMAND), "publish", "room", "last", NEXIOS_API_KEY=KEYS[0], NEXIOS_API_URL=url)
            assert last.returncode == 0, last.stderr.decode()
            for raw in (one, other):
                assert json.loads((await raw.frame())[1]) == "last"  # and nothing between
    positions = answers.read_text().split()
    assert [position.rpartition(":")[2] for position in positions] == [str(number + 1) for number in range(COUNT)]
    assert proxy.lost > COUNT // LOSES_EVERY


async def test_the_command_publishes_and_its_status_says_how_it_went(tmp_path: Path) -> None:
    async with serving(tmp_path / "log") as server:
        there = {"NEXIOS_API_KEY": KEYS[0], "NEXIOS_API_URL": f"http://127.0.0.1:{server.port}/api"}

        async def publish(*arguments: str, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
            return await run(str(COMMAND), "publish", *arguments, stdin=stdin, **(there | more))

        async with await member(server) as raw:
            text = await publish("room", "tea")
            assert (text.returncode, text.stderr) == (0, b"")
            assert text.stdout.startswith(b"published to room at ")
            assert (await publish("room", "-", "--json", "--key", "k", stdin=b'{"a": [1]}')).returncode == 0
            again = await publish("room", "-", "--json", "--key", "k", stdin=b'{"a": [1]}')
            assert again.stdout.strip().endswith(b":2")
            assert (await publish("room", "-", stdin=b"line\n")).returncode == 0
            assert [json.loads((await raw.frame())[1]) for _ in range(3)] == ["tea", {"a": [1]}, "line\n"]
        refused = await publish("room", "tea", NEXIOS_API_KEY="a-key-of-somebody-else")
        assert refused.returncode == 2
        assert refused.stderr.strip().endswith(b"401: the key is not one of mount_api")
        nobody = await publish("room", "tea", "--deadline", "0.3", NEXIOS_API_URL="http://127.0.0.1:1/api")
        assert (nobody.returncode, b"cannot connect: Connection refused" in nobody.stderr) == (1, True)
        assert b"a-key" not in server.log.encode()
