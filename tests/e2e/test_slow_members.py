"""Five hundred members on real sockets, five of which stop reading: nobody else may notice."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.e2e.support import DEADLINE, Server, connect

pytestmark = pytest.mark.slow

MEMBERS, STALLED = 500, 5
PADDING = "x" * 560  # a message then has about 600 bytes
KIB_OF_GROWTH = 40_000  # far below what 495 queues or 5 endless ones would take


def hypercorn_rooms(port: int) -> list[str]:
    hypercorn = str(Path(sys.executable).with_name("hypercorn"))
    return [hypercorn, "--worker-class", "trio", "-b", f"127.0.0.1:{port}", "tests.e2e.rooms_app:app"]


@pytest.fixture(params=["0", "1"], ids=["plain ASGI", "takeover"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NEXIOS_TAKEOVER", request.param)
    with Server(tmp_path / "server.log", hypercorn_rooms) as running:
        yield running


class Member:
    """One member on a bare socket, so that five hundred of them cost little."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = bytearray()
        self.numbers: list[int] = []

    @classmethod
    async def join(cls, port: int, *, is_slow: bool) -> "Member":
        sock = trio.socket.socket()
        if is_slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(("127.0.0.1", port))
        stream = trio.SocketStream(sock)
        await stream.send_all(
            b"GET /room HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        member = cls(stream)
        while b"\r\n\r\n" not in member._received:
            member._received += await stream.receive_some()
        assert member._received.startswith(b"HTTP/1.1 101")
        del member._received[: member._received.index(b"\r\n\r\n") + 4]
        return member

    def close(self) -> None:
        self._stream.socket.close()

    async def read_until(self, last: int) -> None:
        while not self.numbers or self.numbers[-1] != last:
            self._received += await self._stream.receive_some(65536)
            self._parse()

    def _parse(self) -> None:
        buffer = self._received
        while len(buffer) >= 4:
            if buffer[0] == 0x89:  # a ping
                if len(buffer) < 2 + buffer[1]:
                    return
                del buffer[: 2 + buffer[1]]
                continue
            assert buffer[:2] == b"\x81\x7e", "text frames of 126 to 65535 bytes are expected"
            end = 4 + int.from_bytes(buffer[2:4], "big")
            if len(buffer) < end:
                return
            self.numbers.append(json.loads(bytes(buffer[4:end]))["n"])
            del buffer[:end]


def memory_of(server: Server) -> int:
    """KiB of resident memory of the server's processes."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            session = int(status.with_name("stat").read_text().rpartition(")")[2].split()[3])
        except (OSError, ValueError):
            continue  # a process that has just ended
        if session == server.pid:
            total += int(fields.get("VmRSS", "0 kB").split()[0])
    return total


@contextmanager
def closing_all(members: list[Member]) -> Iterator[None]:
    try:
        yield
    finally:
        for member in members:
            member.close()


async def members_now(server: Server) -> dict[str, object]:
    body = (await trio.to_thread.run_sync(server.get, "/"))[2]
    state: dict[str, object] = json.loads(body)
    return state


async def test_members_that_stop_reading_are_evicted_and_nobody_else_notices(server: Server) -> None:
    readers: list[Member] = []
    stalled: list[Member] = []
    sent = 0
    with closing_all(readers), closing_all(stalled), trio.fail_after(8 * DEADLINE):
        for number in range(MEMBERS):
            is_slow = number < STALLED
            member = await Member.join(server.port, is_slow=is_slow)
            (stalled if is_slow else readers).append(member)
        while (await members_now(server))["members"] != MEMBERS:
            pass
        before = memory_of(server)
        async with connect(server, "/publish") as publisher:
            while (await members_now(server))["members"] != MEMBERS - STALLED:
                for _ in range(100):
                    sent += 1
                    await publisher.send({"n": sent, "padding": PADDING})
                async with trio.open_nursery() as nursery:
                    for reader in readers:
                        nursery.start_soon(reader.read_until, sent)
        after = memory_of(server)
        state = await members_now(server)
    assert all(reader.numbers == list(range(1, sent + 1)) for reader in readers)
    assert state["ended"] == {"overflow": STALLED} or state["ended"] == {"write_timeout": STALLED}
    assert state["undelivered"] == 0
    assert after - before < KIB_OF_GROWTH
