"""Messages in both directions, of every kind, right and wrong."""

import pytest


@pytest.mark.parametrize("message", ["", "naïve ☃ 🎉", "x" * 65_536, b"", b"\x00\xff" * 100, b"x" * 65_536], ids=len)
async def test_every_message_comes_back(place, message):
    async with place.connect("/connection/echo") as peer:
        await peer.send(message)
        assert await peer.receive() == message


async def test_many_messages_keep_their_order(place):
    async with place.connect("/connection/many/300") as peer:
        assert [await peer.receive() for _ in range(300)] == [str(number) for number in range(300)]


async def test_an_event_has_only_the_key_that_it_uses(place):
    async with place.connect("/connection/events") as peer:
        await peer.send("t", b"\x01")
        assert await peer.receive_json() == {"type": "websocket.receive", "text": "t"}
        assert await peer.receive_json() == {"type": "websocket.receive", "bytes": "01"}


@pytest.mark.parametrize(
    ("kind", "messages", "got"),
    [
        ("text", ["a", b"b", "c"], ["a", "ValueError", "c"]),
        ("bytes", [b"\x0a", "b", b"\x0c"], ["0a", "ValueError", "0c"]),
        (
            "json",
            ['{"a": 1}', b"[2]", "{", b"\xff", "NaN", "null"],
            [{"a": 1}, [2], "JSONDecodeError", "JSONDecodeError", "JSONDecodeError", None],
        ),
    ],
)
async def test_receiving_goes_on_after_a_wrong_message(place, kind, messages, got):
    async with place.connect(f"/connection/receive/{kind}") as peer:
        await peer.send(*messages)
        assert [(await peer.receive_json())["got"] for _ in messages] == got


@pytest.mark.parametrize(
    ("kind", "messages", "got"),
    [
        ("text", ["a", "b"], ["a", "b"]),
        ("bytes", [b"\x0a", b""], ["0a", ""]),
        ("json", ["1", b"[]"], [1, []]),
    ],
)
async def test_iterating_ends_with_the_connection(place, key, kind, messages, got):
    async with place.connect(f"/connection/iterate/{kind}/{key}") as peer:
        await peer.send(*messages)
    assert await place.notes(key, len(got) + 1) == [*got, "the end"]


async def test_every_kind_of_sending(place):
    async with place.connect("/connection/send") as peer:
        assert [await peer.receive() for _ in range(4)] == [
            "text é",
            b"\x00bytes",
            '{"a":[1,null,"é"]}',
            b"[true]",
        ]
        assert await peer.closed() == (1000, "")


async def test_what_cannot_be_sent_is_refused_before_anything_goes_out(place):
    async with place.connect("/connection/send-wrongly") as peer:
        assert await peer.receive_json() == [*["ValueError"] * 4, "TypeError", "TypeError"]


async def test_a_message_that_is_too_big(place):
    async with place.connect("/connection/echo") as peer:
        await peer.send("x" * 65_537)
        assert (await peer.closed())[0] == 1009
