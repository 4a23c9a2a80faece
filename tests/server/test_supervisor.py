"""Several processes on one address."""

import logging
import os
import re
import resource
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
import trio.testing

from nexios_trio import serve
from nexios_trio.server import early_signals, supervisor
from nexios_trio.server.parent_link import WorkerPlace
from nexios_trio.server.supervisor import Supervisor
from tests.server.processes import COMMAND, PROJECT, QUICK, Command, command, failed, kill
from tests.server.support import DEADLINE, Raw, ask, config, frame, make_app, upgrade, websocket

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


async def visit(client: Raw) -> int:
    """Open a WebSocket. Returns the process at its other end."""
    answer = await client.handshake("/process")
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return int((await client.frame())[1])


async def until_logged(server: Command, text: str) -> None:
    with trio.fail_after(DEADLINE):
        while text not in server.log:
            await trio.sleep(0.01)  # for another process, which has no condition to wait for


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
    assert "every worker has its own groups" not in log.read_text()


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


async def test_connections_are_spread_and_a_killed_worker_costs_its_own_alone(log):
    async with command(log, APP, *QUICK, *TWO) as server, AsyncExitStack() as stack:
        workers = await pids(server)
        clients = [await stack.enter_async_context(await server.connect()) for _ in range(60)]
        at = {client: await visit(client) for client in clients}
        counts = Counter(at.values())
        assert all(24 <= counts[pid] <= 36 for pid in workers), counts
        victim, survivor = workers
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        waiting = [await stack.enter_async_context(await server.connect()) for _ in range(20)]
        os.kill(victim, signal.SIGKILL)
        os.kill(survivor, signal.SIGCONT)
        for client in waiting:
            at[client] = await visit(client)
            assert at[client] != victim
        for client in at:
            await client.send(frame(1, b"still there?"))
            if at[client] == victim:
                assert await client.rest() == b""
            else:
                assert await client.frame() == (1, b"still there?")
        assert await pids(server) > {survivor}
        server.signal()
        assert await server.status() == 0
    assert "ended by SIGKILL" in log.read_text()


async def test_a_crashed_task_of_the_application_ends_its_worker_only(log):
    async with command(log, APP, *QUICK, *TWO) as server:
        workers = await pids(server)
        await server.get("/crash")
        while len(workers | await pids(server)) < 3:
            pass
        server.signal()
        assert await server.status() == 0
    assert "the feed broke" in log.read_text()
    assert "ended with status 1" in log.read_text()


async def test_sighup_replaces_the_workers_and_refuses_nobody(log):
    request = upgrade("/process")
    async with command(log, APP, *QUICK, *TWO) as server, AsyncExitStack() as stack:
        workers = await pids(server)
        clients = [await stack.enter_async_context(await server.connect()) for _ in range(8)]
        for client in clients:
            await client.send(request[:20])
        server.signal(signal.SIGHUP)
        visited: set[int] = set()
        while not visited - workers:
            async with await server.connect() as visitor:
                visited.add(await visit(visitor))
        for client in clients:
            await client.send(request[20:])
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await gone(workers)
        assert not workers & await pids(server)
        await until_logged(server, "all workers are replaced")
        server.signal()
        assert await server.status() == 0
    assert "ERROR" not in log.read_text()


# The rest of the rules, with workers that start at once: shells


SHELL = "trap 'exit 0' TERM; {}; printf 'ready\n' >&0; read _"  # until it is retired


class Shells:
    """A supervisor of two workers. `script` is what each does before it is ready."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.program = "/bin/sh"
        self.script = ":"
        self.started = 0
        self.ready = trio.Event()
        self.announced = 0
        self.supervisor = Supervisor(self._command, 2, [], 1, self._announce)
        self._log = log
        log.set_level(logging.DEBUG)

    def _announce(self) -> None:
        self.announced += 1
        self.ready.set()

    def _command(self, place: WorkerPlace) -> list[str]:
        self.started += 1
        return [self.program, "-c", SHELL.format(self.script)]

    @asynccontextmanager
    async def running(self, status: int) -> AsyncIterator[None]:
        """From when they are ready, until they end with a status."""

        async def run() -> None:
            assert await self.supervisor.run() == status

        with trio.fail_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await self.ready.wait()
                yield

    async def until_logged(self, text: str, times: int = 1) -> list[int]:
        """Wait for it. Returns the processes that are named beside it."""
        while len(found := re.findall(rf"process (\d+)\) {text}", self._log.text)) < times:
            await trio.sleep(0.01)  # for another process, which has no condition to wait for
        return [int(pid) for pid in found]


@pytest.fixture
def shells(caplog):
    return Shells(caplog)


async def test_the_first_workers_are_announced_once_and_together(shells, caplog, tmp_path):
    class BothAtOnce(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if shells.started == 2 and "has started" in record.getMessage():
                while len(list(tmp_path.iterdir())) < 2:
                    pass  # holds the loop, so that it hears of both in one turn

    shells.script = f"printf 'ready\n' >&0; : > {tmp_path}/$$"
    both = BothAtOnce()
    logger = logging.getLogger("nexios_trio.workers")
    logger.addHandler(both)
    try:
        async with shells.running(0):
            await trio.testing.wait_all_tasks_blocked()
            signal.raise_signal(signal.SIGTERM)
    finally:
        logger.removeHandler(both)
    assert shells.announced == 1
    assert "is ready" not in caplog.text


async def test_a_second_sighup_replaces_them_again(shells, caplog):
    async with shells.running(0):
        signal.raise_signal(signal.SIGHUP)
        await shells.until_logged("is ready")
        signal.raise_signal(signal.SIGHUP)
        await shells.until_logged("is ready", 4)
        signal.raise_signal(signal.SIGTERM)
    assert shells.started == 6
    assert "ERROR" not in caplog.text


async def test_workers_stay_where_what_shall_replace_them_cannot_start(shells):
    async with shells.running(0):
        shells.script = "exit 3"
        signal.raise_signal(signal.SIGHUP)
        await shells.until_logged("ended with status 3 before it was ready: no worker is replaced any more")
        shells.script = ":"
        signal.raise_signal(signal.SIGHUP)
        await shells.until_logged("is ready", 2)
        signal.raise_signal(signal.SIGTERM)


async def test_the_fifth_end_within_a_minute_is_the_end_of_all(shells, caplog, monkeypatch):
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", 0.001)
    async with shells.running(1):
        for ends in range(supervisor.MAX_ENDS):
            pid = (await shells.until_logged("has started", 2 + ends))[-1]
            await shells.until_logged("is ready", ends)
            os.kill(pid, signal.SIGKILL)
    assert caplog.text.count("ended by SIGKILL") == supervisor.MAX_ENDS
    assert "stopping the workers because of 5 ends of workers within 60 seconds" in caplog.text


async def test_one_that_cannot_start_in_place_of_another_is_the_end_of_all(shells, caplog):
    async with shells.running(1):
        shells.script = "exit 3"
        os.kill((await shells.until_logged("has started", 2))[0], signal.SIGKILL)
    assert "ended with status 3 before it was ready" in caplog.text


def descriptors() -> set[int]:
    """Those that this process has open."""
    found = os.listdir("/proc/self/fd")
    return {int(name) for name in found if os.path.lexists(f"/proc/self/fd/{name}")}  # that of the listing is closed


class Scarcity(logging.Handler):
    """When a worker is about to be started again, so many descriptors are left, until that has failed."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left
        self.before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def emit(self, record: logging.LogRecord) -> None:
        if "another worker is started" in record.getMessage() and self.left >= 0:
            used = descriptors()
            free = [number for number in range(max(used) + 2 + self.left) if number not in used]
            resource.setrlimit(resource.RLIMIT_NOFILE, (free[self.left], self.before[1]))
            self.left = -1
        elif "cannot be started" in record.getMessage():
            self.close()

    def close(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self.before)
        super().close()


@pytest.mark.parametrize("left", [0, 2, 4], ids=["no descriptor", "those of one pair", "those of both"])
async def test_a_worker_that_cannot_be_started_again_for_want_of_descriptors_is_later(shells, caplog, left):
    logger = logging.getLogger("nexios_trio.workers")
    scarcity = Scarcity(left)
    logger.addHandler(scarcity)
    try:
        async with shells.running(0):
            before = len(descriptors())
            os.kill((await shells.until_logged("has started", 2))[0], signal.SIGKILL)
            await shells.until_logged("is ready")
            assert len(descriptors()) == before
            signal.raise_signal(signal.SIGTERM)
    finally:
        logger.removeHandler(scarcity)
        scarcity.close()
    assert "cannot be started: [Errno 24]" in caplog.text
    assert shells.announced == 1


async def test_it_is_tried_again_and_again_and_costs_nothing(shells, caplog, monkeypatch):
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", 0.001)
    async with shells.running(0):
        shells.program = "/no/such/program"
        os.kill((await shells.until_logged("has started", 2))[0], signal.SIGKILL)
        while caplog.text.count("cannot be started: [Errno 2]") < 6:  # more than there are slots, or ends allowed
            await trio.sleep(0.01)
        shells.program = "/bin/sh"
        await shells.until_logged("is ready")
        signal.raise_signal(signal.SIGTERM)
    assert "another worker is started in 0.032 s" in caplog.text


async def test_a_stop_while_none_can_be_started_is_in_order(shells, caplog):
    async with shells.running(0):
        shells.program = "/no/such/program"
        os.kill((await shells.until_logged("has started", 2))[0], signal.SIGKILL)
        while "cannot be started" not in caplog.text:
            await trio.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)


async def test_workers_stay_where_those_that_shall_replace_them_cannot_be_started(shells, caplog):
    async with shells.running(0):
        shells.program = "/no/such/program"
        signal.raise_signal(signal.SIGHUP)
        while "no worker is replaced any more" not in caplog.text:
            await trio.sleep(0.01)
        shells.program = "/bin/sh"
        os.kill((await shells.until_logged("has started", 2))[0], signal.SIGKILL)  # has no successor
        await shells.until_logged("is ready")
        signal.raise_signal(signal.SIGHUP)
        await shells.until_logged("is ready", 3)
        signal.raise_signal(signal.SIGTERM)


async def test_a_server_whose_workers_cannot_be_started_ends(shells, caplog):
    shells.program = "/no/such/program"
    with trio.fail_after(DEADLINE):
        assert await shells.supervisor.run() == 1
    assert "worker 1 cannot be started: [Errno 2]" in caplog.text


async def test_one_that_does_not_stop_for_its_successor_is_killed(shells, monkeypatch):
    monkeypatch.setattr(supervisor, "SLACK_SECONDS", 0)
    monkeypatch.setattr(supervisor, "NEWCOMERS_SECONDS", 0)
    shells.supervisor.drain_timeout = 0.1
    async with shells.running(0):
        stuck = (await shells.until_logged("has started", 2))[0]
        os.kill(stuck, signal.SIGSTOP)
        signal.raise_signal(signal.SIGHUP)
        assert await shells.until_logged("did not stop in time and is killed") == [stuck]
        await shells.until_logged("is ready", 2)
        shells.supervisor.drain_timeout = DEADLINE
        signal.raise_signal(signal.SIGTERM)


async def test_a_stop_while_one_that_was_replaced_is_killed_is_in_order(shells, monkeypatch, caplog):
    class Stop(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "did not stop in time and is killed" in record.getMessage():
                shells.supervisor.drain_timeout = DEADLINE
                signal.raise_signal(signal.SIGTERM)

    stop = Stop()
    logging.getLogger("nexios_trio.workers").addHandler(stop)
    monkeypatch.setattr(supervisor, "SLACK_SECONDS", 0)
    monkeypatch.setattr(supervisor, "NEWCOMERS_SECONDS", 0)
    shells.supervisor.drain_timeout = 0.1
    try:
        async with shells.running(0):
            os.kill((await shells.until_logged("has started", 2))[0], signal.SIGSTOP)
            signal.raise_signal(signal.SIGHUP)
    finally:
        logging.getLogger("nexios_trio.workers").removeHandler(stop)
    assert "ended by SIGKILL" in caplog.text


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
    assert "ended with status 7 before it was ready" in log.read_text()


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
