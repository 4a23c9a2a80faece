"""Several processes on one address."""

import os
import signal
import socket

import pytest
import trio

from nexios_trio import serve
from nexios_trio.server import early_signals
from tests.server.processes import COMMAND, PROJECT, QUICK, Command, command, failed, kill
from tests.server.support import DEADLINE, ask, config, make_app, websocket

pytestmark = pytest.mark.slow

APP = "tests.server.apps:app"
TWO = ("--workers", "2")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


async def pids(server: Command) -> set[int]:
    """The processes that answer, once both have."""
    seen: set[int] = set()
    with trio.fail_after(DEADLINE):
        while len(seen) < 2:
            answers: list[bytes] = []

            async def get(answers: list[bytes] = answers) -> None:
                answers.append(await server.get("/pid"))

            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(get)
            seen |= {int(answer.rpartition(b"\r\n\r\n")[2]) for answer in answers}
    return seen


async def gone(processes: set[int]) -> None:
    with trio.fail_after(DEADLINE):
        while any(is_running(pid) for pid in processes):
            await trio.sleep(0.01)  # for another process, which has no condition to wait for


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_to_the_parent_stops_all_in_order(log, number):
    async with command(log, APP, *QUICK, *TWO) as server:
        assert server.line.endswith("with 2 workers (Ctrl-C stops it)\n")
        workers = await pids(server)
        assert server.process.pid not in workers
        async with await server.connect() as client, websocket(server.port) as innocent:
            assert await ask(innocent) == "are you there?"
            await client.handshake()
            server.signal(number)
            assert await client.closed() == 1012
        assert await server.status() == 0
        await gone(workers)
    assert log.read_text().count("every worker has its own groups") == 1


async def test_a_signal_to_everyone_is_one_signal(log):
    """As systemd sends it to parent and workers alike."""
    async with command(log, APP, *QUICK, *TWO) as server:
        workers = await pids(server)
        async with await server.connect() as client:
            await client.handshake()
            for pid in [server.process.pid, *workers]:
                os.kill(pid, signal.SIGTERM)
            assert await client.closed() == 1012
        assert await server.status() == 0, server.log
    assert "hurrying" not in log.read_text()


async def test_one_workers_end_is_the_end_of_all(log):
    async with command(log, APP, *QUICK, *TWO) as server:
        workers = await pids(server)
        async with await server.connect() as client:
            await client.handshake()
            await server.get("/die")
            assert await server.status() == 1
        await gone(workers)
    assert "ended with status 7" in log.read_text()


async def test_a_killed_worker_is_the_end_of_all(log):
    async with command(log, APP, *QUICK, *TWO) as server:
        workers = await pids(server)
        os.kill(min(workers), signal.SIGKILL)
        assert await server.status() == 1
        await gone(workers)
    assert "ended by SIGKILL" in log.read_text()


async def test_a_crashed_task_in_one_worker_is_the_end_of_all(log):
    async with command(log, APP, *QUICK, *TWO) as server:
        await server.get("/crash")
        assert await server.status() == 1
    assert "the feed broke" in log.read_text()


async def test_workers_do_not_outlive_their_parent(log):
    async with command(log, APP, *QUICK, *TWO) as server:
        workers = await pids(server)
        server.signal(signal.SIGKILL)
        await server.status()
        await gone(workers)


async def test_a_worker_that_hangs_is_killed(log):
    async with command(log, APP, "--set", "drain_timeout=0", *TWO) as server:
        workers = await pids(server)
        os.kill(min(workers), signal.SIGSTOP)
        server.signal()
        assert await server.status() == 1
        await gone(workers)
    assert "killed" in log.read_text()


async def test_workers_that_cannot_start(log):
    assert await failed(log, "tests.server.apps:broken", *TWO) == 1
    assert "no database" in log.read_text()


async def test_workers_share_a_unix_socket(log, tmp_path):
    path = tmp_path / "server.sock"
    async with command(log, APP, *QUICK, *TWO, bind=f"unix:{path}") as server:
        stream = await trio.open_unix_socket(str(path))
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            async for data in stream:
                answer += data
        assert answer.endswith(b"hello")
        server.signal()
        assert await server.status() == 0


async def test_a_stop_while_workers_are_importing_is_in_order(log, tmp_path, monkeypatch):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "slow_to_import.py").write_text(f"open({str(gate)!r}).read()\nfrom tests.server.apps import app\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with log.open("ab") as errors:
        process = await trio.lowlevel.open_process(
            [str(COMMAND), "run", "slow_to_import:app", *QUICK, *TWO, "-b", "127.0.0.1:0"],
            cwd=PROJECT,
            stderr=errors,
            start_new_session=True,
        )
    try:
        with trio.fail_after(DEADLINE):
            writer = await trio.to_thread.run_sync(os.open, gate, os.O_WRONLY)  # once a worker imports
            process.terminate()
            assert await process.wait() == 0, log.read_text()
        os.close(writer)
    finally:
        kill(process)
    assert "ERROR" not in log.read_text()


async def test_workers_on_descriptor_0(log):
    """As a supervisor may pass it on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with log.open("ab") as errors:
            process = await trio.lowlevel.open_process(
                [str(COMMAND), "run", APP, *QUICK, *TWO, "-b", "fd://0"],
                cwd=PROJECT,
                stdin=listener.fileno(),
                stdout=-1,
                stderr=errors,
                start_new_session=True,
            )
        try:
            with trio.fail_after(DEADLINE):
                assert b"with 2 workers" in await process.stdout.receive_some()
                async with websocket(listener.getsockname()[1]) as client:
                    assert await ask(client) == "are you there?"
                process.terminate()
                assert await process.wait() == 0, log.read_text()
        finally:
            kill(process)
            await process.stdout.aclose()


async def test_a_worker_whose_children_live_on_is_seen_to_end(log, tmp_path, monkeypatch):
    """Its link is not theirs."""
    (tmp_path / "has_a_child.py").write_text(
        "import os, subprocess\nsubprocess.Popen(['sleep', '30'], stdout=subprocess.DEVNULL)\nos._exit(7)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert await failed(log, "has_a_child:app", *TWO) == 1
    assert "ended with status 7" in log.read_text()


async def test_a_signal_that_comes_before_the_server_looks_is_kept():
    handler = signal.getsignal(signal.SIGTERM)
    try:
        early_signals.keep(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with trio.fail_after(DEADLINE):
            await serve(make_app(), config())
        signal.raise_signal(signal.SIGTERM)  # an old one
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        early_signals.raise_again()
        signal.signal(signal.SIGTERM, handler)


async def test_a_signal_that_comes_behind_the_server_does_not_kill(log, tmp_path, monkeypatch):
    """The parent may pass on a signal while the interpreter of a worker that has had it is on its way out."""
    (tmp_path / "late_signal.py").write_text(
        "import os, signal\n"
        "from nexios_trio import NexiosApp\n"
        "app = NexiosApp()\n"
        "class Late:\n"
        "    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):\n"
        "        kill(pid, number)\n"
        "late = Late()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with command(log, "late_signal:app", *QUICK, *TWO) as server:
        server.signal(signal.SIGTERM)
        assert await server.status() == 0, log.read_text()
    assert "by SIGTERM\n" not in log.read_text().replace("because of SIGTERM\n", "")
