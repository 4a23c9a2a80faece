"""A client, in memory and on a socket, with one face: what the contract's tests are written against."""

import json
import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio_websocket

from nexios_trio import NexiosApp
from nexios_trio.testing import Client, Denied
from nexios_trio.testing.client import connect

DEADLINE = 15.0  # seconds for anything that should take milliseconds: the machine may be busy


class Refused(Exception):
    """The handshake got an HTTP answer."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.headers = headers
        self.body = body


class Peer(ABC):
    """A client's end of one connection."""

    subprotocol: str | None
    headers: Mapping[str, str]

    @abstractmethod
    async def send(self, *messages: str | bytes) -> None: ...

    @abstractmethod
    async def receive(self) -> str | bytes: ...

    @abstractmethod
    async def closed(self) -> tuple[int, str]:
        """Code and reason of the server's close frame, which has to come next."""

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None: ...

    @abstractmethod
    async def vanish(self) -> None:
        """Reset the connection."""

    async def send_json(self, data: Any) -> None:
        await self.send(json.dumps(data))

    async def receive_json(self) -> Any:
        return json.loads(await self.receive())

    async def ask(self, *command: Any) -> Any:
        """What the answer to a JSON message is; see the routes."""
        await self.send_json(command)
        word, answer = await self.receive_json()
        assert word == "done"
        return answer


class Place(ABC):
    """Where the application runs."""

    lane: str  # the name of the transport that the handlers get

    @property
    def tells_codes(self) -> bool:
        """The handler learns with which code its peer closes, which hypercorn does not tell an application."""
        return self.lane != "asgi"

    @abstractmethod
    def connect(
        self, path: str, *, subprotocols: Sequence[str] = (), headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Peer]:
        """A connection for the length of the block. Raises: Refused."""

    async def notes(self, key: str, count: int) -> list[Any]:
        """The next notes of the handlers under this key."""
        async with self.connect(f"/notes/{key}") as reader:
            await reader.send(*["next"] * count)
            return [await reader.receive_json() for _ in range(count)]

    @abstractmethod
    def http(self) -> httpx.AsyncClient: ...


class InMemory(Place):
    """In the test's own process, as hypercorn would serve it."""

    lane = "asgi"

    def __init__(self, app: NexiosApp) -> None:
        self._app = app

    @asynccontextmanager
    async def connect(
        self, path: str, *, subprotocols: Sequence[str] = (), headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Peer]:
        try:
            async with connect(
                self._app, path, subprotocols=subprotocols, headers=headers or {}, timeout=DEADLINE
            ) as client:
                yield MemoryPeer(client)
        except Denied as denied:
            raise Refused(denied.status, denied.headers, denied.body) from None

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://localhost")


class MemoryPeer(Peer):
    def __init__(self, client: Client) -> None:
        self._client = client
        self.subprotocol = client.accepted_subprotocol
        self.headers = client.accepted_headers

    async def send(self, *messages: str | bytes) -> None:
        for one in messages:
            await (self._client.send_text(one) if isinstance(one, str) else self._client.send_bytes(one))

    async def receive(self) -> str | bytes:
        return await self._client.receive()

    async def closed(self) -> tuple[int, str]:
        return await self._client.receive_close()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._client.close(code, reason)

    async def vanish(self) -> None:
        self._client.lose()
        await trio.lowlevel.checkpoint()


class OnSocket(Place):
    """In another process."""

    def __init__(self, port: int, lane: str, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.lane = lane
        self._tls = tls

    def _over(self, stream: trio.SocketStream) -> trio.abc.Stream:
        if self._tls is None:
            return stream
        return trio.SSLStream(stream, self._tls, server_hostname="localhost", https_compatible=True)

    @asynccontextmanager
    async def connect(
        self, path: str, *, subprotocols: Sequence[str] = (), headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Peer]:
        extra = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        failure: Exception | None = None
        try:
            # The stream is ours: trio-websocket leaves its own open when the server closes first.
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream, trio.open_nursery() as nursery:
                with trio.fail_after(DEADLINE):
                    websocket = await trio_websocket.wrap_client_stream(
                        nursery,
                        self._over(stream),
                        "localhost",
                        path,
                        subprotocols=list(subprotocols),
                        extra_headers=extra,
                    )
                try:
                    yield SocketPeer(websocket, stream)
                    with trio.fail_after(DEADLINE):
                        await websocket.aclose()
                except Exception as error:
                    failure = error
                nursery.cancel_scope.cancel()  # its reader may wait for somebody to take a message
        except* trio_websocket.ConnectionRejected as group:  # raised by its reader
            failure = _refusal(group)
        if failure is not None:
            raise failure from None

    def http(self) -> httpx.AsyncClient:
        url, verify = f"http://127.0.0.1:{self.port}", self._tls or False
        if self._tls is not None:
            url = f"https://localhost:{self.port}"
        return httpx.AsyncClient(base_url=url, timeout=DEADLINE, trust_env=False, verify=verify)


def _refusal(group: BaseExceptionGroup[Any]) -> Refused:
    [rejected] = group.exceptions
    headers = {name.decode().lower(): value.decode() for name, value in rejected.headers or ()}
    return Refused(rejected.status_code, headers, rejected.body or b"")


class SocketPeer(Peer):
    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: trio.SocketStream) -> None:
        self._websocket = websocket
        self._stream = stream
        self.subprotocol = websocket.subprotocol
        self.headers = {name.decode().lower(): value.decode() for name, value in websocket.handshake_headers}

    async def send(self, *messages: str | bytes) -> None:
        with trio.fail_after(DEADLINE):
            for one in messages:
                await self._websocket.send_message(one)

    async def receive(self) -> str | bytes:
        with trio.fail_after(DEADLINE):
            message: str | bytes = await self._websocket.get_message()
        return message

    async def closed(self) -> tuple[int, str]:
        with trio.fail_after(DEADLINE), pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await self._websocket.get_message()
        reason = caught.value.reason
        assert reason is not None
        return reason.code, reason.reason or ""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        with trio.fail_after(DEADLINE):
            await self._websocket.aclose(code, reason)

    async def vanish(self) -> None:
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._stream.aclose()
