"""Attacks before there is a WebSocket: requests, handshakes, origins, paths, headers."""

import trio

from tests.attack.registry import BOTH, ONLY_RUNNER, attack, request
from tests.attack.target import TLS, Target, head, sent, status_of
from tests.server.support import KEY, Raw, upgrade

WEBSOCKET = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def handshake(*lines: str, path: str = "/echo", host: str = "Host: localhost") -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\n{host}\r\n{WEBSOCKET}".encode("latin-1")
        + "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        + b"\r\n"
    )


# What would end a process that is not guarded

T = "malformed handshake"
KEYED = f"Sec-WebSocket-Key: {KEY}"
request(T, "non-ascii subprotocol", handshake(KEYED, "Sec-WebSocket-Protocol: \xff"), 400)
request(T, "non-ascii extension", handshake(KEYED, "Sec-WebSocket-Extensions: \xff"), 101, 400)
request(T, "non-ascii connection", handshake(KEYED, "Connection: \xff"), 400)
request(T, "non-ascii host", handshake(KEYED, host="Host: \xff"), 400)
request(T, "an empty host", handshake(KEYED, host="Host:"), 400)
request(
    T,
    "absurd window bits",
    upgrade("/crash", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=abc") + b"\x88\x80\0\0\0\0",
    101,
)
request(T, "no host", handshake(KEYED, host="X: y"), 400)
request(T, "two hosts", handshake(KEYED, host="Host: a\r\nHost: b"), 400)
request(T, "no key", handshake(), 400)
request(T, "short key", handshake("Sec-WebSocket-Key: AAAA"), 400)
request(T, "version 8", upgrade().replace(b"Version: 13", b"Version: 8"), 426)
request(T, "a handshake with a body", upgrade("/echo", "Content-Length: 5") + b"hello", 400, 501)
request(
    T,
    "a chunked handshake",
    upgrade("/echo", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    400,
    501,
)
request(T, "a folded header", upgrade("/echo", "X-A: b", " folded"), 400)
request(T, "a null byte in a header", upgrade("/echo", "X-A: \0"), 400)
request(T, "h2c", get("/", "Upgrade: h2c", "HTTP2-Settings: !!!", "Connection: Upgrade"), 200, 400)
request(T, "http/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 505, 400)
request(T, "a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400)
request(T, "noise", bytes(range(128, 256)) * 8, 400)
request(T, "a request of line ends", b"\r\n" * 20_000, 431, 400, 408, None)
request(T, "two lengths", b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400)
request(T, "length and chunks", b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n", 400)  # fmt: skip
request(
    T, "chunks in HTTP/1.0", b"POST /upload HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400
)
request(T, "a bad chunk", b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400)
request(T, "a negative length", b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400)
request(T, "lines that end with LF", upgrade().replace(b"\r\n", b"\n"), 101, 400, None)

# Sizes

T = "oversize request"
request(T, "an endless header", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200_000, 431, 400)
request(T, "ten thousand headers", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 431, 400)
request(T, "an endless request line", b"GET /" + b"a" * 100_000, 431, 400)
request(T, "a body beyond the limit", b"POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        b"Content-Length: 2000000\r\n\r\n" + bytes(2_000_000), 413, None)  # fmt: skip

# Paths

T = "paths"
for name, path in {
    "a NUL": "/file/%00",
    "a line end": "/file/a%0d%0aSet-Cookie:x",
    "an escape sequence": "/file/%1b[31m",
    "dots": "/file/../secret",
    "encoded dots": "/file/%2e%2e",
    "an empty segment": "//file/a",
    "not UTF-8": "/file/%ff",
    "a backslash and dots": "/file/..%5csecret",
    "an absolute form": "http://other/file/a",
}.items():
    request(T, f"{name} in the path", get(path), 400)
    request(T, f"{name} in the path of a handshake", upgrade(path.replace("/file", "/room")), 400)
request(T, "an encoded slash", get("/file/a%2fb%2fc"), 200)
request(T, "an encoded slash in place of one", get("/file%2fa"), 404)


# Origins


@attack("cross-site hijacking")
async def foreign_origins(target: Target) -> None:
    scheme = "https" if target.server == TLS else "http"
    own = f"{scheme}://localhost:{target.port}"
    for origin in ("http://evil.example", "null", f"{own}.evil.example", "http://localhost@evil.example", "file://"):
        status = await target.handshake("/echo", f"Origin: {origin}")
        assert status == 403, (origin, status)
    two = await target.handshake("/echo", f"Origin: {scheme}://localhost", "Origin: http://evil.example")
    assert two in (400, 403), two
    assert await target.handshake("/echo", f"Origin: {scheme}://localhost") == 101
    assert await target.handshake("/echo") == 101  # a program


# Slowness


@attack("slow handshake")
async def silence(target: Target) -> None:
    async with await target.connect() as client:
        await client.rest()


@attack("slow handshake", ONLY_RUNNER)
async def a_byte_now_and_then(target: Target) -> None:
    """Bare hypercorn's timeout begins anew with every byte."""
    async with await target.connect() as client:
        for byte in upgrade("/echo", *["X: y"] * 1000):
            if not await sent(client, bytes([byte])):
                break
            if answer := await _answer_within(client, 0.05):
                assert status_of(answer) in (408, None)
                break
        else:
            raise AssertionError("a handshake may take for ever")


async def _answer_within(client: Raw, seconds: float) -> bytes:
    with trio.move_on_after(seconds):
        return await head(client) or b"closed"
    return b""


@attack("slow handshake")
async def never_accepted(target: Target) -> None:
    async with await target.connect() as client:
        await client.send(upgrade("/never"))
        assert status_of(await head(client)) in (503, 403, 500)


@attack("slow handshake", ONLY_RUNNER)
async def a_slow_body(target: Target) -> None:
    async with await target.connect() as client:
        await client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        assert status_of(await client.rest()) in (408, None)


# What the application does wrong


@attack("headers we send")
async def unoffered_subprotocol(target: Target) -> None:
    assert await target.handshake("/unoffered") == 500


@attack("headers we send")
async def split_response(target: Target) -> None:
    async with await target.connect() as client:
        await client.send(upgrade("/header?name=a%0d%0aSet-Cookie:%20session=stolen"))
        answer = await head(client)
    assert status_of(answer) == 500
    assert b"stolen" not in answer


@attack("proxy headers")
async def forged_address(target: Target) -> None:
    for line in ("X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6"):
        answer = await target.request(get("/client", line))
        assert b"127.0.0.1" in answer, answer


@attack("JSON bombs")
async def a_json_bomb_as_a_body(target: Target) -> None:
    for body in (b"[" * 100_000, b"[" * 500 + b"]" * 500, b"NaN", b"1e999", b'"\\ud800"'):
        data = b"POST /json HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        assert await target.status(data + body) == 400


@attack("connections", BOTH)
async def pipelined_requests(target: Target) -> None:
    answer = await target.request(get("/").replace(b"close", b"keep-alive") * 20 + get("/"))
    assert answer.count(b"HTTP/1.1 200") == 21
