"""Consumers whose `on_receive` is a plain function mean the same on every transport."""

from contextlib import suppress

import pytest
from trio_websocket import ConnectionClosed


@pytest.mark.parametrize(
    ("kind", "message", "data"),
    [
        ("any", "text", "text"),
        ("any", b"\x01", "01"),
        ("json", '{"a":1}', {"a": 1}),
        ("json", b"[]", []),
        ("text", "text", "text"),
        ("bytes", b"\x01", "01"),
    ],
)
async def test_hooks_and_encodings(place, key, kind, message, data):
    for _ in range(2):  # each connection counts from one: it has an instance of its own
        async with place.connect(f"/synchronous/{kind}/{key}") as peer:
            await peer.send(message)
            assert await peer.receive() == "1"
            await peer.close(4321)
            code = 4321 if place.tells_codes else 1006
            assert await place.notes(key, 3) == ["connect", ["receive", data], ["disconnect", code]]


async def test_what_comes_during_on_connect_comes_first_and_in_order(place, key):
    async with place.connect(f"/synchronous/slow/{key}") as peer:
        await peer.send("a", "b", "c")
        assert await peer.receive() == "hello"
        await peer.send("d", "e")
        assert [await peer.receive() for _ in range(5)] == ["1", "2", "3", "4", "5"]
        assert await place.notes(key, 6) == ["connect", *(["receive", letter] for letter in "abcde")]


async def test_many_messages_at_once_stay_in_order(place):
    messages = [f"{number}" for number in range(200)]
    async with place.connect("/synchronous/echo") as peer:
        await peer.send(*messages)
        assert [await peer.receive() for _ in messages] == messages


@pytest.mark.parametrize(("message", "end"), [("fail", (1011, "")), ("close", (4003, "asked to"))])
async def test_one_goodbye_whatever_ends_it(place, key, message, end):
    async with place.connect("/synchronous/echo") as other, place.connect(f"/synchronous/text/{key}") as peer:
        await peer.send(message)
        assert await peer.closed() == end
        await other.send("still there")
        assert await other.receive() == "still there"
    assert await place.notes(key, 3) == ["connect", ["receive", message], ["disconnect", end[0]]]


async def test_nothing_is_handled_after_a_close(place, key):
    async with place.connect(f"/synchronous/any/{key}") as peer:
        with suppress(ConnectionClosed):  # the server may be quicker
            await peer.send("one", "close", "two", "three")
        assert await peer.receive() == "1"
        assert await peer.closed() == (4003, "asked to")
    assert await place.notes(key, 4) == ["connect", ["receive", "one"], ["receive", "close"], ["disconnect", 4003]]


async def test_a_goodbye_to_one_that_vanished(place, key):
    async with place.connect(f"/synchronous/any/{key}") as peer:
        await peer.send("x")
        assert await peer.receive() == "1"
        await peer.vanish()
        assert await place.notes(key, 3) == ["connect", ["receive", "x"], ["disconnect", 1006]]


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [("json", "{", 1003), ("json", b"\xff", 1007), ("text", b"bytes", 1003), ("bytes", "text", 1003)],
)
async def test_what_does_not_decode_closes_once(place, key, kind, message, code):
    async with place.connect(f"/synchronous/{kind}/{key}") as peer:
        await peer.send(message)
        assert (await peer.closed())[0] == code
    assert (await place.notes(key, 2))[1:] == [["disconnect", code]]


async def test_messages_of_a_declared_type(place):
    async with place.connect("/synchronous/typed") as peer:
        await peer.send('{"x":1}', '{"x":"no"}', "{", '{"x":2}')
        answers = [await peer.receive_json() for _ in range(4)]
    assert (answers[0], answers[3]) == (1, 2)
    assert all("problems" in str(answer) or "error" in str(answer) for answer in answers[1:3]), answers


async def test_hooks_of_ones_own_for_bad_messages(place):
    async with place.connect("/synchronous/lenient") as peer:
        await peer.send('{"x":"no"}', "{", '{"x":2}')
        assert [await peer.receive_json() for _ in range(3)] == ["invalid", "not decoded", 2]


async def test_groups(place, key):
    async with place.connect(f"/synchronous/room/{key}") as one, place.connect(f"/synchronous/room/{key}") as two:
        await one.send_json("join")
        assert await one.receive_json() == "channel_added"
        await two.send_json("join")
        assert await two.receive_json() == "channel_exist"
        await one.send_json("hi")
        assert [await one.receive_json(), await one.receive_json()] == [["group", "hi"], ["direct", "hi"]]
        assert await two.receive_json() == ["group", "hi"]
        await two.send_json("leave")
        assert await two.receive_json() == "channel_removed"
        await one.send_json("leave")
        assert await one.receive_json() == "group_removed"


async def test_tasks(place):
    async with place.connect("/synchronous/working") as peer:
        await peer.send("a")
        assert await peer.receive() == "A"
        await peer.send("fail")
        assert await peer.closed() == (1011, "")


async def test_a_secure_channel_sends_for_its_user_alone(place):
    async with place.connect("/synchronous/guarded?token=right") as peer:
        await peer.send_json(1)
        assert await peer.receive_json() == 1
        await peer.send_json(2)
        assert (await peer.closed())[0] == 4001


async def test_the_rate_limit_of_messages(place):
    async with place.connect("/synchronous/limited") as peer:
        await peer.send("1", "2", "3", "4", "5")
        assert [await peer.receive() for _ in range(3)] == ["1", "2", "3"]
        assert await peer.closed() == (1008, "too many messages")


async def test_answers_to_a_heartbeat_are_not_handled(place):
    async with place.connect("/synchronous/heartbeat") as peer:
        await peer.send('{"type": "heartbeat"}', "x")
        assert await peer.receive() == "x"
