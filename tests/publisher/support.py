"""An application with an API and a room, both publishers behind one interface, and a server that answers by a script."""

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import trio

from nexios_trio import OLDEST, NexiosApp
from nexios_trio.publisher import Publisher, TrioPublisher
from nexios_trio.websockets import WebSocket, open_channel

API_KEY = "correct-horse-battery-staple"
KINDS = (Publisher, TrioPublisher)


def make_app(**options: Any) -> NexiosApp:
    """Each message of "room" is kept, so that a member sees them from the first."""
    app = NexiosApp(**options)
    app.mount_api("/api", key=API_KEY)
    app.box.keep("room")

    @app.ws_route("/room")
    async def room(ws: WebSocket) -> None:
        async with open_channel(ws) as channel, channel.member("room", since=OLDEST):
            async for _ in channel:
                pass

    return app


async def payloads(app: NexiosApp) -> list[Any]:
    """Everything that was published to the room."""
    return [message.payload for message in (await app.box.engine.history("room")).messages]


class Either:
    """A publisher whose calls are awaited, whichever it is."""

    def __init__(self, publisher: Publisher | TrioPublisher) -> None:
        self.publisher = publisher

    async def publish(self, *args: Any, **options: Any) -> Any:
        return await self._call(self.publisher.publish, *args, **options)

    async def publish_batch(self, *args: Any) -> Any:
        return await self._call(self.publisher.publish_batch, *args)

    async def presence(self, *args: Any) -> Any:
        return await self._call(self.publisher.presence, *args)

    async def disconnect(self, *args: Any) -> Any:
        return await self._call(self.publisher.disconnect, *args)

    async def unsubscribe(self, *args: Any) -> Any:
        return await self._call(self.publisher.unsubscribe, *args)

    async def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if isinstance(self.publisher, TrioPublisher):
            return await method(*args, **options)
        return await trio.to_thread.run_sync(partial(method, *args, **options))


MakeEither = Callable[..., Either]  # (kind, url, api_key, options)


def response(status: int, body: Any, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


DONE = response(200, {"position": "e:1", "is_watched": True})
HANG = b"hang"
CLOSE = b""


class Scripted:
    """What a server got, and on how many connections. Each request takes the next answer; the last one stays."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.port = 0
        self.requests: list[tuple[str, Any]] = []  # head and body
        self.connections = 0
        self.ends = 0
        self._answers = list(answers)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        async with stream:
            received = b""
            while True:
                head, mark, rest = received.partition(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) if mark else 0
                if not mark or len(rest) < size:
                    try:
                        data = await stream.receive_some()
                    except trio.BrokenResourceError:
                        data = b""
                    if not data:
                        self.ends += 1
                        return
                    received += data
                    continue
                received = rest[size:]
                self.requests.append((head.decode(), orjson.loads(rest[:size])))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if answer == CLOSE:
                    return
                if answer != HANG:
                    try:
                        await stream.send_all(answer)
                    except trio.BrokenResourceError:  # the client has seen enough
                        return


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[Scripted]:
    server = Scripted(answers)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        yield server
        nursery.cancel_scope.cancel(reason="the test is over")


def trusting(certificate: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)
