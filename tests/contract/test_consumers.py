"""Consumers: hooks, encodings, groups, and the one goodbye."""

import pytest


@pytest.mark.parametrize(
    ("kind", "greeting", "message", "data"),
    [
        ("any", "hi", "text", "text"),
        ("any", "hi", b"\x01", "01"),
        ("json", "hi", '{"a":1}', {"a": 1}),
        ("json", "hi", b"[]", []),
        ("text", "hello", "text", "text"),
        ("bytes", "an instance", b"\x01", "01"),
    ],
)
async def test_hooks_and_encodings(place, key, kind, greeting, message, data):
    for _ in range(2):  # each connection counts from one: it has an instance of its own
        async with place.connect(f"/consumers/{kind}/{key}") as peer:
            await peer.send(message)
            assert await peer.receive_json() == 1
            await peer.close(4321)
            code = 4321 if place.tells_codes else 1006
            assert await place.notes(key, 3) == [["connect", greeting], ["receive", data], ["disconnect", code]]


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("json", "{", 1003),
        ("json", b"\xff", 1007),
        ("text", b"bytes", 1003),
        ("bytes", "text", 1003),
    ],
)
async def test_what_does_not_decode_closes_once(place, key, kind, message, code):
    async with place.connect(f"/consumers/{kind}/{key}") as peer:
        await peer.send(message)
        assert (await peer.closed())[0] == code
    assert (await place.notes(key, 2))[1:] == [["disconnect", code]]


@pytest.mark.parametrize(("message", "end"), [("fail", (1011, "")), ("close", (4003, "asked to"))])
async def test_one_goodbye_whatever_ends_it(place, key, message, end):
    async with place.connect(f"/consumers/text/{key}") as peer:
        await peer.send(message)
        assert await peer.closed() == end
    assert await place.notes(key, 3) == [["connect", "hello"], ["receive", message], ["disconnect", end[0]]]


async def test_a_goodbye_to_one_that_vanished(place, key):
    async with place.connect(f"/consumers/any/{key}") as peer:
        await peer.vanish()
        assert await place.notes(key, 2) == [["connect", "hi"], ["disconnect", 1006]]


async def test_a_room_counts_whoever_is_leaving(place, key):
    async with place.connect(f"/consumers/room/{key}") as one:
        assert await one.receive_json() == ["came", 1]
        async with place.connect(f"/consumers/room/{key}") as other:
            for peer in (one, other):
                assert await peer.receive_json() == ["came", 2]
            await other.send_json("not to myself")
            assert await one.receive_json() == "not to myself"
        assert await one.receive_json() == ["left", 1]
