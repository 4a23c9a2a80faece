"""Attacks on an open WebSocket: frames, messages, groups, slowness, authentication."""

import json
import struct
from contextlib import suppress

import trio

from tests.attack.app import SECRET, TOKEN
from tests.attack.registry import ONLY_RUNNER, OURS, attack, frames
from tests.attack.target import Target, dumped, head, sent, status_of, text
from tests.server.support import Raw, frame, upgrade

MASK = bytes(4)


def raw(first: int, payload: bytes = b"", *, masked: bool = True) -> bytes:
    """A frame whose first byte is free."""
    return bytes([first, (0x80 if masked else 0) | len(payload)]) + (MASK if masked else b"") + payload


# The protocol

T = "protocol violations"
frames(T, "an unmasked frame", 1002, raw(0x81, b"a", masked=False))
frames(T, "a reserved bit", 1002, raw(0xA1, b"a"))
frames(T, "compressed, unasked", 1002, raw(0xC1, b"a"))
for opcode in (3, 7, 11, 15):
    frames(T, f"opcode {opcode}", 1002, raw(0x80 | opcode))
frames(T, "a fragmented ping", 1002, raw(0x09))
frames(T, "a ping of 126 bytes", 1002, b"\x89\xfe\0\x7e" + MASK + bytes(126))
frames(T, "a continuation of nothing", 1002, raw(0x80, b"a"))
frames(T, "a message within a message", 1002, raw(0x01, b"a"), raw(0x81, b"b"))
frames(T, "a length with its highest bit set", 1002, b"\x82\xff" + b"\xff" * 8 + MASK)
frames(T, "a length of more bytes than it needs", 1002, b"\x81\xfe\0\1" + MASK + b"a")
frames(T, "a length of eight bytes for three", 1002, b"\x82\xff" + (3).to_bytes(8, "big") + MASK + b"abc")
frames(T, "a close of one byte", 1002, raw(0x88, b"\x03"))
for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
    frames(T, f"close code {code}", 1002, raw(0x88, struct.pack("!H", code)))
frames(T, "a close reason that is not UTF-8", 1007, raw(0x88, b"\x03\xe8\xff"))
for name, data in {
    "cut": b"\xe2\x82",
    "overlong": b"\xc0\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "latin": b"\xff",
}.items():
    frames(T, f"text that is not UTF-8: {name}", 1007, raw(0x81, data))
frames(T, "text that goes wrong in its second fragment", 1007, raw(0x01, b"ok"), raw(0x00, b"\xff"))

# Sizes

T = "oversize, fragment flood"
frames(T, "a message of 4 EiB, announced", 1009, b"\x82\xff" + (1 << 62).to_bytes(8, "big") + MASK)
frames(T, "a message of 64 KiB and one", 1009, b"\x82\xff" + (65_537).to_bytes(8, "big") + MASK + bytes(65_537))
frames(T, "fragments of 64 KiB", 1009, *[b"\x02\xfe\xff\xff" + MASK + bytes(65_535), b"\0\x82" + MASK + b"ab"])
frames(T, "a thousand empty fragments", 1009, raw(0x02), raw(0x00) * 1000)


@attack("oversize, fragment flood")
async def multibyte_text_beyond_the_limit(target: Target) -> None:
    """Bytes count, not characters."""
    data = "\u20ac".encode() * 22_000
    await target.closes("/echo", b"\x81\xff" + len(data).to_bytes(8, "big") + MASK + data, code=1009)


# JSON


@attack("JSON bombs")
async def json_bombs(target: Target) -> None:
    bombs = ["[" * 30_000, "[" * 1000 + "]" * 1000, '{"a":' * 200 + "1" + "}" * 200, "NaN", "-Infinity", "1e999", "1,"]
    async with target.websocket("/room/bombs") as client:
        await client.frame()
        for bomb in bombs:
            await client.send(frame(1, bomb.encode()))
            assert b"error" in (await client.frame())[1], bomb[:20]
        await client.send(text("[[1]]"))
        assert (await client.frame())[1] == b"[[1]]"


@attack("JSON bombs")
async def a_million_keys(target: Target) -> None:
    data = ("{" + '"a":1,' * 10_000 + '"a":2}').encode()
    async with target.websocket("/room/keys") as client:
        await client.frame()
        await client.send(b"\x81\xfe" + len(data).to_bytes(2, "big") + MASK + data)
        assert (await client.frame())[1] == b'{"a":2}'


frames("JSON bombs", "no JSON, and nobody catches it", 1003, text("{"), path="/groups")
frames("JSON bombs", "bytes that are no text, and nobody catches it", 1007, raw(0x82, b"\xff"), path="/groups")


# Floods


@attack("floods")
async def pings_unread(target: Target) -> None:
    async with target.websocket(receive_buffer=4096) as client:
        with trio.move_on_after(5):
            await sent(client, raw(0x89, bytes(125)) * 20_000)


@attack("floods")
async def echoes_unread(target: Target) -> None:
    """We stop reading from a peer that does not read, and in the end reset it."""
    async with target.websocket(receive_buffer=4096) as client:
        with trio.move_on_after(10) as scope:
            while await sent(client, b"\x82\xfe\xff\xff" + MASK + bytes(65_535)):
                pass
        assert not scope.cancelled_caught or not target.is_runner


@attack("floods")
async def echoes_of_a_synchronous_consumer_unread(target: Target) -> None:
    """Nothing of it waits for room, so that the overflow policy ends it."""
    async with target.websocket("/sync", receive_buffer=4096) as client:
        with trio.move_on_after(10) as scope:
            while await sent(client, b"\x82\xfe\xff\xff" + MASK + bytes(65_535)):
                pass
        assert not scope.cancelled_caught or not target.is_runner


@attack("floods")
async def many_small_messages_to_a_synchronous_consumer(target: Target) -> None:
    """In one turn it is called so often and no more; everything is answered."""
    async with target.websocket("/sync") as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sent, client, frame(1, b"x") * 20_000)
            for _ in range(20_000):
                assert await client.frame() == (1, b"x")


@attack("floods")
async def messages_that_nobody_receives(target: Target) -> None:
    async with target.websocket("/busy") as client:
        with trio.move_on_after(2):
            await sent(client, text("x" * 100) * 50_000)


@attack("message rate")
async def too_many_messages(target: Target) -> None:
    async with target.websocket("/limited") as client:
        await sent(client, text("x") * 200)
        assert await client.closed() == 1008


@attack("connections")
async def connect_and_reset(target: Target) -> None:
    for number in range(150):
        client = await target.connect()
        if number % 3:
            await client.send(upgrade("/echo"))
        if number % 3 == 2:
            await head(client)
        client.reset()


@attack("connections", ONLY_RUNNER)
async def more_connections_than_one_address_may_have(target: Target) -> None:
    clients = [await target.connect("127.0.0.66") for _ in range(130)]
    try:
        answers = [await head(client) for client in clients[100:]]
        assert all(status_of(answer) in (503, None) for answer in answers)
    finally:
        for client in clients:
            client.reset()


# Slowness


@attack("slow reader")
async def a_member_that_does_not_read(target: Target) -> None:
    """It is put out of its group; those who send to the group do not wait."""
    async with target.websocket("/room/slow", receive_buffer=4096) as idler, target.websocket("/room/slow") as talker:
        await idler.frame()
        await talker.frame()
        message = json.dumps("x" * 60_000).encode()
        data = b"\x81\xfe" + len(message).to_bytes(2, "big") + MASK + message
        for _ in range(60):
            await talker.send(data)
            assert len((await talker.frame())[1]) == len(message)


@attack("slow reader", OURS)
async def a_reader_that_trickles(target: Target) -> None:
    """Takes a few bytes now and then, so that it never quite stops: that is not reading."""
    async with target.websocket(receive_buffer=4096) as client, trio.open_nursery() as nursery:
        nursery.start_soon(_trickle, client)
        with trio.move_on_after(15) as scope:
            while await sent(client, b"\x82\xfe\xff\xff" + MASK + bytes(65_535)):
                pass
        assert not scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def _trickle(client: Raw) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while await client.stream.receive_some(10):
            await trio.sleep(0.1)


@attack("half open", ONLY_RUNNER)
async def silence_after_the_handshake(target: Target) -> None:
    """Answers no ping."""
    async with target.websocket() as client:
        pings = await client.rest()
        assert pings.count(b"\x89") >= 1


@attack("half open")
async def half_closed(target: Target) -> None:
    async with target.websocket() as client:
        await client.stop_sending()
        await client.rest()


@attack("half open")
async def reset_with_messages_unread(target: Target) -> None:
    for _ in range(20):
        async with target.websocket() as client:
            await client.send(text("x") * 12)
            client.reset()


@attack("half open")
async def talks_on_after_its_close(target: Target) -> None:
    async with target.websocket() as client:
        await sent(client, raw(0x88, b"\x03\xe8") + text("x") * 100)
        assert await client.closed() == 1000


# Groups


@attack("names")
async def group_names(target: Target) -> None:
    names = ["", "a\n", "a b", "é", "a" * 101, "a/b", "\0", 7, None, ["a"], {"a": 1}]
    async with target.websocket("/groups") as client:
        for name in names:
            await client.send(dumped(name))
            assert (await client.frame())[1] == b'"refused"', name
        for number in range(130):
            await client.send(dumped(f"g{number}"))
            assert (await client.frame())[1] == (b'"joined"' if number < 128 else b'"refused"')


@attack("oversize broadcast")
async def a_broadcast_that_fits_in_no_outbox(target: Target) -> None:
    async with target.websocket("/amplify") as client:
        await client.send(dumped(2_000_000))
        assert (await client.frame())[1] == b"MessageTooBig"


@attack("authorization")
async def forbidden_groups(target: Target) -> None:
    await target.closes("/room/forbidden", code=1008)
    async with target.websocket("/read-only") as client:
        await client.send(dumped("let me speak"))
        assert await client.closed() == 1008


# Authentication


@attack("authentication")
async def nobody(target: Target) -> None:
    async with target.websocket("/private") as client:
        assert await client.closed() == 4001  # in time
    for message in ("{}", "[]", "x", '{"token": 1}', '{"token": "wrong"}', "[" * 5000):
        await target.closes("/private", _text(message), code=4001)


@attack("authentication")
async def a_token_that_expires(target: Target) -> None:
    async with target.websocket("/private") as client:
        begun = trio.current_time()
        await client.send(dumped({"token": TOKEN}))
        assert (await client.frame())[1] == b"alice"
        await trio.sleep(0.6)
        await client.send(dumped({"token": TOKEN}))
        assert (await client.frame())[1] == b"refreshed"
        assert await client.closed() == 4001
        assert trio.current_time() - begun > 2.5


def _text(message: str) -> bytes:
    data = message.encode()
    return text(message) if len(data) < 126 else b"\x81\xfe" + len(data).to_bytes(2, "big") + MASK + data


# Leaks


@attack("close reasons")
async def a_crash_tells_nothing(target: Target) -> None:
    async with target.websocket("/crash") as client:
        await client.send(text("boo"))
        opcode, payload = await client.frame()
    assert opcode == 8
    assert payload == b"\x03\xf3"
    assert SECRET.encode() not in payload


@attack("log forgery")
async def forged_lines(target: Target) -> None:
    """The command looks into the log afterwards."""
    await target.request(
        b"GET /file/x%0d%0aFORGED?token=TOPSECRET HTTP/1.1\r\nHost: a\r\nConnection: close\r\nReferer: \x1b[31m\r\n\r\n"
    )
    await target.handshake("/crash?token=TOPSECRET")
    async with target.websocket("/crash?token=TOPSECRET") as client:
        await client.send(frame(1, b"\r\nFORGED \x1b[31m"))
        await client.closed()
