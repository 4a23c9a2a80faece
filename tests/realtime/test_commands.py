"""Calls, messages, publications, histories, presence: what is answered, and what is refused."""

import attrs
import msgspec
import pydantic
import pytest
import trio

from nexios_trio import NexiosApp
from nexios_trio.exceptions import RealtimeError
from nexios_trio.realtime.protocol.codecs import JSON, PROTOBUF
from nexios_trio.realtime.protocol.data import Data
from nexios_trio.realtime.protocol.parts import Error, StreamPosition
from nexios_trio.realtime.protocol.replies import PingResult, PublishResult, RPCResult
from nexios_trio.realtime.protocol.requests import (
    Command,
    HistoryRequest,
    PingRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    RPCRequest,
    SendRequest,
)
from tests.realtime.support import PATH, open_app, talking

both = pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])


@both
@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": 2.5}], "ä\n"], ids=repr)
async def test_a_call_is_answered(codec, value):
    app, realtime = open_app()
    realtime.rpc("echo")(lambda client, data: data)
    async with talking(app, codec) as talker:
        assert await talker.ask(RPCRequest(Data(value), "echo")) == RPCResult(Data(value))


async def test_bytes_that_are_no_json_come_as_bytes_and_go_as_bytes():
    app, realtime = open_app()
    realtime.rpc("turn")(lambda client, data: bytes(reversed(data)))
    async with talking(app, PROTOBUF) as talker:
        assert (await talker.ask(RPCRequest(Data(raw=b"\x00\xff"), "turn"))).data.raw == b"\xff\x00"


@attrs.frozen
class AttrsMove:
    x: int


class MsgspecMove(msgspec.Struct):
    x: int


class PydanticMove(pydantic.BaseModel):
    x: int


@pytest.mark.parametrize("cls", [AttrsMove, MsgspecMove, PydanticMove])
async def test_declared_data_are_checked(cls):
    app, realtime = open_app()

    @realtime.rpc("move")
    async def move(client, data: cls):
        assert isinstance(data, cls)
        return data.x + 1

    async with talking(app) as talker:
        assert await talker.ask(RPCRequest(Data({"x": 1}), "move")) == RPCResult(Data(2))
        error = await talker.ask(RPCRequest(Data({"x": "one"}), "move"))
        assert error.code == 107
        assert "x" in error.message


async def test_errors_of_handlers(caplog):
    app, realtime = open_app()

    @realtime.rpc("refuse")
    def refuse(client):
        raise RealtimeError(444, "not today", temporary=True)

    @realtime.rpc("fail")
    async def fail(client):
        raise RuntimeError("a secret")

    @realtime.rpc("nan")
    def nan(client):
        return float("nan")

    async with talking(app) as talker:
        assert await talker.ask(RPCRequest(method="refuse")) == Error(444, "not today", True)
        assert await talker.ask(RPCRequest(method="fail")) == Error(100, "internal server error", True)
        assert (await talker.ask(RPCRequest(method="nan"))).code == 107
        assert await talker.ask(RPCRequest(method="what")) == Error(104, "method not found")
        assert await talker.ask(PingRequest()) == PingResult()
        assert await talker.ask(RefreshRequest("x")) == Error(108, "not available")
        await talker.send_raw('{"id":99,"unheard":{}}')
        assert await talker.answer(99) == Error(104, "method not found")
    assert "a secret" in caplog.text


async def test_twenty_commands_in_one_frame_are_answered_in_order():
    app, realtime = open_app()

    @realtime.rpc("wait")
    async def wait(client, data):
        await trio.lowlevel.checkpoint()
        return data

    async with talking(app) as talker:
        answers = await talker.ask(*[RPCRequest(Data(number), "wait") for number in range(20)])
        assert [answer.data.value for answer in answers] == list(range(20))


@both
async def test_messages_without_an_answer(codec):
    app, realtime = open_app()

    @realtime.on_message
    async def message(client, data):
        if data == "fail":
            raise RuntimeError("a mistake")
        await client.send({"heard": data})
        client.send_nowait(b"\x00" if codec is PROTOBUF else "and this")

    async with talking(app, codec) as talker:
        await talker.send(Command(0, SendRequest(Data("fail"))), Command(0, SendRequest(Data("hi"))))
        first, second = await talker.until(2)
        assert (first.channel, first.event.data) == ("", Data({"heard": "hi"}))
        assert second.event.data == (Data(raw=b"\x00") if codec is PROTOBUF else Data("and this"))


async def test_who_sends_where_nobody_listens_is_not_answered():
    app, _ = open_app()
    async with talking(app) as talker:
        await talker.send(Command(0, SendRequest(Data("hi"))))
        assert await talker.ask(PingRequest()) == PingResult()


async def test_on_publish_changes_and_refuses():
    app, realtime = open_app()

    @realtime.on_publish("checked")
    def check(client, group, data):
        if data == "bad":
            raise RealtimeError(450, "bad words")
        return None if data == "as it is" else {"group": group, "text": data}

    async with talking(app) as talker:
        for group in ("checked", "free"):
            await talker.subscribe(group)
        assert await talker.ask(PublishRequest("checked", Data("bad"))) == Error(450, "bad words")
        for text in ("good", "as it is"):
            await talker.ask(PublishRequest("checked", Data(text)))
        await talker.ask(PublishRequest("free", Data("bad")))
        assert await talker.publications(3) == [{"group": "checked", "text": "good"}, "as it is", "bad"]


async def test_what_cannot_be_published():
    app, _ = open_app()
    async with talking(app) as talker:
        assert await talker.ask(PublishRequest("a")) == Error(107, "a publication has data")
        assert await talker.ask(PublishRequest("a", Data(1), type=1)) == Error(108, "publications are of type 0")
        assert (await talker.ask(PublishRequest("no name!", Data(1)))).code == 102
        assert await talker.ask(PublishRequest("a", Data(1))) == PublishResult()


@both
async def test_all_kinds_of_clients_share_a_group(codec):
    """What one of them publishes, the others get: JSON as JSON, bytes as bytes or base64."""
    app, _ = open_app()
    async with talking(app, JSON) as one, talking(app, PROTOBUF) as two, talking(app, codec) as sender:
        await one.subscribe("room.1")
        await two.subscribe("room.1")
        await sender.ask(PublishRequest("room.1", Data({"a": 1})))
        await app.box.group_send("room.1", b"\x00\xff")
        assert await one.publications(2) == [{"a": 1}, "AP8="]
        assert [push.event.data.raw for push in await two.until(2)] == [b'{"a":1}', b"\x00\xff"]
        assert [push.event.offset for push in one.pushes] == [push.event.offset for push in two.pushes] == [1, 2]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"limit": 0}, []),
        ({"limit": -1}, [1, 2, 3, 4, 5]),
        ({"limit": 2}, [1, 2]),
        ({"limit": 100_000}, [1, 2, 3, 4, 5]),
        ({"limit": 2, "reverse": True}, [5, 4]),
        ({"limit": 2, "since": 2}, [3, 4]),
        ({"limit": 2, "since": 5}, []),
        ({"limit": 10, "since": 4, "reverse": True}, [3, 2, 1]),
        ({"limit": 1, "since": 4, "reverse": True}, [3]),
        ({"limit": 1, "since": 1, "reverse": True}, []),
    ],
    ids=str,
)
async def test_history(fields, expected):
    app, _ = open_app()
    for number in range(1, 6):
        await app.box.group_send("room.1", number)
    epoch = app.box.engine.history_nowait("room.1", limit=0).top.epoch
    if "since" in fields:
        fields = {**fields, "since": StreamPosition(fields["since"], epoch)}
    async with talking(app) as talker:
        result = await talker.ask(HistoryRequest("room.1", **fields))
        assert [each.data.value for each in result.publications] == expected
        assert [each.offset for each in result.publications] == expected
        assert (result.offset, result.epoch) == (5, epoch)


async def test_history_that_cannot_be_read():
    app, _ = open_app()
    async with talking(app) as talker:
        other = StreamPosition(1, "other")
        assert await talker.ask(HistoryRequest("room.1", 1, other)) == Error(112, "unrecoverable position")
        assert await talker.ask(HistoryRequest("plain", 1)) == Error(108, "the group keeps no history")


async def test_an_answer_has_so_many_messages_at_most():
    app, _ = open_app()
    for number in range(400):
        await app.box.group_send("room.1", number)
    async with talking(app) as talker:
        for limit in (-1, 400):
            assert len((await talker.ask(HistoryRequest("room.1", limit))).publications) == 300


@both
async def test_presence(codec):
    app, _ = open_app()
    async with talking(app, codec, token="ann") as ann, talking(app, codec, token="ann") as again:
        async with talking(app, codec) as nobody:
            for talker in (ann, again, nobody):
                await talker.subscribe("room.1")
            stats = await ann.ask(PresenceStatsRequest("room.1"))
            assert (stats.num_clients, stats.num_users) == (3, 2)
            present = (await nobody.ask(PresenceRequest("room.1"))).presence
            assert sorted(info.user for info in present.values()) == ["", "ann", "ann"]
            assert all(name == info.client for name, info in present.items())
        stats = await ann.ask(PresenceStatsRequest("room.1"))
        assert (stats.num_clients, stats.num_users) == (2, 1)
        assert (await ann.ask(PresenceRequest("plain"))).code == 108


async def test_nobody_sees_what_no_rule_shows():
    app = NexiosApp()
    app.box.keep("*")
    app.box.keep_presence("*")
    app.realtime(PATH).groups("*", subscribe=True, publish=True)
    async with talking(app) as talker:
        await talker.subscribe("a")
        for request in (HistoryRequest("a", 1), PresenceRequest("a"), PresenceStatsRequest("a")):
            assert await talker.ask(request) == Error(103, "permission denied")
