"""The server's side of one connection in the test's hand, faults included, and a house to put connections in."""

import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio.config.settings import Settings
from nexios_trio.connections.runtime import Runtime
from nexios_trio.connections.serve import serve_connection
from nexios_trio.transports.asgi import AsgiTransport
from nexios_trio.websockets import ChannelBox, WebSocket

Endpoint = Callable[[WebSocket], Awaitable[Any]]


class Wire:
    """What the server tells the application, and what it hears from it.

    Args:
        http_response: whether the server can answer a handshake with an HTTP response.
    """

    def __init__(self, path: str = "/", *, http_response: bool = True, **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "scheme": "ws",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"example.com")],
            "client": ("192.0.2.7", 50_000),
            "server": ("example.com", 80),
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}} if http_response else {},
            **scope,
        }
        self.events: list[dict[str, Any]] = []  # all that the application has said
        self.fault: Exception | None = None  # what `send` raises
        self.answers_close = True  # the peer's half of the closing handshake
        self.error: BaseException | None = None  # what the connection's task raised
        self.done = trio.Event()
        self._looked_at = 0
        self._to_application, self._incoming = trio.open_memory_channel[Any](math.inf)
        self._stall: trio.Event | None = None
        self._is_shielded = True
        self.tell({"type": "websocket.connect"})

    # What the peer does

    def tell(self, event: Any) -> None:
        self._to_application.send_nowait(event)

    def say(self, *messages: str | bytes) -> None:
        """As hypercorn does it: both keys, one of them None."""
        for message in messages:
            text, data = (message, None) if isinstance(message, str) else (None, message)
            self.tell({"type": "websocket.receive", "text": text, "bytes": data})

    def leave(self, code: int | None = 1001, reason: str = "") -> None:
        self.tell({"type": "websocket.disconnect", "code": code, "reason": reason})

    def stall(self, *, shielded: bool = True) -> None:
        """The peer stops reading: `send` hangs until `flow`; as with hypercorn, it cannot be cancelled."""
        self._stall = trio.Event()
        self._is_shielded = shielded

    def flow(self) -> None:
        stall, self._stall = self._stall, None
        if stall is not None:
            stall.set()

    # What the peer sees

    @property
    def unread(self) -> int:
        """Events that nobody has received."""
        return self._incoming.statistics().current_buffer_used

    @property
    def is_done(self) -> bool:
        """The connection's task has ended."""
        return self.done.is_set()

    @property
    def messages(self) -> list[Any]:
        """The payloads of messages that were not looked at before."""
        new, self._looked_at = self.events[self._looked_at :], len(self.events)
        return [event.get("text", event.get("bytes")) for event in new if event["type"] == "websocket.send"]

    @property
    def json(self) -> list[Any]:
        return [json.loads(message) for message in self.messages]

    @property
    def is_accepted(self) -> bool:
        return any(event["type"] == "websocket.accept" for event in self.events)

    @property
    def closes(self) -> list[tuple[int, str]]:
        return [(event["code"], event["reason"]) for event in self.events if event["type"] == "websocket.close"]

    @property
    def status(self) -> int | None:
        """The status of the HTTP response that refused the handshake."""
        starts = [event for event in self.events if event["type"] == "websocket.http.response.start"]
        return starts[0]["status"] if starts else None

    # The server's receive and send

    async def receive(self) -> Any:
        return await self._incoming.receive()

    async def send(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
        if self._stall is not None:
            with trio.CancelScope(shield=self._is_shielded):
                await self._stall.wait()
        if self.fault is not None:
            raise self.fault
        self.events.append(event)
        if event["type"] == "websocket.close" and self.answers_close:
            self.leave(event.get("code", 1000), event.get("reason") or "")


class House:
    """A runtime that runs, and the connections in it."""

    def __init__(self, runtime: Runtime, nursery: trio.Nursery) -> None:
        self.runtime = runtime
        self.nursery = nursery
        self.wires: list[Wire] = []

    @property
    def box(self) -> ChannelBox:
        return self.runtime.box

    async def connect(self, endpoint: Endpoint, path: str = "/", **options: Any) -> Wire:
        wire = self.begin(endpoint, path, **options)
        await wait_all_tasks_blocked()
        return wire

    def begin(self, endpoint: Endpoint, path: str = "/", **options: Any) -> Wire:
        wire = Wire(path, **options)
        self.wires.append(wire)
        self.nursery.start_soon(self._serve, wire, endpoint)
        return wire

    async def _serve(self, wire: Wire, endpoint: Endpoint) -> None:
        transport = AsgiTransport(wire.scope, wire.receive, wire.send, self.runtime.settings)
        try:
            await serve_connection(transport, endpoint, self.runtime, "the app")
        except Exception as error:
            wire.error = error
        finally:
            wire.done.set()

    def shut_down(self) -> None:
        """Cancel every connection."""
        self.nursery.cancel_scope.cancel()


@asynccontextmanager
async def house(box: ChannelBox | None = None, *, running: bool = True, **settings: Any) -> AsyncGenerator[House]:
    """At the end of the block all peers leave, and nothing of them may be left."""
    runtime = Runtime(Settings(**settings), box)
    async with trio.open_nursery() as outer:
        if running:
            await outer.start(_run, runtime)
        inside = House(runtime, await outer.start(_serve_connections))
        try:
            yield inside
        finally:
            for wire in inside.wires:
                wire.flow()
                wire.leave()
        for wire in inside.wires:
            await wire.done.wait()
        outer.cancel_scope.cancel()
    for wire in inside.wires:
        if wire.error is not None:
            raise wire.error
    statistics = runtime.box.statistics()
    assert (statistics.channels, statistics.groups) == (0, 0), statistics


async def _run(runtime: Runtime, task_status: trio.TaskStatus[None]) -> None:
    async with runtime.running():
        task_status.started()
        await trio.sleep_forever()


async def _serve_connections(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


settle = wait_all_tasks_blocked
