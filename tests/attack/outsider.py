"""Attacks that somebody thought of who has read the documentation alone."""

import trio

from tests.attack.handshakes import KEYED, get, handshake
from tests.attack.messages import raw
from tests.attack.registry import BOTH, ONLY_RUNNER, attack, request
from tests.attack.target import Target, sent, text
from tests.server.support import upgrade

MIB = 1024 * 1024

T = "odd handshakes"
request(T, "two keys", handshake(KEYED, KEYED), 400)
request(T, "a method in lower case", upgrade().replace(b"GET", b"get"), 400, 404, 405)
request(T, "HTTP/1.0", upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"), 400, 505)
request(T, "HTTP/9.9", upgrade().replace(b"HTTP/1.1", b"HTTP/9.9"), 400, 505)
request(T, "a POST that upgrades", upgrade().replace(b"GET", b"POST", 1), 400, 404, 405, 408)
request(T, "an upgrade to everything", upgrade("/crash").replace(b"websocket", b"websocket, h2c") + raw(0x88), 101, 400)
request(
    T,
    "a thousand subprotocols",
    upgrade("/never", f"Sec-WebSocket-Protocol: {', '.join(f'p{n}' for n in range(1500))}"),
    400,  # more than one header may have
    503,
)
request(T, "an extension that never ends", upgrade("/never", f"Sec-WebSocket-Extensions: {'a;' * 4000}a"), 400, 503)
request(T, "a percent sign and nothing", upgrade("/room/%zz%") + raw(0x88), 101, 400)
request(T, "a fragment", upgrade("/echo#fragment"), 400, 404)
request(T, "a space in the path", upgrade("/echo /x"), 400)
request(T, "a very long path", get("/" + "a/" * 7000), 404, 414, 431)
request(T, "a number of five thousand digits", get("/number/" + "9" * 5000), 404)
request(T, "a query of nothing but separators", upgrade("/header?" + "&" * 8000) + raw(0x88), 101)
request(T, "a host with a path", handshake(KEYED, host="Host: a/b?c"), 400)


@attack(T)
async def odd_cookies(target: Target) -> None:
    for cookie in ("=", ";" * 5000, "a" * 8000, 'a="\\777', "a=b; " * 1500, "$Version=1", "__proto__=x", "\xe9=\xff"):
        async with target.websocket("/cookies", f"Cookie: {cookie}") as client:
            assert (await client.frame())[0] == 1


@attack("cross-site hijacking")
async def origins_that_look_like_ours(target: Target) -> None:
    lookalikes = [
        "http://localhost.",
        "http://LOCALHOST.evil",
        "http://localhost:99999",
        "https://localhost:80",
        "localhost",
    ]
    lookalikes += [
        "http://localhost#.evil",
        "http://localhost\\.evil",
        "http://[::1]",
        "http://localhost, http://localhost",
        " ",
    ]
    for origin in lookalikes:
        status = await target.handshake("/echo", f"Origin: {origin}")
        assert status in (400, 403), (origin, status)


@attack("connections", ONLY_RUNNER)
async def a_flood_before_accept(target: Target) -> None:
    """What comes before the handler has accepted is not kept."""
    before = (await target.state())["resident"]
    async with await target.connect() as client:
        await client.send(upgrade("/never"))
        total = 0
        with trio.move_on_after(0.8):
            while total < 64 * MIB and await sent(client, bytes(MIB)):
                total += MIB
        grown = (await target.state())["resident"] - before
    assert grown < 16 * MIB, f"{grown} bytes"


@attack("slow reader", BOTH)
async def a_response_that_nobody_reads(target: Target) -> None:
    async with await target.connect(receive_buffer=4096) as client:
        await client.send(get("/big"))
        await trio.sleep(0.5)


@attack("connections", BOTH)
async def thousands_of_pipelined_requests_unread(target: Target) -> None:
    async with await target.connect(receive_buffer=4096) as client:
        with trio.move_on_after(2):
            await sent(client, get("/").replace(b"close", b"keep-alive") * 20_000)


@attack("odd handshakes", ONLY_RUNNER)
async def a_request_and_then_an_upgrade_at_once(target: Target) -> None:
    async with await target.connect() as client:
        await client.send(get("/").replace(b"close", b"keep-alive") + upgrade("/echo") + text("early"))
        answer = await client.until(b"early")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"\r\n\r\nhelloHTTP/1.1 101" in answer, answer
        assert answer.endswith(b"\x81\x05early"), answer


@attack("names")
async def odd_json_for_names(target: Target) -> None:
    """Keys and names that mean something elsewhere."""
    async with target.websocket("/groups") as client:
        for name in (
            '"__proto__"',
            '"default"',
            '"*"',
            '"a:b@c.d-e"',
            '"\\u0061"',
            '"\\u0000"',
            '"\\uff41"',
            "[]",
            "1e3",
            "true",
        ):
            await client.send(text(name))
            assert (await client.frame())[1] in (b'"joined"', b'"refused"')


@attack("authentication")
async def odd_tokens(target: Target) -> None:
    tokens = [
        '{"token":""}',
        '{"token":"\\u0000"}',
        '{"token":"é"}',
        '{"token":["correct horse"]}',
        '{"token":{}}',
        '"x"',
        "0",
    ]
    for token in tokens:
        await target.closes("/private", text(token), code=4001)
    await target.closes("/private", raw(0x82, b"\xff\xfe"), code=4001)
