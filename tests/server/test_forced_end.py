"""A process that is told to stop ends, whatever its handlers do, and says what has held it up."""

import os
import signal

import pytest
import trio

from tests.server.processes import Command, command
from tests.server.support import DEADLINE, Raw, frame

APP = "tests.server.stubborn_app:app"
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def serve(log, drain_timeout, *more):
    settings = [f"--set=drain_timeout={drain_timeout}", "--set=drain_jitter=0"]
    return command(log, APP, *settings, *more)


async def enter(client: Raw, path: str) -> None:
    await client.handshake(path)
    await client.send(frame(1, b"go"))


async def press_until_it_ends(server: Command) -> int:
    """Ctrl-C, over and over: those that follow too quickly are the last one again."""
    with trio.fail_after(DEADLINE):
        while server.process.poll() is None:
            server.signal(signal.SIGINT)
            await trio.sleep(0.05)
    return await server.status()


def stacks(text: str, mark: str) -> list[str]:
    """The record lines with `mark`, each with the indented lines behind it."""
    found: list[str] = []
    for line in text.splitlines():
        if not line.startswith("    "):
            found.append(line)
        else:
            found[-1] += "\n" + line
    return [each for each in found if mark in each]


async def test_shields_are_lifted_when_the_time_is_over_and_the_log_says_where_each_task_stands(log):
    async with serve(log, 0.5) as server:
        async with await server.connect() as first, await server.connect() as second, await server.connect() as third:
            await enter(first, "/shielded")
            await enter(second, "/shielded")
            await third.send(GET % b"/shielded")
            server.signal(signal.SIGINT)
            assert await server.status() == 1
    connections, request = sorted(stacks(server.log, "did not stop within 0.5 s (drain_timeout)")[:2], reverse=True)
    if "2 tasks" not in connections:
        connections, request = request, connections
    assert "2 tasks did not stop" in connections
    assert " path=/shielded client=127.0.0.1 " in connections
    assert connections.endswith("in wait_inside\n      await trio.sleep_forever()  # where it stands")
    assert "a task did not stop" in request
    assert "method=GET" in request
    assert "3 tasks of connections did not stop" in server.log
    assert "nexios_trio/connections" not in server.log


@pytest.mark.parametrize(
    ("path", "spot"),
    [("/catching", "await trio.sleep_forever()  # where it stands"), ("/blocking", "time.sleep(FOR_EVER)")],
)
async def test_what_nothing_ends_is_killed_and_named(log, path, spot):
    async with serve(log, 0.2) as server, await server.connect() as client:
        await enter(client, path)
        server.signal()
        assert await server.status() == 1
    assert "the process has not ended, and is killed" in server.log
    [found] = [each for each in stacks(server.log, f"path={path} ") if "did not stop" not in each]
    assert spot in found
    assert "client=127.0.0.1" in found


async def test_a_thread_holds_nothing_up_and_the_log_says_what_would_help(log):
    async with serve(log, 0.2) as server, await server.connect() as client:
        await client.send(GET % b"/threaded")
        await client.send(GET % b"/threaded")
        server.signal()
        assert await server.status() == 1
    [found, *_] = stacks(server.log, "it waits for a thread, which nothing can stop; abandon_on_cancel=True")
    assert "await trio.to_thread.run_sync(time.sleep, FOR_EVER)" in found


@pytest.mark.parametrize("path", ["/shielded", "/blocking"])
async def test_a_third_signal_ends_the_process_at_once(log, path):
    async with serve(log, 100) as server, await server.connect() as client:
        await enter(client, path)
        assert await press_until_it_ends(server) == 128 + signal.SIGINT
    [line] = stacks(server.log, "a third SIGINT")
    assert "CRITICAL nexios_trio.server: a third SIGINT: the process ends at once" in line


async def test_a_third_signal_ends_all_workers_at_once(log):
    async with serve(log, 100, "--workers", "2") as server, await server.connect() as client:
        await enter(client, "/blocking")
        assert await press_until_it_ends(server) in (1, -signal.SIGINT)  # one that came behind the end
    assert "a third SIGINT: the workers are killed" in server.log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "spot"),
    [
        ("/shielded", "await trio.sleep_forever()  # where it stands"),
        ("/catching", "await trio.sleep_forever()  # where it stands"),
        ("/blocking", "time.sleep(FOR_EVER)"),
    ],
)
@pytest.mark.parametrize("from_a_terminal", [True, False], ids=["terminal", "supervisor"])
async def test_with_reload_too_the_log_says_what_has_not_ended_and_the_status_is_1(
    log, tmp_path, path, spot, from_a_terminal
):
    async with serve(log, 10, "--reload", "--reload-dir", str(tmp_path)) as server:
        async with await server.connect() as client:
            await enter(client, path)
            if from_a_terminal:
                os.killpg(server.process.pid, signal.SIGINT)
            else:
                server.signal()
            assert await server.status() == 1
    *_, found = [each for each in stacks(server.log, f"path={path} ") if "been blocked" not in each]
    assert spot in found
    assert "client=127.0.0.1" in found
