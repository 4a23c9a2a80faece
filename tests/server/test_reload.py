"""An application that is served anew whenever a file of it changes."""

import logging
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from nexios_trio.server.errors import sole
from nexios_trio.server.file_changes import CannotWatch, watch_files
from nexios_trio.server.reload import Reloader
from tests.server.support import DEADLINE, Running

pytestmark = pytest.mark.slow

APPLICATION = """
from pathlib import Path
from nexios_trio import NexiosApp

app = NexiosApp(debug=True)

@app.get("/")
async def text(req, res):
    return "first"

@app.ws_route("/echo")
async def echo(ws):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text)

@app.ws_route("/blocking")
async def blocking(ws):
    import time
    await ws.accept()
    await ws.send_text("now")
    time.sleep(1000)
"""


class Reloading(Running):
    """A Reloader that runs in this process."""

    def __init__(self, port: int, folder: Path, ready: trio.MemoryReceiveChannel) -> None:
        super().__init__([f"http://127.0.0.1:{port}"], trio.Event(), trio.Event())
        self.folder = folder
        self._ready = ready

    async def ready(self) -> float | None:
        with trio.fail_after(DEADLINE):
            return await self._ready.receive()

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "main.py"
        path.write_text(path.read_text().replace(old, new))

    async def body(self) -> bytes:
        with trio.fail_after(DEADLINE):
            return (await self.get()).rpartition(b"\r\n\r\n")[2]


@asynccontextmanager
async def reloading(folder: Path) -> AsyncIterator[Reloading]:
    """Serve `main:app` of the current folder."""
    (folder / "main.py").write_text(APPLICATION)
    send, receive = trio.open_memory_channel(100)
    with socket.socket() as listener, send, receive:
        listener.bind(("127.0.0.1", 0))
        fd = listener.fileno()
        arguments = ["run", "main:app", "--bind", f"fd://{fd}", "--log-level", "info"]
        reloader = Reloader(lambda number: arguments, [fd], [folder], ["*.py"], send.send_nowait)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reloader.run)
            yield Reloading(listener.getsockname()[1], folder, receive)
            os.kill(os.getpid(), signal.SIGINT)
            nursery.cancel_scope.deadline = trio.current_time() + DEADLINE
        assert not nursery.cancel_scope.cancelled_caught


@pytest.fixture
def folder(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "nexios_trio")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_a_change_sends_clients_away_and_serves_the_new_code(folder, caplog, capfd):
    async with reloading(folder) as server:
        assert await server.ready() is None
        assert await server.body() == b"first"
        async with await server.connect() as client, await server.connect() as other:
            await client.handshake()
            await other.handshake()
            server.edit('return "first"', 'return "other"')
            assert await client.closed() == 1012
            assert await other.closed() == 1012
        assert await server.ready() is not None
        assert await server.body() == b"other"
        server.edit('return "other"', 'return "third"')  # of one size, within a second
        assert await server.ready() is not None
        assert await server.body() == b"third"
        assert "main.py changed: reloading" in caplog.messages
        await _who_connects_while_the_code_is_broken_waits(server, caplog)
    errors = capfd.readouterr().err
    assert re.findall(r'File "(.*?)"', errors) == [str(folder / "main.py")]
    assert "SyntaxError: '(' was never closed" in errors


async def _who_connects_while_the_code_is_broken_waits(server, caplog):
    server.edit('return "third"', "return (")
    with trio.fail_after(DEADLINE):
        while "the server ended with status 3; it starts again when a file changes" not in caplog.messages:
            await trio.sleep(0.01)  # for another process
    async with await server.connect() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        server.edit("return (", 'return "mended"')
        assert (await client.rest()).endswith(b"mended")
    await server.ready()


async def test_a_handler_that_blocks_is_killed(folder, caplog, capfd, monkeypatch):
    monkeypatch.setattr("nexios_trio.server.reload._PACKAGE", folder)  # whose changes no process may miss
    async with reloading(folder) as server:
        await server.ready()
        async with await server.connect() as client:
            await client.handshake("/blocking")
            assert await client.frame() == (1, b"now")
            server.edit('"first"', '"again"')
            assert await server.ready() is not None
            assert await server.body() == b"again"
    assert (
        "2 s after it was told to stop, the process has not ended, and is killed  path=/blocking"
        in capfd.readouterr().err
    )


async def test_only_what_was_asked_for_is_watched(tmp_path):
    for name in ("__pycache__", "pages"):
        (tmp_path / name).mkdir()
    async with watch_files([tmp_path], ["*.py", "pages/*.html"]) as next_changes, trio.open_nursery() as nursery:
        found = []

        async def wait() -> None:
            with trio.fail_after(DEADLINE):
                found.append(await next_changes())

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        for name in ("notes.txt", "page.html", "__pycache__/main.py", "pages/chat.html"):
            (tmp_path / name).write_text("x")
    assert found == [{tmp_path / "pages/chat.html"}]


async def test_what_cannot_be_watched(tmp_path, monkeypatch):
    async def awatch(*args, **kwargs):
        raise OSError("OS file watch limit reached")
        yield

    monkeypatch.setattr("watchfiles.awatch", awatch)
    reloader = Reloader(lambda number: ["run"], [], [tmp_path], ["*.py"], lambda seconds: None)
    with pytest.RaisesGroup(CannotWatch, flatten_subgroups=True) as caught:
        await reloader.run()
    text = str(sole(caught.value))
    assert text.startswith(f"cannot watch {tmp_path}: OS file watch limit reached; --reload-dir names other folders")


async def test_without_the_extra_one_sentence_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(CannotWatch, match=r"--reload needs watchfiles: pip install 'nexios-trio\[reload\]'"):
        async with watch_files([tmp_path], ["*.py"]):
            pass
