"""The server under attack, and the innocent clients beside the attacker."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio_websocket

from tests.server.support import DEADLINE, Raw, frame, over_tls, upgrade

RUNNER = "runner"
TLS = "runner, TLS"  # the same attacks, through TLS
HYPERCORN = "hypercorn"  # its own command, plain ASGI
TAKEOVER = "takeover"  # its own command, on whose sockets we are
SERVERS = (RUNNER, TLS, TAKEOVER, HYPERCORN)
OPERATOR = "127.0.0.2"  # its connections do not count as the attacker's
PULSE = 0.02  # seconds between two rounds of the innocents


@attrs.frozen
class Target:
    """A server on 127.0.0.1, serving `tests.attack.app`."""

    port: int
    server: str = RUNNER
    tls_port: int | None = None

    @property
    def is_runner(self) -> bool:
        return self.server in (RUNNER, TLS)

    async def connect(
        self, source: str | None = None, receive_buffer: int | None = None, *, tls: bool | None = None
    ) -> Raw:
        """A connection; from another of this host's loopback addresses, if one is given."""
        is_secure = self.server == TLS if tls is None else tls
        stream = await self.connect_tcp(source, receive_buffer, self.tls_port if is_secure else self.port)
        return Raw(over_tls(stream) if is_secure else stream)

    async def connect_tcp(self, source: str | None, receive_buffer: int | None, port: int | None) -> trio.SocketStream:
        sock = trio.socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            await sock.bind((source, 0))
        with trio.fail_after(DEADLINE):
            await sock.connect(("127.0.0.1", port))
        return trio.SocketStream(sock)

    async def request(self, data: bytes) -> bytes:
        """Everything that comes back for some bytes, until the server closes or resets."""
        async with await self.connect() as client:
            await sent(client, data)
            return await client.rest()

    async def status(self, data: bytes) -> int | None:
        """The status of the answer to a request; None for none."""
        return status_of(await self.request(data))

    async def handshake(self, path: str, *headers: str) -> int | None:
        """The status of the answer to a handshake."""
        async with await self.connect() as client:
            await client.send(upgrade(path, *headers))
            return status_of(await head(client))

    @asynccontextmanager
    async def websocket(self, path: str = "/echo", *headers: str, **options: Any) -> AsyncIterator[Raw]:
        """An open WebSocket in the attacker's hand."""
        async with await self.connect(**options) as client:
            await client.send(upgrade(path, *headers))
            answer = await head(client)
            assert answer.startswith(b"HTTP/1.1 101"), answer
            yield client

    async def state(self) -> dict[str, int]:
        """What the server says of itself."""
        async with await self.connect(OPERATOR, tls=False) as client:
            await client.send(b"GET /state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await client.rest()
        head, _, body = answer.partition(b"\r\n\r\n")
        if status_of(head) != 200:
            raise ValueError(f"the server does not tell its state: {head!r}")
        state: dict[str, int] = json.loads(body)
        return state

    async def closes(self, path: str, *frames: bytes, code: int, headers: Iterable[str] = ()) -> None:
        """Some frames are answered with this close code. Bare hypercorn may drop the connection instead."""
        async with self.websocket(path, *headers) as client:
            await sent(client, b"".join(frames))
            if self.is_runner:
                assert await client.closed() == code
            else:
                await client.rest()


async def head(client: Raw) -> bytes:
    """The head of a response; what there is if the server closes before."""
    data = b""
    with trio.fail_after(DEADLINE):
        try:
            while not data.endswith(b"\r\n\r\n"):
                byte = await client.stream.receive_some(1)
                if not byte:
                    break
                data += byte
        except trio.BrokenResourceError:
            pass
    return data


async def sent(client: Raw, data: bytes) -> bool:
    """Send, unless the server has had enough before."""
    try:
        await client.send(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True


def status_of(answer: bytes) -> int | None:
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else None


def text(message: str) -> bytes:
    return frame(1, message.encode())


def dumped(message: Any) -> bytes:
    return text(json.dumps(message))


# Innocents


class InnocentLost(AssertionError):
    """Somebody who did nothing wrong saw something of the attack."""


@attrs.define
class Innocents:
    """Clients that say something to their room, hear it back in order, and nothing else. Owned by `innocents`."""

    rounds: int = 0
    slowest: float = 0.0
    lost: int = 0
    streams: list[trio.SocketStream] = attrs.field(factory=list)
    _clients: list[trio_websocket.WebSocketConnection] = attrs.field(factory=list)

    async def round(self) -> None:
        """Everybody hears the next number."""
        number = self.rounds
        begun = trio.current_time()
        await self._clients[number % len(self._clients)].send_message(str(number))
        for client in self._clients:
            heard = await client.get_message()
            if heard != str(number):
                raise InnocentLost(f"an innocent heard {str(heard)[:80]!r} in place of {number}")
        self.rounds += 1
        self.slowest = max(self.slowest, trio.current_time() - begun)

    async def started(self) -> None:
        """Once they live."""
        await self._until(1)

    async def one_more(self) -> None:
        """They still live: a whole round from now."""
        await self._until(self.rounds + 2)

    async def _until(self, rounds: int) -> None:
        with trio.fail_after(DEADLINE):
            while self.rounds < rounds:
                await trio.sleep(PULSE)

    async def live(self) -> None:
        while True:
            await self.guarded(self.round)
            await trio.sleep(PULSE)

    async def guarded(self, function: Callable[[], Awaitable[None]]) -> None:
        try:
            with trio.fail_after(DEADLINE):
                await function()
        except (trio_websocket.ConnectionClosed, trio.TooSlowError, OSError, trio.BrokenResourceError) as error:
            self.lost = sum(1 for client in self._clients if client.closed) or 1
            raise InnocentLost(f"an innocent was lost: {error!r}") from error

    async def join(self, nursery: trio.Nursery, port: int) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        self.streams.append(stream)
        client = await trio_websocket.wrap_client_stream(nursery, stream, f"127.0.0.1:{port}", "/room/innocent")
        assert await client.get_message() == '"welcome"'
        self._clients.append(client)


@asynccontextmanager
async def innocents(port: int, count: int = 3) -> AsyncIterator[Innocents]:
    """Innocent clients that live during the block. Raises: InnocentLost."""
    group = Innocents()
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(DEADLINE):
                for _ in range(count):
                    await group.join(nursery, port)
            async with trio.open_nursery() as life:
                life.start_soon(group.live)
                yield group
                life.cancel_scope.cancel()
            for client in group._clients:
                if client.closed:
                    raise InnocentLost("an innocent was disconnected")
            # No closing handshake: trio-websocket fails where a ping comes in the middle of one.
            nursery.cancel_scope.cancel()
    finally:
        for stream in group.streams:
            stream.socket.close()
