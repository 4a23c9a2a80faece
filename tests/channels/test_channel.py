"""`Channel`: identity, time to live, sending and receiving as its payload type says, and its events."""

import json
import logging
import time
from uuid import UUID

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints

from nexios_trio.core.lifecycle import Cause
from nexios_trio.core.overflow import conflate
from nexios_trio.exceptions import LifecycleError
from nexios_trio.websockets import Channel, ChannelBox, PayloadTypeEnum, WebSocketDisconnect, open_channel
from tests.wire import house, settle


def having(function, *, accept=True, wait=True):
    """An endpoint that calls `function(ws)` once it has accepted, and then waits for the end."""

    async def endpoint(ws):
        if accept:
            await ws.accept()
        await function(ws)
        if wait:
            await ws.receive()

    return endpoint


async def with_websocket(function, **settings):
    """Call `function(ws)` in a handler; errors in it are the test's."""
    errors = []

    async def endpoint(ws):
        await ws.accept()
        try:
            await function(ws)
        except Exception as error:
            errors.append(error)

    async with house(**settings) as inside:
        wire = inside.begin(endpoint)
        await wire.done.wait()
    for error in errors:
        raise error
    return wire


# ---------------------------------------------------------------- what it is


async def test_the_attributes_of_a_channel():
    async def look(ws):
        before = time.time()
        channel = Channel(ws, "text", 30)
        assert channel.websocket is ws
        assert channel.payload_type == "text"
        assert channel.expires == 30
        assert isinstance(channel.uuid, UUID)
        assert before <= channel.created <= time.time()
        assert channel.uuid != Channel(ws).uuid
        assert str(channel.uuid) in repr(channel)
        assert channel.created + channel.expires > before  # as document 003 computes it

    await with_websocket(look)


@pytest.mark.parametrize("kind", ["json", "text", "bytes", *PayloadTypeEnum])
async def test_payload_types_by_name_or_member(kind):
    async def look(ws):
        assert Channel(ws, kind).payload_type == kind
        assert Channel(websocket=ws, payload_type=kind, expires=1).payload_type == kind

    await with_websocket(look)


async def test_regression_expires_none_failed_an_assert():
    async def look(ws):
        channel = Channel(ws, expires=None)
        assert (channel.expires, channel.expires_at, channel.expired) == (None, None, False)
        assert await channel._is_expired() is False
        channel.touch()
        assert channel.expires_at is None

    await with_websocket(look)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"payload_type": "xml"}, ValueError),
        ({"payload_type": None}, ValueError),
        ({"expires": 0}, ValueError),
        ({"expires": -1}, ValueError),
        ({"expires": float("nan")}, ValueError),
        ({"expires": float("inf")}, ValueError),
        ({"expires": "60"}, TypeError),
        ({"expires": True}, TypeError),
    ],
)
async def test_wrong_arguments_are_refused_and_leave_nothing_behind(options, error):
    async def make(ws):
        with pytest.raises(error):
            Channel(ws, **options)
        assert ChannelBox.statistics().channels == 0

    await with_websocket(make)


async def test_a_channel_wraps_a_websocket():
    with pytest.raises(TypeError, match="wraps a WebSocket, not str"):
        Channel("ws")


async def test_accept_close_and_connected():
    async def look(ws):
        channel = Channel(ws)
        assert not channel.connected
        with assert_checkpoints():
            await channel.accept(headers={"x": "1"})
        assert channel.connected
        with assert_checkpoints():
            await channel.close(4000, "done")
        assert not channel.connected

    async with house() as inside:
        wire = await inside.connect(having(look, accept=False))
    assert wire.events[0]["headers"] == [(b"x", b"1")]
    assert wire.closes == [(4000, "done")]


async def test_a_channel_of_a_connection_that_is_over_is_refused():
    kept = []

    async def keep(ws):
        kept.append(ws)

    async with house() as inside:
        await inside.connect(having(keep, wait=False))
        with pytest.raises(WebSocketDisconnect):
            Channel(kept[0])
        assert inside.box.statistics().channels == 0


# ---------------------------------------------------------------- time to live


async def test_regression_every_send_moved_created(autojump_clock):
    async def look(ws):
        channel = Channel(ws, expires=10)
        created, deadline = channel.created, channel.expires_at
        await trio.sleep(4)
        await channel.send({"a": 1})
        with pytest.raises(ValueError, match="JSON"):
            await channel.send(object())
        assert (channel.created, channel.expires_at) == (created, deadline)
        await trio.sleep(6)
        assert channel.expired
        with assert_checkpoints():
            assert await channel._is_expired()

    await with_websocket(look)


async def test_touch_moves_the_deadline(autojump_clock):
    async def look(ws):
        channel = Channel(ws, expires=10)
        await ChannelBox.add_channel_to_group(channel, "room")
        await trio.sleep(8)
        with assert_no_checkpoints():
            channel.touch()
        await trio.sleep(8)
        assert not channel.expired
        assert channel in (await ChannelBox.show_groups())["room"]
        await trio.sleep(8)
        assert channel.expired
        assert await ChannelBox.show_groups() == {}

    await with_websocket(look)


async def test_an_expired_channel_goes_on_after_touch_and_has_to_join_again(autojump_clock):
    async def look(ws):
        channel = Channel(ws, expires=5)
        await ChannelBox.add_channel_to_group(channel, "room")
        await trio.sleep(6)
        with pytest.raises(LifecycleError, match="touch"):
            await ChannelBox.add_channel_to_group(channel, "room")
        channel.touch()
        assert await ChannelBox.show_groups() == {}
        await ChannelBox.add_channel_to_group(channel, "room")
        await ChannelBox.group_send("room", "back")
        await trio.sleep(6)
        assert await ChannelBox.show_groups() == {}  # it expires again

    wire = await with_websocket(look)
    assert wire.json == ["back"]


async def test_expiry_leaves_the_connection_open(autojump_clock):
    async def look(ws):
        channel = Channel(ws, expires=5)
        await trio.sleep(6)
        await channel.send("still here")

    wire = await with_websocket(look)
    assert wire.json == ["still here"]


async def test_expiry_may_close_the_connection(autojump_clock):
    ends = []

    async def look(ws):
        Channel(ws, expires=5, close_on_expire=True)
        other = Channel(ws)
        await ChannelBox.add_channel_to_group(other, "room")
        start = trio.current_time()
        await ws.receive()
        ends.append((ws.end.cause, trio.current_time() - start))
        assert await ChannelBox.show_groups() == {}

    wire = await with_websocket(look)
    assert ends == [(Cause.EXPIRED, 5)]
    assert wire.closes == [(1001, "expired")]


async def test_two_channels_of_one_connection_expire_at_once(autojump_clock, caplog):
    async def look(ws):
        for _ in range(3):
            await ChannelBox.add_channel_to_group(Channel(ws, expires=5, close_on_expire=True), "room")
        await trio.sleep(5)
        await ChannelBox._clean_expired()
        await ws.receive()

    wire = await with_websocket(look)
    assert wire.closes == [(1001, "expired")]
    assert caplog.records == []


# ---------------------------------------------------------------- sending


@pytest.mark.parametrize(
    ("kind", "payload", "message"),
    [
        ("json", {"a": 1}, '{"a":1}'),
        ("json", "hi", '"hi"'),
        ("json", b"\xff", b"\xff"),
        ("text", "hi", "hi"),
        ("text", b"\xff", b"\xff"),
        ("text", [1], "[1]"),
        ("bytes", b"\xff", b"\xff"),
        ("bytes", "ä", "ä".encode()),
        ("bytes", {"a": 1}, b'{"a":1}'),
    ],
)
async def test_every_way_in_encodes_alike(kind, payload, message):
    async def send(ws):
        channel = Channel(ws, kind)
        await ChannelBox.add_channel_to_group(channel, "room")
        with assert_checkpoints():
            await channel.send(payload)
        with assert_checkpoints():
            await channel._send(payload)
        await ChannelBox.group_send("room", payload)
        await ChannelBox.send_to(channel.uuid, payload)

    wire = await with_websocket(send)
    assert wire.messages == [message] * 4


async def test_send_by_type_whatever_the_payload_type():
    async def send(ws):
        channel = Channel(ws, "bytes")
        await channel.send_json({"a": 1})
        await channel.send_text("hi")
        await channel.send_bytes(b"\xff")

    wire = await with_websocket(send)
    assert wire.messages == ['{"a":1}', "hi", b"\xff"]


async def test_regression_a_failed_send_to_the_peer_was_silent():
    seen = []

    async def send(ws):
        channel = Channel(ws)
        await ws.receive()
        with assert_checkpoints(), pytest.raises(WebSocketDisconnect) as caught:
            await channel.send(1)
        seen.append(caught.value.code)

    async with house() as inside:
        wire = await inside.connect(having(send))
        wire.leave(4000)
    assert seen == [4000]


async def test_statistics_count_what_the_peer_did_not_get():
    kept = []

    async def join(ws):
        kept.append(Channel(ws))
        await ChannelBox.add_channel_to_group(kept[0], "room")

    async with house(outbox_messages=2, overflow="drop_oldest") as inside:
        wire = await inside.connect(having(join))
        wire.stall()
        for number in range(6):
            await inside.box.group_send("room", number)
            await settle()
        statistics = kept[0].statistics()
        assert (statistics.queued_messages, statistics.dropped_oldest, statistics.undelivered) == (2, 3, 3)
        assert inside.box.statistics().undelivered == 3
        wire.flow()
        await settle()
        assert wire.json == [0, 4, 5]
    assert inside.box.statistics().undelivered == 3  # also when the connection is gone


async def test_send_to_is_conflated_like_a_group_message():
    kept = []

    async def join(ws):
        kept.append(Channel(ws))

    async with house(overflow=conflate(lambda payload: payload["k"])) as inside:
        wire = await inside.connect(having(join))
        wire.stall()
        for number in range(4):
            await inside.box.send_to(kept[0].uuid, {"k": 1, "n": number})
            await settle()
        wire.flow()
        await settle()
        assert [message["n"] for message in wire.json] == [0, 3]


# ---------------------------------------------------------------- receiving


@pytest.mark.parametrize(
    ("kind", "message", "payload"),
    [("json", '{"a":1}', {"a": 1}), ("json", b"[1]", [1]), ("text", "hi", "hi"), ("bytes", b"\xff", b"\xff")],
)
async def test_receive_decodes_as_the_payload_type_says(kind, message, payload):
    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws, kind)
        with assert_checkpoints():
            assert await channel.receive() == payload
        seen.extend([again async for again in channel])

    seen = []
    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say(message, message)
    assert seen == [payload]


async def test_receive_by_type_whatever_the_payload_type():
    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws, "bytes")
        seen.append((await channel.receive_json(), await channel.receive_text(), await channel.receive_bytes()))

    seen = []
    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say('{"a":1}', "hi", b"\xff")
    assert seen == [({"a": 1}, "hi", b"\xff")]


async def test_receive_after_the_end():
    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws)
        for _ in range(2):
            with pytest.raises(WebSocketDisconnect, match="4000: 'bye'"):
                await channel.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave(4000, "bye")


async def test_an_overridden_receive_is_used_by_iteration():
    """RateLimitedChannel of document 004."""

    class Limited(Channel):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.message_count = 0

        async def receive(self):
            if self.message_count >= 2:
                raise RateLimitExceeded
            self.message_count += 1
            return await super().receive()

    class RateLimitExceeded(Exception):
        pass

    async def endpoint(ws):
        await ws.accept()
        with pytest.raises(RateLimitExceeded):
            async for message in Limited(ws):
                seen.append(message)

    seen = []
    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say("1", "2", "3")
    assert seen == [1, 2]


# ---------------------------------------------------------------- events


class Events:
    """A channel with a handler for each event, all noted in one list."""

    def __init__(self, channel, *, is_async=True):
        self.channel = channel
        self.seen = []
        for name in ("on_connect", "on_disconnect", "on_message", "on_error"):
            handler = self.handler(name, is_async)
            assert getattr(channel, name)(handler) is handler

    def handler(self, name, is_async):
        def note(channel, *args):
            assert channel is self.channel
            self.seen.append((name, *args))

        async def note_later(channel, *args):
            await trio.lowlevel.checkpoint()
            note(channel, *args)

        return note_later if is_async else note


@pytest.mark.parametrize("is_async", [True, False])
async def test_each_event_happens(is_async):
    kept = []

    async def endpoint(ws):
        channel = Channel(ws)
        kept.append(Events(channel, is_async=is_async))
        await channel.accept()
        assert kept[0].seen == [("on_connect",)]  # before accept returns
        with pytest.raises(json.JSONDecodeError):
            await channel.receive()
        await channel.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say("{", '{"a":1}')
    names = [name for name, *_ in kept[0].seen]
    assert names == ["on_connect", "on_error", "on_message", "on_disconnect"]
    assert isinstance(kept[0].seen[1][1], json.JSONDecodeError)
    assert kept[0].seen[2] == ("on_message", {"a": 1})


async def test_several_handlers_each_in_the_order_of_registration():
    seen = []

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws)
        for number in range(3):

            @channel.on_message
            async def note(channel, message, number=number):
                await trio.lowlevel.checkpoint()
                seen.append((number, message))

        await channel.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say("7")
    assert seen == [(0, 7), (1, 7), (2, 7)]


async def test_on_connect_of_a_connection_that_is_accepted_already():
    kept = []

    async def endpoint(ws):
        await ws.accept()
        kept.append(Events(Channel(ws)))
        await ws.receive()

    async with house() as inside:
        await inside.connect(endpoint)
        assert kept[0].seen == [("on_connect",)]
    assert kept[0].seen == [("on_connect",), ("on_disconnect",)]


async def test_on_connect_happens_once_when_registered_while_accepting():
    kept, seen = [], []

    async def endpoint(ws):
        kept.append(Channel(ws))
        await ws.accept()
        await ws.receive()

    async with house() as inside:
        wire = inside.begin(endpoint)
        wire.stall()
        await settle()
        assert kept[0].connected  # the answer is on its way
        kept[0].on_connect(lambda channel: seen.append("connected"))
        wire.flow()
        await settle()
    assert seen == ["connected"]


async def test_on_connect_of_a_refused_connection_does_not_happen():
    kept = []

    async def endpoint(ws):
        kept.append(Events(Channel(ws)))
        await ws.deny(403)

    async with house() as inside:
        await inside.connect(endpoint)
    assert kept[0].seen == [("on_disconnect",)]


@pytest.mark.parametrize("way", ["peer", "close", "return", "error", "shutdown", "release"])
async def test_on_disconnect_happens_exactly_once_whatever_ends_it(way, caplog):
    kept = []

    async def endpoint(ws):
        await ws.accept()
        if way == "release":
            async with open_channel(ws) as channel:
                kept.append(Events(channel))
            await ws.close()
            return
        kept.append(Events(Channel(ws)))
        if way == "return":
            return
        if way == "error":
            raise ZeroDivisionError
        if way == "close":
            await ws.close()
        await ws.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        if way == "peer":
            wire.leave()
        if way == "shutdown":
            inside.shut_down()
    assert [name for name, *_ in kept[0].seen if name == "on_disconnect"] == ["on_disconnect"]


async def test_a_raising_handler_is_reported_and_never_kills_the_channel(caplog):
    errors = []

    async def endpoint(ws):
        channel = Channel(ws)

        @channel.on_error
        def note(channel, error):
            errors.append(type(error))

        @channel.on_error
        async def fail(channel, error):
            raise IndexError

        for register in (channel.on_connect, channel.on_message, channel.on_disconnect):

            @register
            async def crash(channel, *args):
                raise ZeroDivisionError

        await channel.accept()
        await channel.send(await channel.receive())

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say("1")
        await settle()
        assert wire.json == [1]
    assert errors == [ZeroDivisionError] * 3
    messages = [record.getMessage().split()[0] for record in caplog.records]
    assert messages == ["on_connect", "on_error", "on_message", "on_error", "on_disconnect", "on_error"]
    assert all(record.levelno == logging.ERROR for record in caplog.records)


async def test_on_disconnect_is_shielded_and_bounded_for_each_handler(autojump_clock, caplog):
    seen = []

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws)

        @channel.on_disconnect
        async def hang(channel):
            await trio.sleep_forever()

        @channel.on_disconnect
        async def save(channel):
            await trio.sleep(1)
            seen.append("saved")

        await ws.receive()

    async with house(cleanup_timeout=3) as inside:
        await inside.connect(endpoint)
        start = trio.current_time()
        inside.shut_down()
    assert seen == ["saved"]
    assert trio.current_time() - start == 3  # both together
    assert ["took too long" in record.getMessage() for record in caplog.records] == [True]


# ---------------------------------------------------------------- blocks


async def test_a_block_has_a_channel_and_closes_the_connection():
    async def endpoint(ws):
        with assert_checkpoints():
            manager = open_channel(ws, "text", 60, subprotocol="v1")
            channel = await manager.__aenter__()
        assert (channel.payload_type, channel.expires) == ("text", 60)
        async with channel.member("room") as status:
            assert status.name == "CHANNEL_ADDED"
            await ChannelBox.group_send("room", "hi")
        assert await ChannelBox.show_groups() == {}
        await ChannelBox.add_channel_to_group(channel, "other")
        with assert_checkpoints():
            await manager.__aexit__(None, None, None)
        assert await ChannelBox.show_groups() == {}
        assert not ws.is_connected()
        with pytest.raises(WebSocketDisconnect):
            await ChannelBox.add_channel_to_group(channel, "room")

    async with house() as inside:
        wire = await inside.connect(endpoint, subprotocols=["v1"])
    assert wire.events[0]["subprotocol"] == "v1"
    assert wire.messages == ["hi"]
    assert wire.closes == [(1000, "")]


async def test_a_block_on_an_accepted_connection_is_a_checkpoint():
    async def look(ws):
        manager = open_channel(ws)
        with assert_checkpoints():
            await manager.__aenter__()
        await manager.__aexit__(None, None, None)

    await with_websocket(look)


async def test_an_error_in_a_block_leaves_the_goodbye_to_the_connection(caplog):
    async def endpoint(ws):
        async with open_channel(ws) as channel:
            await ChannelBox.add_channel_to_group(channel, "room")
            raise ZeroDivisionError

    async with house() as inside:
        wire = await inside.connect(endpoint)
        assert inside.box.statistics().groups == 0
    assert wire.closes == [(1011, "")]


async def test_a_block_that_cannot_accept_leaves_nothing():
    async def endpoint(ws):
        await settle()
        with pytest.raises(WebSocketDisconnect):
            async with open_channel(ws):
                raise AssertionError
        assert ChannelBox.statistics().channels == 0

    async with house() as inside:
        wire = inside.begin(endpoint)
        wire.leave()
