"""The application on every transport: in memory, and in processes that live as long as the test session."""

import itertools
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from nexios_trio.testing import run_app
from tests.contract.app import app
from tests.contract.peers import InMemory, OnSocket, Place
from tests.e2e.support import Server
from tests.server.support import CERTIFICATES, CLIENT_TLS

APPLICATION = "tests.contract.app:app"
OVER_TLS = "runner, over TLS"
TLS_FILES = ("--certfile", str(CERTIFICATES / "certificate.pem"), "--keyfile", str(CERTIFICATES / "key.pem"))


def _hypercorn(port: int, takeover: int) -> list[str]:
    environment = ["env", f"NEXIOS_TAKEOVER={takeover}"]
    return [*environment, sys.executable, "-m", "hypercorn", "-k", "trio", "-b", f"127.0.0.1:{port}", APPLICATION]


def _runner(port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "nexios_trio.cli", "run", APPLICATION, "-b", f"127.0.0.1:{port}", *options]


# name -> (command of a server on a port; the transport that its handlers get)
SERVERS: dict[str, tuple[Callable[[int], list[str]], str]] = {
    "hypercorn": (lambda port: _hypercorn(port, 0), "asgi"),
    "takeover": (lambda port: _hypercorn(port, 1), "takeover"),
    "runner": (_runner, "direct"),
    OVER_TLS: (lambda port: _runner(port, *TLS_FILES), "direct"),
}


COMPLAINT = re.compile("error|fail|could not|never", re.IGNORECASE)
MEANT = re.compile("the handler of .* failed|on_connect of channel .* failed|authentication failed")


@pytest.fixture(scope="session", params=["memory", *SERVERS])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnSocket | None]:
    if request.param == "memory":
        yield None
        return
    command, lane = SERVERS[request.param]
    tls = CLIENT_TLS if request.param == OVER_TLS else None
    with Server(tmp_path_factory.mktemp("server") / "log", command, tls) as process:
        yield OnSocket(process.port, lane, tls)
        process.check()
    assert _unmeant(process.log.read_text()) == []


def _unmeant(log: str) -> list[str]:
    """What the server complains of, besides the failures that some routes are there for. Tracebacks are indented."""
    complaints = [line for line in log.splitlines() if not line.startswith(" ") and COMPLAINT.search(line)]
    return [line for line in complaints if not MEANT.search(line)]


@pytest.fixture
async def place(server: OnSocket | None) -> AsyncIterator[Place]:
    if server is not None:
        yield server
        return
    async with run_app(app):
        yield InMemory(app)


_numbers = itertools.count()


@pytest.fixture
def key() -> str:
    """A name that no other test has, for a group or for notes."""
    return f"k{next(_numbers)}"
