"""The servers that are compared: how each is started, and that it is stopped.

Each answers /echo (the text back), /sub (joins the group "room") and /pub (JSON, sent to the whole group).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from .machine import HERE, Missing, build, pinned
from .nodes import NODES, redis_binary

START: Final = 20.0  # seconds in which a server must listen
REST: Final = 0.3  # seconds in which it then does next to nothing: what it does at the start is over
NEXT_TO_NOTHING: Final = 0.03  # seconds of CPU time in that time
WORKERS: Final = 2


@attrs.frozen
class Kit:
    """What servers are started with.

    Args:
        peers: the Python of an environment with `peers/requirements.txt`; None for none.
        directory: where compiled programs are kept.
        processor: the one that servers run on.
    """

    peers: Path | None
    directory: Path
    processor: int


Command = Callable[[Kit, int], list[str]]  # for a port


@attrs.frozen
class Server:
    """A row of the tables."""

    name: str
    is_: str
    command: Command
    is_ours: bool = False
    is_quick: bool = False  # part of a quick run
    environment: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    is_tls: bool = False

    def missing(self, kit: Kit) -> str | None:
        """Why it cannot be started here."""
        try:
            self.command(kit, 0)
        except Missing as error:
            return str(error)
        return None


def _peers(kit: Kit) -> str:
    if kit.peers is None or not kit.peers.exists():
        raise Missing("the peers are not installed: `make bench` does that, into .venv-bench")
    return str(kit.peers)


def _program(name: str) -> Command:
    return lambda kit, port: [_peers(kit), f"{name}.py", str(port)]


def _uvicorn(app: str, protocol: str) -> Command:
    options = ["--host", "127.0.0.1", "--log-level", "error", "--no-access-log", "--loop", "uvloop", "--ws", protocol]
    return lambda kit, port: [_peers(kit), "-m", "uvicorn", app, *options, "--port", str(port)]


def _hypercorn(app: str, worker: str) -> Command:
    options = ["--worker-class", worker, "--log-level", "ERROR"]
    return lambda kit, port: [_peers(kit), "-m", "hypercorn", *options, "-b", f"127.0.0.1:{port}", app]


def _limit(kit: Kit, port: int) -> list[str]:
    return [str(build("limit", kit.directory)), str(port)]


def _our_runner(kit: Kit, port: int) -> list[str]:
    return [sys.executable, "-m", "nexios_trio.cli", "run", "benchmarks.app:app", "-b", f"127.0.0.1:{port}"]


def _our_workers(kit: Kit, port: int) -> list[str]:
    return [*_our_runner(kit, port), "--workers", str(WORKERS)]


def _our_nodes(kit: Kit, port: int) -> list[str]:
    redis_binary()
    return [sys.executable, "-m", "benchmarks.nodes", str(port)]


def _our_hypercorn(kit: Kit, port: int) -> list[str]:
    options = ["--worker-class", "trio", "--log-level", "ERROR", "-b", f"127.0.0.1:{port}"]
    return [sys.executable, "-m", "hypercorn", *options, "benchmarks.app:app"]


SERVERS: Final = (
    Server("runner", "`nexios-trio run`", _our_runner, is_ours=True, is_quick=True),
    Server("workers", f"the same with `--workers {WORKERS}`", _our_workers, is_ours=True),
    Server("nodes", f"{NODES} processes, and a Valkey server", _our_nodes, is_ours=True),
    Server("takeover", "hypercorn, trio worker", _our_hypercorn, is_ours=True, is_quick=True),
    Server(
        *("asgi", "the same with takeover off", _our_hypercorn),
        is_ours=True,
        is_quick=True,
        environment={"NEXIOS_TAKEOVER": "false"},
    ),
    Server("nexios", "Nexios on uvicorn", _uvicorn("nexios_app:app", "websockets-sansio"), is_quick=True),
    Server("picows", "picows (C) on uvloop", _program("picows_server"), is_quick=True),
    Server("limit", "a loop over send, in C", _limit, is_quick=True),
    Server("starlette", "Starlette on uvicorn", _uvicorn("starlette_app:app", "websockets-sansio")),
    Server("litestar", "Litestar channels on uvicorn", _uvicorn("litestar_app:app", "websockets-sansio")),
    Server("websockets-uvloop", "websockets, asyncio on uvloop", _program("websockets_asyncio")),
    Server("websockets-trio", "websockets on trio", _program("websockets_trio")),
    Server("trio-websocket", "trio-websocket", _program("trio_websocket_server")),
    Server("hypercorn-queues", "ASGI, a queue and a task each", _hypercorn("asgi_queues:app", "trio")),
    Server("hypercorn-in-turn", "ASGI, a send each", _hypercorn("asgi_in_turn:app", "trio")),
    Server("hypercorn-uvloop", "the same on uvloop", _hypercorn("asgi_in_turn:app", "uvloop")),
)


@attrs.frozen
class Running:
    """A server that listens."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def pids(self) -> list[int]:
        """Of the server, first, and of whatever it has started: they share its session."""
        return sorted(session(self.process.pid), key=lambda pid: (pid != self.process.pid, pid))


@contextmanager
def serving(
    server: Server,
    kit: Kit,
    *,
    wrapper: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    seconds: float = START,
) -> Iterator[Running]:
    """`server` on a free port, until the end of the block: then it is killed, with whatever it has started.

    Args:
        wrapper: a command that runs the server's, like valgrind.
        environment: what it gets beside what we have.
        seconds: in which it must listen.

    Raises: Missing; RuntimeError when it does not start.
    """
    port = free_port()
    command = [*wrapper, *server.command(kit, port)]
    directory = HERE.parent if server.is_ours else HERE / "peers"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", **server.environment, **(environment or {})}
    with pinned(kit.processor):
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        _wait_until_it_listens(process, port, seconds)
        yield Running(port, process)
    finally:
        kill(process)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            _wait_until_it_rests(process, deadline)
            return
    raise RuntimeError(f"it does not listen after {seconds:g} s")


def _wait_until_it_rests(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Workers are still starting when their parent listens."""
    used = _cpu_seconds(process)
    while time.monotonic() < deadline:
        time.sleep(REST)
        before, used = used, _cpu_seconds(process)
        if used - before <= NEXT_TO_NOTHING:
            return


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Of the whole session."""
    ticks = 0
    for pid in session(process.pid):
        with suppress(OSError):
            *_, user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:13]
            ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def session(leader: int) -> set[int]:
    """The living processes of the session that `leader` leads."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its_session, *_ = stat.read_text().rpartition(")")[2].split()
            if state != "Z" and int(its_session) == leader:
                found.add(int(stat.parent.name))
    return found


def kill(process: subprocess.Popen[bytes]) -> None:
    """The whole session, of which `process` is the leader."""
    for _ in range(20):  # one may be starting another
        for pid in session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        if not session(process.pid):
            return
        time.sleep(0.05)
