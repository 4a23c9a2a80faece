"""What workers and the hub say to each other, as bytes: as this release says it, and as each version was recorded."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import trio

from nexios_trio.core.message import Message, Position
from nexios_trio.core.message_codec import SavedMessage, encode_message
from nexios_trio.engines.base import HistoryLimits
from nexios_trio.engines.hub.bodies import (
    pack_answer,
    pack_keep,
    pack_page,
    pack_position,
    pack_presence,
    pack_query,
    pack_renewal,
    pack_text,
    pack_texts,
)
from nexios_trio.engines.hub.engine import HubEngine
from nexios_trio.engines.hub.frames import (
    DELIVER,
    HAS_KEEP,
    HAS_KEY,
    HELD,
    HUB_VERSION,
    IS_TRANSIENT,
    WATCHED,
    Frame,
    FrameReader,
    Kind,
    frame,
)
from nexios_trio.engines.hub.hub import Hub
from nexios_trio.engines.hub.link import HubLink
from nexios_trio.engines.presence import PresenceEdit, PresencePage, PresentClient, Renewal
from nexios_trio.engines.saved_page import SavedPage

DEADLINE = 10.0
EPOCH = "0123456789ab.0"
LIMITS = HistoryLimits(max_bytes=1000, max_messages=10, max_age=60.0, overflow="trim")
SINCE = Position(0, EPOCH)


def at(offset: int) -> Position:
    return Position(offset, EPOCH)


def made(payload: object, number: int = 0, **options: Any) -> Message:
    message = Message(payload, 1_700_000_000.0, **options)
    message._id = bytes(range(number, number + 16))
    return message


KEPT, PASSING = made("hello"), made({"n": 1}, 1, is_transient=True)
OF_ANOTHER = made("hi", 2)
PAGE = SavedPage((SavedMessage(made("hello", position=at(1))),), True, at(1), has_more=False)
CLIENT = "00010203-0405-0607-0809-0a0b0c0d0e0f"
RENEWAL = Renewal("node", 1, 30.0, (PresenceEdit("room", CLIENT, True, "ann", '{"n":1}', 5.0),), True)
LATE = Renewal("another", 7, inf)
PRESENT = PresencePage(at(1), (PresentClient(CLIENT, "ann", '{"n":1}'),))

# By what is said: as this release says it. A worker with one box, called "app", whose requests are numbered from 1.
SAID: dict[str, bytes] = {
    "OPEN": frame(Kind.OPEN, 1, 0, "", bytes((HUB_VERSION,)), b"app"),
    "OPENED": frame(Kind.OPENED, 1, 1),
    "WATCH": frame(Kind.WATCH, 2, 1, "room"),
    "WATCHED": frame(Kind.WATCHED, 2, 1, "room", pack_position(at(0))),
    "POST": frame(
        Kind.POST,
        3,
        1,
        "room",
        bytes((HAS_KEEP | HAS_KEY,)),
        pack_keep(LIMITS),
        pack_text("key"),
        encode_message(KEPT),
    ),
    "POSTED": frame(Kind.POSTED, 3, 1, "room", bytes((DELIVER | WATCHED,)), pack_position(at(1))),
    "POST, transient": frame(Kind.POST, 4, 1, "room", bytes((IS_TRANSIENT,)), encode_message(PASSING)),
    "POSTED, transient": frame(Kind.POSTED, 4, 1, "room", bytes((DELIVER | WATCHED,)), pack_position(None)),
    "HISTORY": frame(Kind.HISTORY, 5, 1, "room", pack_query(SINCE, 7, None)),
    "PAGE": frame(Kind.PAGE, 5, 1, "room", *pack_page(PAGE)),
    "GROUPS": frame(Kind.GROUPS, 6, 1),
    "NAMES": frame(Kind.NAMES, 6, 1, "", pack_texts(["room"])),
    "ASK": frame(Kind.ASK, 7, 1, "", b"how are you"),
    "ANSWERED": frame(Kind.ANSWERED, 7, 0, "", *pack_answer(0, b"well")),
    "FLUSH": frame(Kind.FLUSH, 8, 1, "room"),
    "FLUSHED": frame(Kind.FLUSHED, 8, 1),
    "RENEW": frame(Kind.RENEW, 9, 1, "", pack_renewal(RENEWAL)),
    "RENEWED": frame(Kind.RENEWED, 9, 1, "", bytes((HELD,))),
    "PRESENCE": frame(Kind.PRESENCE, 10, 1, "room"),
    "PRESENT": frame(Kind.PRESENT, 10, 1, "room", *pack_presence(PRESENT)),
    "RENEW, lost": frame(Kind.RENEW, 11, 1, "", pack_renewal(LATE)),
    "RENEWED, lost": frame(Kind.RENEWED, 11, 1, "", b"\0"),
    "MESSAGE": frame(Kind.MESSAGE, 0, 1, "room", pack_position(at(2)), encode_message(OF_ANOTHER)),
    "GAP": frame(Kind.GAP, 0, 1, "room", pack_position(at(2)), pack_position(at(5))),
    "ASKED": frame(Kind.ASKED, 1, 1, "", b"and you"),
    "ANSWER": frame(Kind.ANSWER, 1, 1, "", b"uoy dna"),
    "UNWATCH": frame(Kind.UNWATCH, 0, 1, "room"),
    "CLOSE": frame(Kind.CLOSE, 0, 1),
    "REFUSED": frame(Kind.REFUSED, 9, 1, "", pack_text("no")),
}
# By version. What a release has said never changes: a new version gets rows of its own.
RECORDED: dict[int, dict[str, str]] = {
    1: {
        "OPEN": "0000000c010000000100000001617070",
        "OPENED": "000000082000000001000100",
        "WATCH": "0000000c0400000002000104726f6f6d",
        "WATCHED": "000000232400000002000104726f6f6d00000000000000000e3031323334353637383961622e30",
        "POST": (
            "000000860300000003000104726f6f6d06004c7b226d61785f6279746573223a20313030302c20226d61785f6d657373"
            "61676573223a2031302c20226d61785f616765223a2036302e302c20226f766572666c6f77223a20227472696d227d00"
            "036b6579010101000102030405060708090a0b0c0d0e0f41d954fc40000000000000002268656c6c6f22"
        ),
        "POSTED": "000000242300000003000104726f6f6d0300000000000000010e3031323334353637383961622e30",
        "POST, transient": (
            "000000330300000004000104726f6f6d010100030102030405060708090a0b0c0d0e0f1041d954fc4000000000000000"
            "7b226e223a317d"
        ),
        "POSTED, transient": "000000162300000004000104726f6f6d03ffffffffffffffff00",
        "HISTORY": (
            "000000330600000005000104726f6f6d0000000000000007ffffffffffffffff00000000000000000e30313233343536"
            "37383961622e30"
        ),
        "PAGE": (
            "000000692600000005000104726f6f6d010000000100000000000000010e3031323334353637383961622e3000000000"
            "000000010e3031323334353637383961622e3000000026010101000102030405060708090a0b0c0d0e0f41d954fc4000"
            "0000000000002268656c6c6f22"
        ),
        "GROUPS": "000000080700000006000100",
        "NAMES": "0000000e27000000060001000004726f6f6d",
        "ASK": "000000130900000007000100686f772061726520796f75",
        "ANSWERED": "0000000f2a0000000700000000000177656c6c",
        "FLUSH": "0000000c0800000008000104726f6f6d",
        "FLUSHED": "000000082800000008000100",
        "MESSAGE": (
            "000000462200000000000104726f6f6d00000000000000020e3031323334353637383961622e30010101020304050607"
            "08090a0b0c0d0e0f101141d954fc400000000000000022686922"
        ),
        "GAP": (
            "0000003a2500000000000104726f6f6d00000000000000020e3031323334353637383961622e3000000000000000050e"
            "3031323334353637383961622e30"
        ),
        "ASKED": "0000000f2900000001000100616e6420796f75",
        "ANSWER": "0000000f0a00000001000100756f7920646e61",
        "UNWATCH": "0000000c0500000000000104726f6f6d",
        "CLOSE": "000000080200000000000100",
        "REFUSED": "0000000c210000000900010000026e6f",
    },
}
RECORDED[2] = {
    **RECORDED[1],
    "OPEN": "0000000c010000000100000002617070",
    "RENEW": (
        "000000720b000000090001005b226e6f6465222c20312c2033302e302c20747275652c205b5b22726f6f6d222c202230"
        "303031303230332d303430352d303630372d303830392d306130623063306430653066222c20747275652c2022616e6e"
        "222c20227b5c226e5c223a317d222c20352e305d5d5d"
    ),
    "RENEWED": "000000092b0000000900010001",
    "PRESENCE": "0000000c0c0000000a000104726f6f6d",
    "PRESENT": (
        "000000612c0000000a000104726f6f6d00000000000000010e3031323334353637383961622e305b5b22303030313032"
        "30332d303430352d303630372d303830392d306130623063306430653066222c2022616e6e222c20227b5c226e5c223a"
        "317d225d5d"
    ),
    "RENEW, lost": "000000270b0000000b0001005b22616e6f74686572222c20372c206e756c6c2c2066616c73652c205b5d5d",
    "RENEWED, lost": "000000092b0000000b00010000",
}
BYTES = {name: bytes.fromhex(data) for name, data in RECORDED[max(RECORDED)].items()}


class Peer:
    """The other end of a line, which says and expects bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self.reader = FrameReader()
        self.frames: list[Frame] = []
        self.epoch = EPOCH  # which the other end has in place of the recorded one

    async def says(self, *names: str) -> None:
        await self.stream.send_all(b"".join(BYTES[name] for name in names).replace(EPOCH.encode(), self.epoch.encode()))

    async def says_frame(self, *said: Any) -> None:
        await self.stream.send_all(frame(*said))

    async def hears(self, name: str) -> None:
        """Take as many bytes as are recorded: they must be those."""
        expected, data = BYTES[name], b""
        with trio.fail_after(DEADLINE):
            while len(data) < len(expected):
                data += await self.stream.receive_some(len(expected) - len(data))
        if name == "WATCHED":
            self.epoch = data[-len(EPOCH) :].decode()
        assert data.replace(self.epoch.encode(), EPOCH.encode()) == expected, name

    async def next(self) -> Frame:
        with trio.fail_after(DEADLINE):
            while not self.frames:
                self.frames += self.reader.feed(await self.stream.receive_some(10_000))
        return self.frames.pop(0)


@asynccontextmanager
async def hub_with(count: int) -> AsyncIterator[list[Peer]]:
    """Workers of a hub, as bytes."""
    hub = Hub()
    async with trio.open_nursery() as nursery:
        peers = []
        for _ in range(count):
            theirs, ours = socket.socketpair()
            nursery.start_soon(hub.serve, theirs)
            peers.append(Peer(ours))
        yield peers
        for peer in peers:
            await peer.stream.aclose()


class Worker:
    """An engine of a worker, and what it was given."""

    def __init__(self, link: HubLink) -> None:
        self.engine = HubEngine(link)
        self.engine.name = "app"
        self.got: list[Any] = []
        self.gaps: list[Any] = []
        self.has_gap = trio.Event()
        self.engine.attach(lambda group, message: self.got.append((group, message.payload, message.position)), self.gap)
        self.engine._answer = lambda request: request[::-1]

    def gap(self, group: str, after: Position | None, upto: Position | None) -> None:
        self.gaps.append((group, after, upto))
        self.has_gap.set()


async def _play(play: Callable[["Peer"], Awaitable[None]], sock: socket.socket) -> None:
    peer = Peer(sock)
    async with peer.stream:
        await play(peer)


@asynccontextmanager
async def worker_of(play: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[Worker]:
    """A worker whose hub is `play`; it must have come to its end when the block has."""
    theirs, ours = socket.socketpair()
    link = HubLink(ours, DEADLINE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        async with trio.open_nursery() as players:
            players.start_soon(_play, play, theirs)
            yield Worker(link)
        nursery.cancel_scope.cancel()
