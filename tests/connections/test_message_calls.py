"""A synchronous `on_receive`, on sockets: where it runs, in which context, how often, and what its errors do."""

import logging
from contextvars import ContextVar
from typing import Any

import trio

from nexios_trio import NexiosApp
from nexios_trio.connections import message_calls
from nexios_trio.connections.message_calls import MAX_CALLS
from nexios_trio.websockets import ChannelBox, WebSocket, WebSocketConsumer
from tests.server.support import Raw, frame, make_app, running

TEXT = 1
name: ContextVar[str] = ContextVar("name", default="nobody")


class Told(WebSocketConsumer):
    """Notes each message, and answers with what `answer` says."""

    calls: list[Any]

    async def on_connect(self, ws: WebSocket) -> None:
        name.set(ws.query_params.get("name", ""))

    def on_receive(self, ws: WebSocket, data: Any) -> None:
        self.calls.append(data)
        ws.send_nowait(data)

    async def on_disconnect(self, ws: WebSocket, close_code: int) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append(("disconnect", close_code, name.get()))


def told(**attributes: Any) -> type[Told]:
    return type("Consumer", (Told,), {"calls": [], **attributes})


def serving(cls: type[Told], **options: Any) -> NexiosApp:
    app = make_app(**options)
    app.add_ws_route("/sync", cls)
    return app


async def connected(client: Raw, path: str = "/sync") -> Raw:
    await client.handshake(path)
    await trio.testing.wait_all_tasks_blocked(0.005)
    return client


async def say(client: Raw, *texts: str) -> None:
    await client.send(b"".join(frame(TEXT, text.encode()) for text in texts))


async def hear(client: Raw, count: int) -> list[str]:
    return [(await client.frame())[1].decode() for _ in range(count)]


async def test_the_reader_s_task_calls_it_and_no_other_is_woken():
    def on_receive(self, ws, data):
        ws.send_nowait(trio.lowlevel.current_task().name)

    async with running(serving(told(on_receive=on_receive))) as server, await server.connect() as client:
        await connected(client)
        await say(client, "who?")
        assert "poller" in (await hear(client, 1))[0].lower()


async def test_it_has_the_context_of_its_connection():
    def on_receive(self, ws, data):
        self.calls.append((name.get(), ChannelBox.statistics() == ws.scope["app"].box.statistics()))
        name.set(data)
        ws.send_nowait(data)

    cls = told(on_receive=on_receive)
    async with running(serving(cls)) as server, await server.connect() as ann, await server.connect() as bob:
        await connected(ann, "/sync?name=ann")
        await connected(bob, "/sync?name=bob")
        for client in (ann, bob, ann):
            await say(client, "x" if client is ann else "y")
            await hear(client, 1)
        await ann.stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.005)
    assert cls.calls[:3] == [("ann", True), ("bob", True), ("x", True)]
    assert cls.calls[3] == ("disconnect", 1006, "x")


async def test_a_flood_leaves_room_for_others():
    many = [f"{number}" for number in range(10 * MAX_CALLS)]
    cls = told()
    async with running(serving(cls)) as server, await server.connect() as flood, await server.connect() as other:
        await connected(flood)
        await connected(other)
        data = b"".join(frame(TEXT, text.encode()) for text in many)
        for client, what in ((flood, data), (other, frame(TEXT, b"me"))):
            assert client.stream.socket._sock.send(what) == len(what)  # both before the server looks
        assert await hear(other, 1) == ["me"]
        assert await hear(flood, len(many)) == many
    assert [call for call in cls.calls if call in many] == many
    assert cls.calls.index("me") <= 2 * MAX_CALLS


async def test_a_turn_has_a_millisecond(monkeypatch):
    now = 0.0

    def on_receive(self, ws, data):
        nonlocal now
        now += 0.0006
        self.calls.append((data, trio.lowlevel.current_task().name))
        ws.send_nowait(data)

    monkeypatch.setattr(message_calls, "perf_counter", lambda: now)
    cls = told(on_receive=on_receive)
    async with running(serving(cls)) as server, await server.connect() as client:
        await connected(client)
        for _ in range(2):  # the second turn has as much
            await say(client, "1", "2", "3")
            assert await hear(client, 3) == ["1", "2", "3"]
            await trio.testing.wait_all_tasks_blocked(0.005)
    in_turn = ["poller" in who.lower() for _, who in cls.calls[:6]]
    assert in_turn == [True, True, False] * 2


async def test_an_error_ends_its_connection_and_nobody_else_s(caplog):
    def on_receive(self, ws, data):
        if data == "fail":
            raise LookupError("a mistake of on_receive")
        ws.send_nowait(data)

    cls = told(on_receive=on_receive)
    async with running(serving(cls)) as server, await server.connect() as bad, await server.connect() as good:
        await connected(bad)
        await connected(good)
        await say(bad, "1", "fail", "2")
        assert await hear(bad, 1) == ["1"]
        assert await bad.closed() == 1011
        await say(good, "still here")
        assert await hear(good, 1) == ["still here"]
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "the handler of '/sync' failed"
    assert record.path == "/sync"
    shown = logging.Formatter().format(record)
    assert "a mistake of on_receive" in shown
    assert "epoll.py" not in shown  # in whose turn it was called
    assert cls.calls == [("disconnect", 1011, ""), ("disconnect", 1006, "")]


async def test_what_is_to_be_awaited_is_refused(caplog):
    def on_receive(self, ws, data):
        return ws.send_text(data)

    async with running(serving(told(on_receive=on_receive))) as server, await server.connect() as client:
        await connected(client)
        await say(client, "x")
        assert await client.closed() == 1011
    assert "declare it with `async def`" in caplog.text


async def test_a_stop_of_the_server():
    cls = told()
    async with running(serving(cls)) as server, await server.connect() as client:
        await connected(client, "/sync?name=ann")
        server.stop()
        assert await client.closed() == 1012
        await server.stopped()
    assert cls.calls == [("disconnect", 1012, "ann")]


async def test_a_message_in_many_pieces_and_one_that_is_long():
    long = "y" * 60_000
    async with running(serving(told())) as server, await server.connect() as client:
        await connected(client)
        for byte in frame(TEXT, b"one by one"):
            await client.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert await hear(client, 1) == ["one by one"]
        await say(client, long)
        assert await hear(client, 1) == [long]


async def test_a_peer_that_does_not_read_is_the_policy_s():
    def on_receive(self, ws, data):
        for _ in range(2000):
            if ws.is_connected():
                ws.send_nowait("x" * 10_000)

    cls = told(on_receive=on_receive)
    async with running(serving(cls)) as server, await server.connect() as client:
        await connected(client)
        await say(client, "go")
        with trio.fail_after(15):
            while not cls.calls:
                await trio.sleep(0.01)
    assert cls.calls == [("disconnect", 1013, "")]
