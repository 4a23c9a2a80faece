"""What stands in front of a transport sees what passes, and goes away again."""

from typing import Any, cast

from nexios_trio.application import TRANSPORT_EXTENSION, NexiosApp
from nexios_trio.config.settings import Settings
from nexios_trio.connections.transport_wrapper import TransportWrapper, wrapped_transport
from nexios_trio.core.lifecycle import End
from nexios_trio.core.message import Frame
from nexios_trio.routing import WebsocketRoute
from nexios_trio.transports.asgi import AsgiTransport
from nexios_trio.transports.base import Headers, Transport
from nexios_trio.transports.server_context import DirectOffer
from nexios_trio.websockets import Channel, WebSocket
from tests.asgi import connect

Seen = list[str]


class Noting(TransportWrapper):
    def __init__(self, inner: Transport, seen: Seen) -> None:
        super().__init__(inner)
        self._seen = seen

    async def accept(self, subprotocol: str | None, headers: Headers) -> TransportWrapper:
        self._seen.append("accept")
        return await super().accept(subprotocol, headers)

    async def receive(self) -> str | bytes | End:
        self._seen.append("receive")
        return await super().receive()

    async def send(self, frame: Frame) -> None:
        self._seen.append("send")
        await super().send(frame)

    async def close(self, end: End) -> None:
        self._seen.append("close")
        await super().close(end)


async def everything(ws: WebSocket) -> None:
    await ws.accept()
    channel = Channel(ws, "text")
    await ws.send_text(await ws.receive_text())
    await channel.send(await channel.receive())
    assert channel.statistics().queued_messages <= 2
    await ws.close()


ALL = ["accept", "receive", "send", "receive", "send", "close"]


def noting(seen: Seen) -> Any:
    async def middleware(websocket: WebSocket, next: Any) -> None:
        with wrapped_transport(websocket, lambda transport: Noting(transport, seen)):
            assert len(websocket._session.transport.inbox) == 0
            await next(websocket)

    return middleware


async def exchange(client: Any) -> None:
    await client.accepted()
    await client.send("a")
    await client.send("b")
    assert [await client.text(), await client.text()] == ["a", "b"]
    assert await client.closed() == (1000, "")


async def test_everything_passes_through_in_order() -> None:
    inner: Seen = []
    outer: Seen = []
    app = NexiosApp(routes=[WebsocketRoute("/", everything, [noting(outer), noting(inner)])])
    async with connect(app) as client:
        await exchange(client)
    assert inner == outer == ALL


async def test_after_the_block_it_is_gone() -> None:
    seen: Seen = []

    async def middleware(websocket: WebSocket, next: Any) -> None:
        with wrapped_transport(websocket, lambda transport: Noting(transport, seen)):
            await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        with wrapped_transport(websocket, lambda transport: Noting(transport, seen)):
            await websocket.send_text(await websocket.receive_text())

    app = NexiosApp(routes=[WebsocketRoute("/", everything, [middleware])])
    async with connect(app) as client:
        await exchange(client)
    assert seen == ["accept", "receive", "send"]


class Swapping(AsgiTransport):
    """Accepting brings another transport, as a takeover does."""

    async def accept(self, subprotocol: str | None, headers: Headers) -> Transport:
        await super().accept(subprotocol, headers)
        return cast(Transport, Another(self))


class Another(TransportWrapper):
    """Stands for the transport that took over; it has to be told whom to call at the end."""

    on_end: Any = None


async def test_a_transport_that_changes_at_accept() -> None:
    seen: Seen = []
    took_over: list[Any] = []

    async def watching(websocket: WebSocket, next: Any) -> None:
        with wrapped_transport(websocket, lambda transport: Noting(transport, seen)):
            transport: Any = websocket._session.transport
            await next(websocket)
            took_over.append(transport.inner)

    app = NexiosApp(routes=[WebsocketRoute("/", everything, [watching])], settings=Settings())

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        swapping = Swapping(scope, receive, send, app.settings)
        scope["extensions"][TRANSPORT_EXTENSION] = DirectOffer(swapping, receive, send)
        await app(scope, receive, send)

    async with connect(serve) as client:
        await exchange(client)
    assert seen == ALL
    assert isinstance(took_over[0], Another)
    assert callable(took_over[0].on_end)
