"""`nexios-trio run --reload`."""

import os
import signal
import sys

import pytest
import trio
from click.testing import CliRunner

from nexios_trio.cli.main import main
from tests.server.processes import command
from tests.server.support import DEADLINE

APP = """
import os
from nexios_trio import NexiosApp

app = NexiosApp()

@app.get("/pid")
async def pid(req, res):
    return str(os.getpid())

@app.ws_route("/echo")
async def echo(ws):
    await ws.accept()
    await ws.receive_text()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    return tmp_path


@pytest.mark.slow
async def test_a_change_of_a_page_reloads_and_a_signal_ends_it(folder):
    arguments = ("main:app", "--reload", "--reload-include", "*.html")
    async with command(folder / "log", *arguments, folder=folder) as server:
        assert server.line.endswith(f" with reload of changes in {folder} (Ctrl-C stops it)\n")
        first = (await server.get("/pid")).rpartition(b"\n")[2]
        async with await server.connect() as client:
            await client.handshake()
            (folder / "page.html").write_text("new")
            assert await client.closed() == 1012
        second = (await server.get("/pid")).rpartition(b"\n")[2]  # waits until somebody serves
        assert first != second
        os.killpg(server.process.pid, signal.SIGINT)  # as Ctrl-C does
        assert await server.status() == 0
        assert "Traceback" not in server.log
        assert "page.html changed: reloading" in server.log
        await _gone(int(second))


@pytest.mark.slow
async def test_no_server_outlives_its_parent(folder):
    async with command(folder / "log", "main:app", "--reload", folder=folder) as server:
        pid = int((await server.get("/pid")).rpartition(b"\n")[2])
        server.signal(signal.SIGKILL)
        await server.status()
        await _gone(pid)


async def _gone(pid: int) -> None:
    with trio.fail_after(DEADLINE):
        while await trio.Path(f"/proc/{pid}/exe").exists():  # not so for a zombie
            await trio.sleep(0.01)  # for another process, which has no condition to wait for


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--workers", "2"], "--reload serves with one process: leave --workers out, or --reload"),
        (["--reload-dir", "nowhere"], "Directory 'nowhere' does not exist"),
        (["-b", "127.0.0.1:http"], "a bind is HOST:PORT, unix:PATH or fd://NUMBER"),
    ],
)
def test_mistakes_say_what_is_accepted(arguments, text):
    result = CliRunner().invoke(main, ["run", "main:app", "--reload", *arguments])
    assert result.exit_code == 2
    assert text in result.output


def test_without_the_extra_one_sentence_names_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    (tmp_path / "server.toml").write_text("workers = 4")
    result = CliRunner().invoke(
        main, ["run", "main:app", "--reload", "--port", "0", "-c", str(tmp_path / "server.toml")]
    )
    assert result.exit_code == 2
    assert "Note: --reload serves with one process; workers = 4 of the file is left out" in result.output
    assert "Error: --reload needs watchfiles: pip install 'nexios-trio[reload]'" in result.output
