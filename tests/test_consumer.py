"""`WebSocketConsumer`: its methods are called, in order, once each, whatever ends the connection."""

import json
import logging

import pytest
import trio
from trio.testing import assert_checkpoints

from nexios_trio.core.lifecycle import Cause
from nexios_trio.exceptions import InvalidJson, WrongFrameType
from nexios_trio.websockets import (
    Channel,
    ChannelBox,
    WebSocketConsumer,
    WebSocketDisconnect,
    WebSocketEndpoint,
    WebSocketException,
)
from tests.wire import house, settle


class Noting(WebSocketConsumer):
    """Notes every call. The notes are shared by all instances of one subclass."""

    seen: list

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.seen = []

    async def on_connect(self, websocket):
        self.seen.append("connect")

    async def on_receive(self, websocket, data):
        self.seen.append(data)

    async def on_disconnect(self, websocket, close_code):
        await trio.lowlevel.checkpoint()  # where it died when cancelled
        self.seen.append(("disconnect", close_code))


def noting(**attributes):
    return type("Consumer", (Noting,), attributes)


# ---------------------------------------------------------------- the three methods


async def test_a_connection_is_accepted_for_you():
    cls = noting(encoding="json")
    async with house() as inside:
        wire = await inside.connect(cls())
        assert wire.is_accepted
        wire.say('{"a":1}', b"[2]")
        wire.leave(1001)
    assert cls.seen == ["connect", {"a": 1}, [2], ("disconnect", 1001)]


async def test_accepting_by_oneself():
    async def on_connect(self, ws):
        await ws.accept("v1")
        await ws.send_text("welcome")

    async with house() as inside:
        wire = await inside.connect(noting(on_connect=on_connect)(), subprotocols=["v1"])
        assert wire.messages == ["welcome"]
    assert [event["type"] for event in wire.events].count("websocket.accept") == 1


@pytest.mark.parametrize("refuse", [lambda ws: ws.close(4001), lambda ws: ws.deny(403)])
async def test_refusing(refuse):
    async def on_connect(self, ws):
        await refuse(ws)

    cls = noting(on_connect=on_connect)
    async with house() as inside:
        wire = await inside.connect(cls())
    assert wire.status == 403
    assert cls.seen == [("disconnect", 1006)]


async def test_rejecting_with_a_code():
    async def on_connect(self, ws):
        await ws.reject(4001, "log in")

    cls = noting(on_connect=on_connect)
    async with house() as inside:
        wire = await inside.connect(cls())
    assert wire.closes == [(4001, "log in")]
    assert cls.seen == [("disconnect", 4001)]


@pytest.mark.parametrize(
    ("encoding", "messages", "data"),
    [
        ("json", ['{"a":1}', b"null"], [{"a": 1}, None]),
        ("text", ["hi", ""], ["hi", ""]),
        ("bytes", [b"\xff", b""], [b"\xff", b""]),
        (None, ["hi", b"\xff"], ["hi", b"\xff"]),
    ],
)
async def test_encodings(encoding, messages, data):
    cls = noting(encoding=encoding)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say(*messages)
    assert cls.seen[1:-1] == data


@pytest.mark.parametrize("wrong", ["xml", "JSON", 1])
def test_the_encoding_is_checked_when_the_class_is_made(wrong):
    with pytest.raises(ValueError, match=r"Consumer.encoding must be one of None, 'json', 'text', 'bytes'"):
        noting(encoding=wrong)


async def test_the_next_message_waits_for_the_one_before():
    async def on_receive(self, ws, data):
        self.seen.append(f"begin {data}")
        await settle()
        self.seen.append(f"end {data}")

    cls = noting(on_receive=on_receive)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say("1", "2")
    assert cls.seen[1:5] == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_the_methods_that_are_not_overridden_do_nothing():
    async with house() as inside:
        wire = await inside.connect(WebSocketConsumer())
        wire.say("hi", b"\xff")
        await settle()
        assert wire.is_accepted
        assert wire.messages == []
    assert wire.closes == []


async def test_the_methods_that_are_not_overridden_are_checkpoints():
    consumer = WebSocketConsumer()
    for call in (
        lambda: consumer.on_connect(None),
        lambda: consumer.on_receive(None, None),
        lambda: consumer.on_disconnect(None, 1000),
    ):
        with assert_checkpoints():
            await call()


# ---------------------------------------------------------------- on_disconnect


def failing(method, error):
    async def fail(self, *args):
        if method == "on_connect":
            self.seen.append("connect")
        raise error

    return noting(**{method: fail})


@pytest.mark.parametrize(
    ("error", "code", "closes"),
    [
        (ZeroDivisionError(), 1011, [(1011, "")]),
        (InvalidJson("", "{", 1), 1003, [(1003, "the message is not JSON")]),
        (WebSocketException(4005, "no"), 4005, [(4005, "no")]),
        (ExceptionGroup("", [WebSocketException(4005, "no")]), 4005, [(4005, "no")]),
        (WebSocketDisconnect(), 1000, [(1000, "")]),
        (ExceptionGroup("", [WebSocketDisconnect()]), 1000, [(1000, "")]),
        (ExceptionGroup("", [ZeroDivisionError(), KeyError()]), 1011, [(1011, "")]),
    ],
)
async def test_regression_on_disconnect_was_skipped_on_errors(error, code, closes, caplog):
    cls = failing("on_receive", error)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say("go")
        await settle()
        assert wire.closes == closes
    assert cls.seen == ["connect", ("disconnect", code)]
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(failures) == (code == 1011)


async def test_on_disconnect_runs_when_on_connect_fails(caplog):
    cls = failing("on_connect", ZeroDivisionError())
    async with house() as inside:
        wire = await inside.connect(cls())
    assert cls.seen == ["connect", ("disconnect", 1011)]
    assert wire.status == 500


async def test_regression_on_disconnect_died_at_its_first_checkpoint_when_cancelled():
    cls = noting()
    async with house() as inside:
        wire = await inside.connect(cls())
        inside.shut_down()
        await settle()
        assert wire.closes == [(1012, "")]
    assert cls.seen == ["connect", ("disconnect", 1012)]


async def test_on_disconnect_when_cancelled_inside_a_nursery():
    async def on_receive(self, ws, data):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)

    cls = noting(on_receive=on_receive)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say("go")
        await settle()
        inside.shut_down()
    assert cls.seen == ["connect", ("disconnect", 1012)]


async def test_on_disconnect_is_bounded(autojump_clock, caplog):
    async def on_disconnect(self, ws, code):
        self.seen.append("begin")
        await trio.sleep_forever()

    cls = noting(on_disconnect=on_disconnect)
    async with house(cleanup_timeout=3) as inside:
        wire = await inside.connect(cls())
        start = trio.current_time()
        wire.leave()
        await wire.done.wait()
        assert trio.current_time() - start == 3
    assert cls.seen == ["connect", "begin"]
    assert [record.getMessage() for record in caplog.records] == ["on_disconnect of Consumer took too long"]


async def test_an_error_in_on_disconnect_is_logged_once(caplog):
    cls = failing("on_disconnect", ZeroDivisionError())
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.leave()
    assert [record.getMessage() for record in caplog.records] == ["on_disconnect of Consumer failed"]
    assert wire.closes == []


async def test_a_failing_on_disconnect_of_a_refused_connection_says_why_it_ran(caplog):
    async def on_connect(self, ws):
        await ws.reject(4004, "no such room") if self.is_told else await ws.close(4004)
        self.room = "red"

    async def on_disconnect(self, ws, code):
        raise AttributeError("room")

    async with house() as inside:
        refused = await inside.connect(noting(on_connect=on_connect, on_disconnect=on_disconnect, is_told=False)())
        closed = await inside.connect(noting(on_connect=on_connect, on_disconnect=on_disconnect, is_told=True)())
        assert (refused.status, closed.closes) == (403, [(4004, "no such room")])
    texts = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert texts == [
        "on_disconnect of Consumer failed: it also runs for connections that on_connect did not accept",
        "on_disconnect of Consumer failed",
    ]


async def test_on_disconnect_of_an_evicted_consumer(autojump_clock):
    async def on_connect(self, ws):
        await self.join_group("room")

    cls = noting(on_connect=on_connect)
    async with house(outbox_messages=1) as inside:
        wire = await inside.connect(cls())
        wire.stall()
        for number in range(3):
            await inside.box.group_send("room", number)
            await settle()
        assert cls.seen == [("disconnect", 1013)]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
async def test_on_disconnect_of_an_interrupted_process(interrupt):
    cls = failing("on_receive", interrupt())
    with pytest.raises(BaseExceptionGroup) as caught:
        async with house() as inside:
            wire = await inside.connect(cls())
            wire.say("go")
            await settle()
    assert caught.group_contains(interrupt)
    assert cls.seen == ["connect", ("disconnect", 1012)]


# ---------------------------------------------------------------- groups


class Chat(WebSocketEndpoint):
    """The complete chat room of document 002, as far as it matters here."""

    encoding = "json"

    async def on_connect(self, ws):
        await ws.accept()
        self.room = "lobby"
        self.user = ws.scope["query_params"].get("username", "anonymous")
        await self.join_group(self.room)
        await self.tell("joined", await self.get_user_count())

    async def on_receive(self, ws, data):
        await self.broadcast({"user": self.user, "message": data}, self.room, save_history=True)

    async def on_disconnect(self, ws, code):
        await self.tell("left", await self.get_user_count() - 1)
        await self.leave_group(self.room)

    async def tell(self, what, users):
        await self.broadcast({"message": f"{self.user} {what}", "users": users}, self.room, save_history=True)

    async def get_user_count(self):
        return len(await self.group(self.room))


async def test_the_leaver_is_still_counted_in_on_disconnect():
    async with house() as inside:
        ann = await inside.connect(Chat(), query_string=b"username=ann")
        bob = await inside.connect(Chat(), query_string=b"username=bob")
        bob.say('"hi"')
        await settle()
        bob.leave()
        await settle()
        assert ann.json == [
            {"message": "ann joined", "users": 1},
            {"message": "bob joined", "users": 2},
            {"user": "bob", "message": "hi"},
            {"message": "bob left", "users": 1},
        ]
        assert inside.box.size_of("lobby") == 1
        assert len(await inside.box.show_history("lobby")) == 4


async def test_regression_consumers_leaked_members():
    """Without leave_group, and whatever on_disconnect does."""

    async def on_connect(self, ws):
        for group in ("a", "b"):
            await self.join_group(group)

    async def on_disconnect(self, ws, code):
        raise ZeroDivisionError

    async with house() as inside:
        for way in ("peer", "lost", "error"):
            wire = await inside.connect(noting(on_connect=on_connect, on_disconnect=on_disconnect, encoding="json")())
            assert inside.box.size_of("a") == 1
            if way == "error":
                wire.say("no json")
            else:
                wire.leave(1006 if way == "lost" else 1000)
            await settle()
            assert inside.box.statistics().channels == 0
            assert inside.box.statistics().groups == 0


async def test_what_a_consumer_can_do_with_its_groups():
    results = []

    class Consumer(WebSocketConsumer):
        async def on_connect(self, ws):
            for call in (
                lambda: self.join_group("room"),
                lambda: self.broadcast({"a": 1}, group_name="room", save_history=True),
                lambda: self.broadcast("not to myself", "room", exclude=self.channel),
                lambda: self.broadcast({}, "nowhere"),
                lambda: self.send_to(str(self.channel.uuid), {"private": 1}),
                lambda: self.send_to("nobody", {}),
                lambda: self.group("nowhere"),
                lambda: self.leave_group("room"),
            ):
                with assert_checkpoints():
                    results.append(await call())
            assert self.websocket is ws
            assert self.channel.websocket is ws

    async with house() as inside:
        wire = await inside.connect(Consumer())
        assert wire.json == [{"a": 1}, {"private": 1}]
    names = [getattr(result, "name", result) for result in results]
    assert names == ["CHANNEL_ADDED", "GROUP_SEND", "GROUP_SEND", "NO_SUCH_GROUP", True, False, [], "GROUP_REMOVED"]


async def test_broadcast_by_default_goes_to_the_default_group():
    class Consumer(WebSocketConsumer):
        async def on_connect(self, ws):
            await self.join_group("default")
            await self.broadcast("hi")

    async with house() as inside:
        wire = await inside.connect(Consumer())
        assert wire.json == ["hi"]


async def test_regression_broadcast_encoded_bytes_as_text():
    class Consumer(WebSocketConsumer):
        encoding = "bytes"

        async def on_connect(self, ws):
            await self.join_group("room")

        async def on_receive(self, ws, data):
            await self.broadcast(data, "room")

    async with house() as inside:
        wire = await inside.connect(Consumer())
        wire.say(b"\xff\x00")
        await settle()
        assert wire.messages == [b"\xff\x00"]


async def test_regression_broadcast_logged_the_payload(caplog):
    caplog.set_level(logging.DEBUG)

    class Consumer(WebSocketConsumer):
        encoding = "json"

        async def on_connect(self, ws):
            await self.join_group("room")

        async def on_receive(self, ws, data):
            await self.broadcast(data, "room", save_history=True)

    async with house() as inside:
        wire = await inside.connect(Consumer())
        wire.say('{"password":"secret"}')
    assert "secret" not in caplog.text


async def test_the_channel_of_a_consumer():
    seen = []

    class Limited(Channel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.count = 0

        async def receive(self):
            message = await super().receive()
            self.count += 1
            return message

    class Consumer(WebSocketConsumer):
        encoding = "text"
        channel_class = Limited
        expires = 60

        async def on_receive(self, ws, data):
            seen.append((type(self.channel), self.channel.payload_type, self.channel.expires, self.channel.count))

    assert WebSocketConsumer.expires == 3600
    async with house() as inside:
        wire = await inside.connect(Consumer())
        wire.say("hi")
    assert seen == [(Limited, "text", 60, 1)]


async def test_an_expired_consumer_leaves_its_groups_and_is_closed(autojump_clock):
    class Consumer(WebSocketConsumer):
        expires = 5

        async def on_connect(self, ws):
            await self.join_group("room")

    async with house() as inside:
        wire = await inside.connect(Consumer())
        await trio.sleep(6)
        assert inside.box.size_of("room") == 0
        assert wire.closes == [(1001, "expired")]


# ---------------------------------------------------------------- messages that do not decode


@pytest.mark.parametrize(
    ("encoding", "message", "code"),
    [
        ("json", "{", 1003),
        ("json", b"{", 1003),
        ("json", b"\xff", 1007),
        ("text", b"bytes", 1003),
        ("bytes", "text", 1003),
    ],
)
async def test_regression_a_decode_error_closed_twice(encoding, message, code, caplog):
    cls = noting(encoding=encoding)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say(message, "after")
        await settle()
        assert wire.closes == [(code, f"the message is not {encoding}")]
    assert cls.seen == ["connect", ("disconnect", code)]
    assert caplog.records == []


async def test_after_its_own_close_a_consumer_receives_nothing_more():
    async def on_receive(self, ws, data):
        self.seen.append(data)
        await settle()  # so that all messages are here
        await ws.close(4000)

    cls = noting(on_receive=on_receive)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say("1", "2", "3")
        await wire.done.wait()
    assert cls.seen == ["connect", "1", ("disconnect", 4000)]


async def test_after_the_peers_close_a_consumer_receives_what_came_before():
    async def on_receive(self, ws, data):
        await settle()
        self.seen.append(data)

    cls = noting(on_receive=on_receive)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say("1", "2", "3")
        wire.leave(4000)
    assert cls.seen == ["connect", "1", "2", "3", ("disconnect", 4000)]


async def test_on_decode_error_may_go_on():
    async def on_decode_error(self, ws, error):
        self.seen.append(type(error))
        await ws.send_json({"error": "not JSON"})

    cls = noting(encoding="json", on_decode_error=on_decode_error)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say("{", "1")
        await settle()
        assert wire.json == [{"error": "not JSON"}]
    assert issubclass(cls.seen[1], json.JSONDecodeError)
    assert cls.seen[2] == 1


async def test_on_decode_error_is_given_the_wrong_frame_type():
    async def on_decode_error(self, ws, error):
        self.seen.append(type(error))

    cls = noting(encoding="text", on_decode_error=on_decode_error)
    async with house() as inside:
        wire = await inside.connect(cls())
        wire.say(b"\xff")
    assert cls.seen[1] is WrongFrameType


# ---------------------------------------------------------------- instances and routes


async def test_an_instance_serves_many_connections_each_on_a_copy():
    class Consumer(WebSocketConsumer):
        def __init__(self, greeting):
            super().__init__()
            self.greeting = greeting

        async def on_connect(self, ws):
            self.name = ws.query_params["name"]

        async def on_receive(self, ws, data):
            await ws.send_text(f"{self.greeting} {self.name}")

    consumer = Consumer("hello")
    async with house() as inside:
        wires = [await inside.connect(consumer, query_string=f"name={name}".encode()) for name in ("ann", "bob")]
        for wire in wires:
            wire.say("?")
        await settle()
        assert [wire.messages for wire in wires] == [["hello ann"], ["hello bob"]]
    assert not hasattr(consumer, "name")
    assert not hasattr(consumer, "channel")


async def test_regression_as_route_dropped_its_arguments():
    made = []

    class Consumer(WebSocketConsumer):
        def __init__(self, greeting, **kwargs):
            super().__init__(**kwargs)
            made.append(self)
            self.greeting = greeting

        async def on_connect(self, ws):
            await ws.accept()
            await ws.send_text(self.greeting)

    async def middleware(ws, call_next):
        return await call_next(ws)

    route = Consumer.as_route("/chat", middleware=[middleware], name="chat", greeting="hi", logging_enabled=False)
    assert (route.path, route.name, route.middleware) == ("/chat", "chat", (middleware,))
    assert made == []
    async with house() as inside:
        wires = [await inside.connect(route.handler) for _ in range(2)]
        assert [wire.messages for wire in wires] == [["hi"], ["hi"]]
    assert len(made) == 2
    assert not made[0].logging_enabled


def test_as_route_checks_its_arguments_at_once():
    class Consumer(WebSocketConsumer):
        def __init__(self, greeting):
            super().__init__()

    for arguments in ({}, {"greeting": 1, "other": 2}):
        with pytest.raises(TypeError, match="greeting|other"):
            Consumer.as_route("/chat", **arguments)


def test_as_route_adds_the_middleware_of_the_class_innermost():
    async def outer(ws, call_next): ...

    async def inner(ws, call_next): ...

    class Consumer(WebSocketConsumer):
        middleware = (inner,)

    assert Consumer.as_route("/", middleware=[outer]).middleware == (outer, inner)


async def test_a_consumer_logs_where_it_is_told_to(caplog):
    caplog.set_level(logging.DEBUG)

    class Consumer(WebSocketConsumer):
        logger = logging.getLogger("my.consumer")

    async with house() as inside:
        for consumer in (Consumer(), Consumer(logging_enabled=False)):
            wire = await inside.connect(consumer)
            wire.leave(4000)
    (record,) = [record for record in caplog.records if record.name == "my.consumer"]
    assert record.getMessage() == "Consumer: connection ended with 4000"


async def test_the_end_is_known_in_on_disconnect():
    seen = []

    class Consumer(WebSocketConsumer):
        async def on_disconnect(self, ws, code):
            seen.append((ws.end.cause, ws.is_connected()))
            with pytest.raises(WebSocketDisconnect):
                await ws.send_text("too late")

    async with house() as inside:
        wire = await inside.connect(Consumer())
        wire.leave()
    assert seen == [(Cause.PEER_CLOSED, False)]


async def test_groups_of_a_consumer_are_those_of_its_application():
    class Consumer(WebSocketConsumer):
        async def on_connect(self, ws):
            await self.join_group("room")
            assert len(await ChannelBox.show_groups().get("room")) == 1

    async with house() as one, house() as other:
        await one.connect(Consumer())
        await other.connect(Consumer())
        assert (one.box.size_of("room"), other.box.size_of("room")) == (1, 1)
