"""A consumer's channel lives as long as its peer is heard of; where it expires all the same, the peer is told."""

import logging
from typing import Any

import pytest
import trio

from nexios_trio.websockets import Channel, ChannelBox, WebSocketConsumer
from tests.wire import house, settle

HOUR = 3600


class Chat(WebSocketConsumer):
    encoding = "json"
    instances: list["Chat"] = []

    async def on_connect(self, websocket: Any) -> None:
        await websocket.accept()
        await self.join_group("tea")
        self.instances.append(self)

    async def on_receive(self, websocket: Any, data: Any) -> None:
        await self.broadcast(data, "tea")


@pytest.fixture(autouse=True)
def no_instances() -> None:
    Chat.instances.clear()


def expiries(caplog: Any) -> list[Any]:
    return [
        record for record in caplog.records if "expired" in record.getMessage() and record.name == "nexios_trio.channel"
    ]


@pytest.mark.parametrize("encoding", ["json", "text", "bytes", None])
async def test_whoever_speaks_hears_itself_for_hours(autojump_clock: Any, encoding: Any) -> None:
    class Any_(Chat):
        pass

    Any_.encoding = encoding
    async with house() as inside:
        wire = await inside.connect(Any_())
        for minute in range(0, 200, 50):
            await trio.sleep(50 * 60)
            wire.say(b"1" if encoding == "bytes" else "1")
            await settle()
            assert len(wire.messages) == 1, minute
        assert wire.closes == []


async def test_what_does_not_decode_was_heard_too(autojump_clock: Any) -> None:
    class Patient(Chat):
        async def on_decode_error(self, websocket: Any, error: ValueError) -> None:
            await trio.lowlevel.checkpoint()

    async with house() as inside:
        wire = await inside.connect(Patient())
        for _ in range(4):
            await trio.sleep(50 * 60)
            wire.say("{")
        await settle()
        assert wire.closes == []


async def test_a_pong_is_a_sign_of_life(autojump_clock: Any) -> None:
    async with house() as inside:
        wire = await inside.connect(Chat())
        transport: Any = Chat.instances[0].websocket._session.transport
        for _ in range(4):
            await trio.sleep(50 * 60)
            transport.pong_at = trio.current_time()
        assert wire.closes == []
        await trio.sleep(HOUR - 1)
        assert wire.closes == []
        await trio.sleep(2)
        assert wire.closes == [(1001, "expired")]


async def test_whoever_is_silent_is_told_and_closed(autojump_clock: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    told = []

    class Told(Chat):
        async def on_connect(self, websocket: Any) -> None:
            await super().on_connect(websocket)
            self.channel.on_expire(lambda channel: told.append(channel.uuid))

        async def on_disconnect(self, websocket: Any, close_code: int) -> None:
            told.append(close_code)

    async with house() as inside:
        wire = await inside.connect(Told())
        await trio.sleep(HOUR - 1)
        assert wire.closes == []
        await trio.sleep(2)
        assert wire.closes == [(1001, "expired")]
        assert inside.box.statistics().groups == 0
    assert len(told) == 2
    assert set(told) == {Chat.instances[0].channel.uuid, 1001}
    (record,) = expiries(caplog)
    assert record.levelno == logging.INFO
    assert record.channel == Chat.instances[0].channel.uuid


async def test_sending_to_a_peer_is_no_sign_of_its_life(autojump_clock: Any) -> None:
    async with house() as inside:
        wire = await inside.connect(Chat())
        for _ in range(3):
            await trio.sleep(HOUR / 2 - 1)
            await inside.box.group_send("tea", 1)
            await settle()
        assert wire.closes == [(1001, "expired")]


async def test_a_channel_class_of_the_users_own_is_closed_too(autojump_clock: Any) -> None:
    class Old(Channel):
        def __init__(self, websocket: Any, payload_type: str, expires: Any) -> None:
            super().__init__(websocket, payload_type, expires)

    class Consumer(Chat):
        channel_class = Old
        expires = 10

    async with house() as inside:
        wire = await inside.connect(Consumer())
        await trio.sleep(11)
        assert wire.closes == [(1001, "expired")]


async def test_without_a_time_to_live_it_stays(autojump_clock: Any) -> None:
    class Consumer(Chat):
        expires = None

    async with house() as inside:
        wire = await inside.connect(Consumer())
        await trio.sleep(10 * HOUR)
        assert wire.closes == []


# ---------------------------------------------------------------- a bare channel


async def test_a_bare_channels_time_is_absolute_and_its_end_is_logged_and_told(
    autojump_clock: Any, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    told = []

    async def endpoint(ws: Any) -> None:
        await ws.accept()
        channel = Channel(ws, expires=100)

        @channel.on_expire
        async def expired(channel: Any) -> None:
            await trio.sleep(1)
            told.append(trio.current_time() - start)

        async with channel.member("room"):
            async for message in channel:
                await channel.send(message)

    async with house() as inside:
        start = trio.current_time()
        wire = await inside.connect(endpoint)
        for _ in range(12):
            wire.say("1")
            await ChannelBox.group_send("room", 1)
            await trio.sleep(10)
        assert inside.box.statistics().groups == 0
        assert wire.closes == []
    assert told == [101]
    assert len(expiries(caplog)) == 1


async def test_every_expiry_of_a_touched_channel_is_told(autojump_clock: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    told = []

    async def endpoint(ws: Any) -> None:
        await ws.accept()
        channel = Channel(ws, expires=10)
        channel.on_expire(told.append)
        for _ in range(2):
            await trio.sleep(5)
            channel.touch()
            await trio.sleep(12)
            channel.touch()
        await ws.receive()

    async with house() as inside:
        await inside.connect(endpoint)
        await trio.sleep(100)
    assert len(told) == len(expiries(caplog)) == 3


async def test_an_on_expire_that_fails_is_reported(autojump_clock: Any, caplog: Any) -> None:
    async def endpoint(ws: Any) -> None:
        await ws.accept()
        channel = Channel(ws, expires=10, close_on_expire=True)

        @channel.on_expire
        def fail(channel: Any) -> None:
            raise ZeroDivisionError

        await ws.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        await trio.sleep(11)
        assert wire.closes == [(1001, "expired")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_on_expire_acts_for_its_connection_whoever_publishes_when_it_is_due(autojump_clock: Any) -> None:
    asked = []

    def authorize(channel: Any, group: str, action: str) -> bool:
        asked.append((channel.websocket.url.path, group))
        return True

    async def bob(ws: Any) -> None:
        await ws.accept()
        channel = Channel(ws, expires=10)

        @channel.on_expire
        async def tell(channel: Any) -> None:
            await ChannelBox.group_send("expired", 1)

        await ws.receive()

    async def alice(ws: Any) -> None:
        await ws.accept()
        channel = Channel(ws)
        await ws.receive()
        await ChannelBox.group_send("room", 1, exclude=channel)  # fires what is due

    async with house(ChannelBox(authorize=authorize), running=False) as inside:
        await inside.connect(bob, "/bob")
        wire = await inside.connect(alice, "/alice")
        await trio.sleep(11)
        wire.say("now")
        await settle()
    assert sorted(asked) == [("/alice", "room"), ("/bob", "expired")]
