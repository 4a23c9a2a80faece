"""More attacks of somebody who has read the documentation alone: games with frames, closes, names, time and memory."""

import json
import zlib

import trio

from tests.attack.app import TOKEN
from tests.attack.handshakes import get
from tests.attack.messages import MASK, raw
from tests.attack.registry import ONLY_RUNNER, OURS, attack
from tests.attack.target import Target, dumped, head, sent, status_of, text
from tests.server.support import frame, upgrade

MIB = 1024 * 1024


@attack("slow handshake", OURS)
async def a_message_that_comes_byte_by_byte(target: Target) -> None:
    """It may: others do not wait for it, and its bytes are heard as life."""
    async with target.websocket() as client:
        for byte in text("slow"):
            await client.send(bytes([byte]))
            await trio.sleep(0.02)
        assert (await client.frame())[1] == b"slow"


@attack("half open", ONLY_RUNNER)
async def half_a_frame_and_silence(target: Target) -> None:
    """A frame that was begun does not keep its sender alive."""
    async with target.websocket() as client:
        await client.send(b"\x81\xfe\xff\xff" + MASK + b"begun")
        await client.rest()


@attack("floods", OURS)
async def pings_without_end(target: Target) -> None:
    """Of those that come together, the last ones are answered; who reads the answers stays connected."""
    async with target.websocket() as client:
        for _ in range(20):
            await client.send(raw(0x89, b"p") * 3000)
        await client.send(text("after the flood"))
        opcode, payload = await client.frame()
        while opcode == 10:
            opcode, payload = await client.frame()
        assert payload == b"after the flood"


@attack("floods", OURS)
async def pongs_that_nobody_asked_for(target: Target) -> None:
    async with target.websocket() as client:
        await client.send(raw(0x8A, b"\xff" * 8) * 10_000 + text("still here"))
        assert (await client.frame())[1] == b"still here"


@attack("floods")
async def control_frames_within_fragments(target: Target) -> None:
    async with target.websocket() as client:
        await client.send(raw(0x01, b"a") + (raw(0x89, b"p") + raw(0x00, b"b")) * 100 + raw(0x80, b"c"))
        opcode, payload = await client.frame()
        while opcode == 10:
            opcode, payload = await client.frame()
        assert payload == b"a" + b"b" * 100 + b"c"


@attack("decompression bombs", ONLY_RUNNER)
async def compression_that_was_offered_and_not_taken(target: Target) -> None:
    """Compression is off: the offer is ignored, and a compressed bomb is a protocol violation."""
    packer = zlib.compressobj(wbits=-15)
    bomb = (packer.compress(bytes(8 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    async with await target.connect() as client:
        await client.send(upgrade("/echo", "Sec-WebSocket-Extensions: permessage-deflate"))
        answer = await head(client)
        assert status_of(answer) == 101
        assert b"permessage-deflate" not in answer
        await client.send(b"\xc2\xfe" + len(bomb).to_bytes(2, "big") + MASK + bomb)
        assert await client.closed() == 1002


@attack("close games")
async def many_closes(target: Target) -> None:
    async with target.websocket() as client:
        await sent(client, raw(0x88, b"\x03\xe8") + raw(0x88, b"\x03\xe9") * 100)
        assert await client.closed() == 1000
        assert b"\x88" not in await client.rest()  # one is enough


@attack("close games", ONLY_RUNNER)
async def a_close_that_is_never_answered(target: Target) -> None:
    """We close first, and the peer talks on as if nothing had happened: in the end it is reset."""
    async with target.websocket("/limited") as client:
        await client.send(text("x") * 200)
        assert await client.closed() == 1008
        with trio.fail_after(10):
            while await sent(client, text("I am still talking") * 50):
                await trio.sleep(0.05)


@attack("close games")
async def a_close_before_the_handshake_is_answered(target: Target) -> None:
    for _ in range(10):
        async with await target.connect() as client:
            await client.send(upgrade("/private") + raw(0x88, b"\x03\xe8"))
            await client.stop_sending()
            await client.rest()


@attack("memory")
async def rooms_without_end(target: Target) -> None:
    """Each keeps a history of what was said in it; nothing else may be kept of a room that is empty."""
    before = (await target.state())["resident"]
    message = dumped("x" * 100)
    for number in range(100):
        async with target.websocket(f"/room/r{number}") as client:
            await client.send(message)
            await client.frame()
    assert (await target.state())["resident"] - before < 16 * MIB


@attack("memory")
async def joining_and_never_leaving(target: Target) -> None:
    """The same group, ten thousand times: one membership."""
    before = (await target.state())["groups"]
    async with target.websocket("/groups") as client:
        await client.send(dumped("again") * 500)
        for _ in range(500):
            assert (await client.frame())[1] == b'"joined"'
        assert (await target.state())["groups"] <= before + 1


@attack("names")
async def names_that_are_nearly_a_name(target: Target) -> None:
    """What would be one name for a careless comparison, and is none for ours."""
    async with target.websocket("/room/secret") as insider, target.websocket("/groups") as client:
        await insider.frame()
        for name in ("secret\u0000", "secret\u200b", "s\u0435cret", " secret", "secret\r", "secret/", "SECRET\n"):
            await client.send(dumped(name))
            assert (await client.frame())[1] == b'"refused"', name
        await client.send(dumped("SECRET"))
        assert (await client.frame())[1] == b'"joined"'
        await insider.send(dumped("only for us"))
        assert (await insider.frame())[1] == b'"only for us"'
        await client.send(dumped("SECRET"))  # the next thing that it hears answers this
        assert (await client.frame())[1] == b'"joined"'


@attack("names")
async def messages_that_look_like_events(target: Target) -> None:
    """Keys that mean something to the server, or to another protocol, are data."""
    message = {"type": "websocket.disconnect", "code": 1000, "event": "on_connect", "__class__": "x", "exclude": "all"}
    async with target.websocket("/room/events") as client:
        await client.frame()
        await client.send(frame(1, json.dumps(message).encode()))
        opcode, payload = await client.frame()
        assert (opcode, json.loads(payload)) == (1, message)


@attack("authentication")
async def a_refresh_that_comes_too_late(target: Target) -> None:
    """A token does not bring back a connection that has expired, not even one that is in the same packet as the end."""
    async with target.websocket("/private") as client:
        await client.send(dumped({"token": TOKEN}))
        assert (await client.frame())[1] == b"alice"
        await trio.sleep(1.9)
        for _ in range(20):
            if not await sent(client, dumped({"token": "wrong"})):
                break
            await trio.sleep(0.02)
        assert await client.closed() == 4001


@attack("authentication")
async def messages_before_the_token(target: Target) -> None:
    """The first message decides; one behind it is not a second try."""
    await target.closes("/private", dumped({"token": "wrong"}), dumped({"token": TOKEN}), code=4001)


@attack("proxy headers")
async def headers_that_rewrite_the_request(target: Target) -> None:
    lines = (
        "X-Original-URL: /state",
        "X-Rewrite-URL: /state",
        "X-HTTP-Method-Override: DELETE",
        "X-Forwarded-Host: evil",
    )
    answer = await target.request(get("/", *lines))
    assert answer.endswith(b"hello"), answer
    origin = await target.handshake("/echo", "X-Forwarded-Host: evil.example", "Origin: http://evil.example")
    assert origin == 403


@attack("proxy headers")
async def forwarding_headers_without_end(target: Target) -> None:
    chain = ", ".join(["6.6.6.6"] * 800)
    answer = await target.request(get("/client", f"X-Forwarded-For: {chain}", 'Forwarded: for="[::1";;,=,for=_x'))
    assert b"127.0.0.1" in answer, answer
