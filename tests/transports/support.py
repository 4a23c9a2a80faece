"""A direct transport on a real connection, and its peer in the test's hand."""

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio.config.settings import Settings
from nexios_trio.core.lifecycle import End
from nexios_trio.core.message import FrameIndex
from nexios_trio.pubsub.group import NOWHERE, Group, Membership
from nexios_trio.server.request_head import http_response
from nexios_trio.transports.direct import DirectTransport
from nexios_trio.transports.epoll import Poller, open_poller
from nexios_trio.transports.timers import Timers
from tests.rawframes import ServerFrame, take_frame

RESET = struct.pack("ii", 1, 0)
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
settle = wait_all_tasks_blocked


class Peer:
    """The client's end of a connection, which sends and reads what it is told, and no more."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.raw = sock
        self._sock = trio.socket.from_stdlib_socket(sock)
        self.buffer = bytearray()

    async def send(self, data: bytes) -> None:
        while data:
            data = data[await self._sock.send(data) :]

    def send_nowait(self, data: bytes) -> int:
        """How much of it the kernel took."""
        sent = 0
        try:
            while sent < len(data):
                sent += self.raw.send(data[sent:])
        except BlockingIOError:
            pass
        return sent

    def take(self, size: int = 65536) -> bytes:
        """What is there at this moment."""
        try:
            return self.raw.recv(size)
        except BlockingIOError:
            return b""

    def acknowledge(self) -> None:
        """Have the peer's system say at once what it has taken, as it does by itself within 40 real milliseconds."""
        self.buffer += self.take()
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def receive(self) -> str:
        """Wait for more: "data", "eof" or "reset"."""
        try:
            data = await self._sock.recv(65536)
        except ConnectionResetError:
            return "reset"
        self.buffer += data
        return "data" if data else "eof"

    async def frame(self) -> ServerFrame:
        while (frame := take_frame(self.buffer)) is None:
            what = await self.receive()
            assert what == "data", f"{what} after {bytes(self.buffer)!r}"
        return frame

    async def frames(self, count: int) -> list[ServerFrame]:
        return [await self.frame() for _ in range(count)]

    async def head(self) -> bytes:
        """An HTTP response's."""
        while b"\r\n\r\n" not in self.buffer:
            assert await self.receive() == "data"
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        return bytes(head + end)

    async def end(self) -> str:
        """Read up to it: "eof" or "reset"."""
        while (what := await self.receive()) == "data":
            pass
        return what

    async def rest(self) -> tuple[list[ServerFrame], str]:
        """Every whole frame until the end, and what kind of end it was."""
        what = await self.end()
        frames = []
        while (frame := take_frame(self.buffer)) is not None:
            frames.append(frame)
        return frames, what

    def hang_up(self) -> None:
        """An orderly end of TCP, if everything was read."""
        self._sock.close()

    def stop_sending(self) -> None:
        self.raw.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()


class Direct(DirectTransport):
    """Notes its end."""

    ends: list[End]


def connected(small: bool) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection; `small` kernel buffers in our direction, some 10 KB."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        peer = socket.socket()
        if small:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.connect(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if small:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    return ours, peer


class Lane:
    """What transports need. Owned by `open_lane`."""

    def __init__(self, poller: Poller, timers: Timers) -> None:
        self.poller = poller
        self.timers = timers


@asynccontextmanager
async def open_lane() -> AsyncGenerator[Lane]:
    timers = Timers()
    with open_poller() as poller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            nursery.start_soon(timers.run)
            yield Lane(poller, timers)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def direct(
    *,
    accepted: bool = True,
    small: bool = False,
    unix: bool = False,
    received: bytes = b"",
    deflate: bool = False,
    **settings: Any,
) -> AsyncGenerator[tuple[Direct, Peer]]:
    """A transport in its block, and its peer. The peer hangs up at the end of the test, if it still is there."""
    ours, theirs = socket.socketpair() if unix else connected(small)
    ours.setblocking(False)
    peer = Peer(theirs)
    try:
        async with open_lane() as lane:
            transport = Direct(
                {},
                Settings(**settings),
                ours,
                lane.poller,
                answer=lambda subprotocol, headers: ANSWER,
                refuse=http_response,
                received=received,
                deflate=deflate,
            )
            transport.ends = []
            transport.on_end = transport.ends.append
            async with transport.open(lane.timers):
                if accepted:
                    await transport.accept(None, [])
                    await peer.head()
                yield transport, peer
                peer.hang_up()
            assert ours.fileno() == -1
            assert len(lane.poller) == 0
    finally:
        peer.hang_up()


def membership(frame_index: FrameIndex = 0, group: str = "room") -> Membership[str]:
    """A place in a group that gets this form of messages, for `offer_batch`."""
    return Group[str](group).add_member("a member", NOWHERE, frame_index)
