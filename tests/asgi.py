"""The server's side of ASGI, in memory: what a test sends to an application and what comes back."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import orjson
import trio

HOST = b"example.com"


def websocket_scope(
    target: str = "/", *, headers: Any = (), subprotocols: Any = (), http_response: bool = True, **more: Any
) -> dict[str, Any]:
    raw_path, _, query = target.partition("?")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", HOST), *headers],
        "client": ("192.0.2.7", 50_000),
        "server": ("example.com", 80),
        "subprotocols": list(subprotocols),
        "extensions": {"websocket.http.response": {}} if http_response else {},
        **more,
    }


class Client:
    """One connection, as the server's side of ASGI sees it."""

    def __init__(self, send_end: Any, receive_end: Any, patience: float) -> None:
        self._send_end = send_end
        self._receive_end = receive_end
        self._patience = patience

    async def event(self) -> dict[str, Any]:
        """What the application sent next."""
        with trio.fail_after(self._patience):
            event: dict[str, Any] = await self._receive_end.receive()
            return event

    async def accepted(self) -> dict[str, Any]:
        event = await self.event()
        assert event["type"] == "websocket.accept", event
        return event

    async def text(self) -> str:
        event = await self.event()
        assert event["type"] == "websocket.send", event
        text: str = event["text"]
        return text

    async def json(self) -> Any:
        return orjson.loads(await self.text())

    async def closed(self) -> tuple[int, str]:
        """The code and reason of the close frame, or of the refusal where there is no HTTP response."""
        event = await self.event()
        assert event["type"] == "websocket.close", event
        return event["code"], event.get("reason") or ""

    async def denied(self) -> int:
        """The status of the HTTP response that refused the handshake."""
        event = await self.event()
        assert event["type"] == "websocket.http.response.start", event
        status: int = event["status"]
        return status

    async def send(self, text: str | bytes) -> None:
        key = "text" if isinstance(text, str) else "bytes"
        await self._send_end.send({"type": "websocket.receive", key: text})

    async def leave(self, code: int = 1000) -> None:
        await self._send_end.send({"type": "websocket.disconnect", "code": code})


@asynccontextmanager
async def connect(app: Any, target: str = "/", *, patience: float = 5, **options: Any) -> AsyncGenerator[Client]:
    """Open a connection. At the end of the block the client is gone, and the application has finished with it.

    Nothing takes longer than `patience` (seconds), which has to be more where the clock jumps.
    """
    events_in, receive_end = trio.open_memory_channel[Any](100)
    send_end, events_out = trio.open_memory_channel[Any](100)
    scope = websocket_scope(target, **options)
    await events_in.send({"type": "websocket.connect"})
    with trio.fail_after(2 * patience):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app, scope, receive_end.receive, send_end.send)
            client = Client(events_in, events_out, patience)
            yield client
            await client.leave()


@asynccontextmanager
async def lifespan(app: Any, state: dict[str, Any] | None = None) -> AsyncGenerator[list[dict[str, Any]]]:
    """Run the application's lifespan around the block. Gives the events it sent, which grow."""
    events_in, receive_end = trio.open_memory_channel[Any](10)
    started = trio.Event()
    events: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        events.append(event)
        started.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {} if state is None else state}
            nursery.start_soon(app, scope, receive_end.receive, send)
            await events_in.send({"type": "lifespan.startup"})
            await started.wait()
            yield events
            await events_in.send({"type": "lifespan.shutdown"})


class Answer:
    """An HTTP response."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        start, *rest = events
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(event.get("body", b"") for event in rest)

    def json(self) -> Any:
        return orjson.loads(self.body)


async def request(
    app: Any, target: str = "/", method: str = "GET", *, body: bytes = b"", headers: Any = (), **more: Any
) -> Answer:
    """Send one HTTP request."""
    raw_path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", HOST), *headers],
        "client": ("192.0.2.7", 50_000),
        "server": ("example.com", 80),
        **more,
    }
    incoming = [{"type": "http.request", "body": body}]
    events: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            await trio.lowlevel.checkpoint()
            return incoming.pop(0)
        await trio.sleep_forever()
        raise AssertionError

    async def send(event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        events.append(dict(event))

    with trio.fail_after(10):
        await app(scope, receive, send)
    return Answer(events)
