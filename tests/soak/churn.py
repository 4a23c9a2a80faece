"""Clients that come, join, talk, and leave in every way there is."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from tests.attack.target import Target, dumped, head, sent
from tests.server.support import Raw, frame, upgrade

ROOMS: Final = 25
OVER_TLS: Final = 0.15  # of the connections
OVER_HTTP: Final = 0.15
TO_SYNCHRONOUS: Final = 0.2
GET: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
LIMIT: Final = 20.0  # seconds for one cycle

Ending = Callable[[Raw], Awaitable[None]]
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError, AssertionError)


@attrs.define
class Counts:
    """What has happened so far."""

    cycles: int = 0
    sent: int = 0
    heard: int = 0
    requests: int = 0  # over HTTP, answered
    refused: int = 0  # no WebSocket was to be had
    cut: int = 0  # the server ended it before we did
    slow: int = 0  # cycles that did not end in time: none should
    endings: dict[str, int] = attrs.field(factory=dict)


async def closes(client: Raw) -> None:
    await sent(client, frame(8, b"\x03\xe8"))
    await client.rest()


async def resets(client: Raw) -> None:
    await trio.lowlevel.checkpoint()
    client.reset()


async def vanishes(client: Raw) -> None:
    """In the middle of a frame."""
    await sent(client, frame(1, b"never whole" * 5)[:20])


async def half_closes(client: Raw) -> None:
    await getattr(client.stream, "transport_stream", client.stream).send_eof()  # beneath TLS, where there is TLS
    await client.rest()


async def breaks_the_protocol(client: Raw) -> None:
    await sent(client, b"\xff\xff\xff")
    await client.rest()


async def stalls(client: Raw) -> None:
    """Has others talk to it, and does not read."""
    await sent(client, dumped("x" * 60) * 300)
    await trio.sleep(random.uniform(0.1, 1.5))
    client.reset()


ENDINGS: Final[list[Ending]] = [closes, closes, closes, resets, vanishes, half_closes, breaks_the_protocol, stalls]


async def cycle(target: Target, counts: Counts) -> None:
    """One connection's life."""
    source = f"127.0.3.{random.randrange(1, 250)}"
    async with await target.connect(source, tls=random.random() < OVER_TLS) as client:
        if random.random() < OVER_HTTP:
            await client.send(GET + b"\r\n" + GET + b"Connection: close\r\n\r\n")
            answers = await client.rest()
            counts.requests += answers.count(b"HTTP/1.1 200")
            return
        if random.random() < 0.05:  # does not even ask
            await sent(client, upgrade()[: random.randrange(1, 60)])
            client.reset()
            return
        if random.random() < TO_SYNCHRONOUS:
            await _echoes(client, counts)
            return
        await client.send(upgrade(f"/room/{random.randrange(ROOMS)}"))
        if b" 101 " not in await head(client):
            counts.refused += 1
            return
        await _talk(client, counts)


async def _echoes(client: Raw, counts: Counts) -> None:
    """The life of one to a synchronous consumer."""
    await client.send(upgrade("/sync"))
    if b" 101 " in await head(client):
        await _talk(client, counts)
    else:
        counts.refused += 1


async def _talk(client: Raw, counts: Counts) -> None:
    for number in range(random.randrange(6)):
        await client.send(dumped({"number": number, "text": "x" * random.randrange(60)}))
        counts.sent += 1
        await client.frame()
        counts.heard += 1
    ending = random.choice(ENDINGS)
    counts.endings[ending.__name__] = counts.endings.get(ending.__name__, 0) + 1
    await ending(client)


async def churn(target: Target, counts: Counts) -> None:
    """One cycle after the other."""
    while True:
        with trio.move_on_after(LIMIT) as scope:
            try:
                await cycle(target, counts)
            except GONE:
                counts.cut += 1
        counts.slow += scope.cancelled_caught
        counts.cycles += 1


@asynccontextmanager
async def churning(target: Target, clients: int) -> AsyncIterator[Counts]:
    """So many clients at a time, for as long as the block runs."""
    counts = Counts()
    async with trio.open_nursery() as nursery:
        for _ in range(clients):
            nursery.start_soon(churn, target, counts)
        yield counts
        nursery.cancel_scope.cancel()
