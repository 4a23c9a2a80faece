"""How to call what publishes from outside: a server answers that knows one sentence."""

import socket
import threading
from collections.abc import Callable
from typing import Any, Final

import trio

from nexios_trio.publisher import GroupMessage, Publisher, TrioPublisher
from tests.checkpoints.stage import Recipe, Stage

API_KEY: Final = "correct-horse-battery-staple"
_ONE: Final = b'{"position":"e:1","is_watched":true}'


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _publisher(kind: type[Any], port: int) -> Any:
    return kind(f"http://127.0.0.1:{port}/api", api_key=API_KEY)


def _in_a_thread(body: bytes) -> Any:
    """A publisher that blocks, and a thread that answers it once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listener, listener.accept()[0] as client:
            client.recv(65_536)
            client.sendall(_response(body))
            while client.recv(65_536):
                pass

    threading.Thread(target=answer, daemon=True).start()
    return _publisher(Publisher, listener.getsockname()[1])


async def _in_a_task(s: Stage, body: bytes) -> Any:
    """A publisher of trio's, and a task that answers it."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(_response(body))

    s.house.runtime.start_soon(trio.serve_listeners, answer, [listener])
    return _publisher(TrioPublisher, listener.socket.getsockname()[1])


async def publish(s: Stage) -> Callable[[], Any]:
    publisher = await _in_a_task(s, _ONE)
    return lambda: publisher.publish("room", 1)


async def publish_batch(s: Stage) -> Callable[[], Any]:
    publisher = await _in_a_task(s, b'{"results":[%b]}' % _ONE)
    return lambda: publisher.publish_batch([GroupMessage("room", 1)])


def answered(method: str, body: bytes, *args: Any) -> Recipe:
    """A call of a method of `TrioPublisher`, which is answered."""

    async def prepare(s: Stage) -> Callable[[], Any]:
        publisher = await _in_a_task(s, body)
        return lambda: getattr(publisher, method)(*args)

    return prepare


async def publish_nothing(s: Stage) -> Callable[[], Any]:
    publisher = await _in_a_task(s, b"")
    return lambda: publisher.publish_batch([])


RECIPES: dict[str, Recipe] = {
    "Publisher.disconnect": lambda s: _in_a_thread(b'{"connections":1}').disconnect("ann"),
    "Publisher.presence": lambda s: _in_a_thread(b'{"users":[]}').presence("room"),
    "Publisher.unsubscribe": lambda s: _in_a_thread(b'{"channels":1}').unsubscribe("ann", "room"),
    "TrioPublisher.disconnect": answered("disconnect", b'{"connections":1}', "ann"),
    "TrioPublisher.presence": answered("presence", b'{"users":[]}', "room"),
    "TrioPublisher.unsubscribe": answered("unsubscribe", b'{"channels":1}', "ann", "room"),
    "Publisher.publish": lambda s: _in_a_thread(_ONE).publish("room", 1),
    "Publisher.publish_batch": lambda s: _in_a_thread(b'{"results":[%b]}' % _ONE).publish_batch([GroupMessage("r", 1)]),
    "PublisherBase.__init__": lambda s: _publisher(Publisher, 1),
    "PublisherBase.close": lambda s: _publisher(Publisher, 1).close(),
    "TrioPublisher.__init__": lambda s: _publisher(TrioPublisher, 1),
    "TrioPublisher.publish": publish,
    "TrioPublisher.publish_batch": publish_batch,
    "TrioPublisher.publish_batch, of nothing": publish_nothing,
}
