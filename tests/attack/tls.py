"""Attacks on TLS itself."""

import ssl
from contextlib import suppress

import trio

from tests.attack.registry import attack
from tests.attack.target import TLS, Target, head, sent, status_of
from tests.server.support import CLIENT_TLS, Raw, frame, upgrade

ONLY_TLS = (TLS,)
STALLED = 60  # handshakes


async def beneath(target: Target) -> Raw:
    """A connection to the port of TLS, without TLS."""
    return Raw(await target.connect_tcp(None, None, target.tls_port))


def hello() -> bytes:
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = CLIENT_TLS.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@attack("slow handshake", ONLY_TLS)
async def half_a_hello_and_silence(target: Target) -> None:
    await _stall(target, hello()[:100])


@attack("slow handshake", ONLY_TLS)
async def a_hello_and_silence(target: Target) -> None:
    await _stall(target, hello())


@attack("slow handshake", ONLY_TLS)
async def tcp_and_silence(target: Target) -> None:
    await _stall(target, b"")


async def _stall(target: Target, data: bytes) -> None:
    clients = [await beneath(target) for _ in range(STALLED)]
    for client in clients:
        await client.send(data)
    for client in clients:
        async with client:
            await client.rest()  # the server lets go of each


@attack("slow handshake", ONLY_TLS)
async def a_hello_byte_by_byte(target: Target) -> None:
    async with await beneath(target) as client:
        for byte in hello():
            if not await sent(client, bytes([byte])):
                break
            await trio.sleep(0.001)
        assert (await client.rest()).startswith(b"\x16\x03\x03")  # the server's


@attack("malformed handshake", ONLY_TLS)
async def http_in_place_of_tls(target: Target) -> None:
    async with await beneath(target) as client:
        await sent(client, upgrade())
        assert not (await client.rest()).startswith(b"HTTP/")


@attack("malformed handshake", ONLY_TLS)
async def hellos_that_are_none(target: Target) -> None:
    whole = hello()
    for at in range(0, len(whole), 7):
        async with await beneath(target) as client:
            await sent(client, whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
            client.reset()


@attack("malformed handshake", ONLY_TLS)
async def noise_in_place_of_a_record(target: Target) -> None:
    async with target.websocket() as client:
        under = Raw(client.stream.transport_stream)
        await sent(under, b"\x17\x03\x03\x40\x11" + bytes(16_401))
        await under.rest()


@attack("floods", ONLY_TLS)
async def records_of_a_byte(target: Target) -> None:
    async with target.websocket() as client:
        for byte in frame(1, b"x" * 100) * 50:
            await client.send(bytes([byte]))
        for _ in range(50):
            assert await client.frame() == (1, b"x" * 100)


@attack("floods", ONLY_TLS)
async def records_full_of_the_shortest_frames(target: Target) -> None:
    async with target.websocket() as client:
        for _ in range(50):
            if not await sent(client, frame(10, b"") * 2700):  # pongs that nobody asked for
                break


@attack("half open", ONLY_TLS)
async def an_end_of_tls_in_place_of_a_close(target: Target) -> None:
    async with target.websocket() as client:
        with trio.move_on_after(1):
            await client.stream.unwrap()


@attack("connections", ONLY_TLS)
async def handshakes_that_are_given_up(target: Target) -> None:
    for _ in range(100):
        client = await beneath(target)
        await client.send(hello())
        client.reset()
    async with await target.connect() as other:
        await other.send(upgrade())
        assert status_of(await head(other)) == 101
