"""What blocks the event loop is named, once for each place, while it does."""

import bdb
import os
import threading
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio

from nexios_trio import Settings
from nexios_trio.server.task_stacks import Stack
from nexios_trio.server.watchdog import BlockedTime, Watchdog, default_block_warning, watch_event_loop
from tests.server.processes import QUICK, Command, command
from tests.server.support import Raw, eventually, frame
from tests.server.test_forced_end import stacks

APP = "tests.server.stubborn_app:app"
BLOCKED = "the event loop has been blocked for"


@pytest.fixture
def pipe(tmp_path) -> Path:
    """A file that nobody reads to its end before somebody else has written."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


class Blocker:
    """A connection whose handler blocks the server's event loop until it is told otherwise."""

    def __init__(self, server: Command, client: Raw, pipe: Path) -> None:
        self._server, self._client, self._pipe = server, client, pipe

    async def block(self, times_told: int) -> None:
        """Block; go on once the log has said so that often in all."""
        await self._client.send(frame(1, str(self._pipe).encode()))
        await eventually(lambda: len(stacks(self._server.log, BLOCKED)) == times_told)
        await self.go_on()

    async def go_on(self) -> None:
        descriptor = await trio.to_thread.run_sync(os.open, self._pipe, os.O_WRONLY)  # waits for the reader
        os.close(descriptor)
        assert await self._client.frame() == (1, b"done")


async def test_each_place_is_named_once(tmp_path, pipe):
    async with command(tmp_path / "log", APP, *QUICK, "--set", "block_warning=0.1") as server:
        async with await server.connect() as here, await server.connect() as there:
            await here.handshake("/reading/here")
            await there.handshake("/reading/there")
            await Blocker(server, here, pipe).block(times_told=1)
            await here.send(frame(1, str(pipe).encode()))
            await Blocker(server, here, pipe).go_on()  # blocks again, at the same place
            await Blocker(server, there, pipe).block(times_told=2)
            await eventually(lambda: server.log.count("the event loop goes on, after ") == 2)
        server.signal()
        assert await server.status() == 0
    first, second = stacks(server.log, BLOCKED)
    assert " WARNING nexios_trio.server: " in first
    assert "await trio.to_thread.run_sync(f)" in first
    assert " path=/reading/here client=127.0.0.1 connection=" in first
    assert "in reading\n      Path(name).read_text()" in first
    assert "in reading\n      Path(name).read_bytes()" in second
    assert "tests/server/stubborn_app.py" in first.splitlines()[1]


async def test_a_synchronous_consumer_is_named_with_its_connection(tmp_path, pipe):
    async with command(tmp_path / "log", APP, *QUICK, "--set", "block_warning=0.1") as server:
        async with await server.connect() as client:
            await client.handshake("/synchronous")
            await Blocker(server, client, pipe).block(times_told=1)
    [text] = stacks(server.log, BLOCKED)
    assert " path=/synchronous client=127.0.0.1 connection=" in text
    assert "in Reading.on_receive\n      Path(data).read_text()" in text
    assert "epoll.py" not in text


@pytest.mark.parametrize("options", [("--set", "debug=yes"), ("--reload", "--reload-dir", str(Path(__file__).parent))])
async def test_it_is_on_while_somebody_develops(tmp_path, pipe, options):
    async with command(tmp_path / "log", APP, *QUICK, *options) as server, await server.connect() as client:
        await client.handshake("/reading/here")
        await Blocker(server, client, pipe).block(times_told=1)


async def test_it_is_off_elsewhere():
    before = threading.active_count()
    await watch_event_loop(Settings())
    assert threading.active_count() == before


async def test_it_ends_with_its_block():
    names = {thread.name for thread in threading.enumerate()}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_event_loop, Settings(block_warning=5))
        await trio.testing.wait_all_tasks_blocked(0.01)
        [thread] = [each for each in threading.enumerate() if each.name not in names]
        nursery.cancel_scope.cancel()
    assert not thread.is_alive()


async def test_what_the_settings_say_wins():
    default_block_warning.set(3.0)
    seen = []
    original = Watchdog.__init__

    def noting(self, seconds):
        seen.append(seconds)
        original(self, seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watchdog, "__init__", noting)
        for settings in (Settings(), Settings(debug=True), Settings(block_warning=7.0, debug=True)):
            with trio.move_on_after(0):
                await watch_event_loop(settings)
    default_block_warning.set(inf)
    assert seen == [3.0, 1.0, 7.0]


def test_time_in_which_a_call_blocks():
    blocked = BlockedTime(0.2, 100.0, 5.0)
    assert blocked.look(100.2, 5.0) == pytest.approx(0.2)
    assert blocked.look(100.45, 5.0) == pytest.approx(0.45)  # somewhat late


def test_time_in_which_the_process_is_stopped_does_not_count():
    blocked = BlockedTime(0.2, 100.0, 5.0)
    assert blocked.look(130.0, 5.0) == pytest.approx(0.2)
    assert blocked.look(130.2, 5.0) == pytest.approx(0.4)


def test_time_in_which_a_call_lets_no_other_thread_run_counts():
    blocked = BlockedTime(0.2, 100.0, 5.0)
    assert blocked.look(103.0, 7.9) == pytest.approx(3.0)


async def test_a_debugger_may_stop_the_world(caplog, monkeypatch):
    watchdog = Watchdog(1.0)
    spots = iter([("a.py", 1), ("b.py", 2)])
    for file, told in (("/usr/lib/python3.13/bdb.py", False), ("/srv/pdb_notes.py", True)):
        stack = Stack("File", next(spots), frozenset({file}))
        monkeypatch.setattr("nexios_trio.server.watchdog.stack_of_thread", lambda _, stack=stack: stack)
        assert watchdog._tell(1.0) is told
    assert len(caplog.records) == 1


async def test_so_may_one_that_ctrl_c_has_opened_outside_of_the_users_code(caplog, monkeypatch):
    place: dict[str, Any] = {}
    exec(compile("import sys; frame = sys._getframe()", bdb.__file__, "exec"), place)
    stack = Stack.of([(place["frame"], 1)])
    assert stack.spot is None
    monkeypatch.setattr("nexios_trio.server.watchdog.stack_of_thread", lambda _: stack)
    assert not Watchdog(1.0)._tell(1.0)
    assert caplog.records == []
