"""The half that does nothing wrong: members of rooms, each of which now and then hears one of its own.

A message says when it was sent, so whoever hears it knows how long that took: sender and members are one process.
"""

import random
import select
import socket
import time
from typing import Final

import attrs

from tests.crowd.wire import connect, frame, source_of, split, upgrade

NETWORK: Final = 1
ARRIVING: Final = 200  # connections on their way at a time
PATIENCE: Final = 60.0  # seconds for everybody to be there
LATE: Final = 5.0  # seconds after the last message


class Innocent:
    """One member. `left` is what is still to send before it is one, then what has come of a frame."""

    __slots__ = ("is_member", "left", "room", "sock")

    def __init__(self, sock: socket.socket, room: int) -> None:
        self.sock = sock
        self.room = room
        self.left = upgrade(f"/room/{room}")
        self.is_member = False


@attrs.define
class Innocents:
    """All of them, and what they have seen."""

    port: int
    count: int
    rooms: int
    lost: int = 0  # connections
    sent: int = 0  # messages
    due: int = 0  # deliveries
    latencies: list[float] = attrs.field(factory=list)  # seconds, one for each delivery
    _members: list[list[Innocent]] = attrs.field(factory=list)
    _by_descriptor: dict[int, Innocent] = attrs.field(factory=dict)
    _epoll: select.epoll = attrs.field(factory=select.epoll)
    _random: random.Random = attrs.field(factory=lambda: random.Random(6))

    def arrive(self) -> None:
        """Everybody becomes a member."""
        self._members = [[] for _ in range(self.rooms)]
        deadline = time.monotonic() + PATIENCE
        started = 0
        while (there := sum(map(len, self._members))) < self.count:
            while started < self.count and started - there < ARRIVING:
                self._start(started)
                started += 1
            self._wait(0.05)
            if self.lost or time.monotonic() > deadline:
                raise RuntimeError(f"{there} of {self.count} innocents are there, {self.lost} were refused")

    def _start(self, number: int) -> None:
        sock = connect(self.port, source_of(number, NETWORK))
        # As browsers do. Else the kernel keeps a message that follows a pong until that is acknowledged, for 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._by_descriptor[sock.fileno()] = Innocent(sock, number % self.rooms)
        self._epoll.register(sock, select.EPOLLOUT)

    def talk(self, seconds: float, rate: float) -> None:
        """`rate` messages a second, at random times in random rooms; until all have been heard, or are late."""
        now = time.monotonic()
        end, following = now + seconds, now
        while now < end:
            while following <= now:
                self._say()
                following += self._random.expovariate(rate)
            self._wait(min(following, end) - now)
            now = time.monotonic()
        while len(self.latencies) < self.due and time.monotonic() < end + LATE:
            self._wait(0.05)

    def _say(self) -> None:
        members = self._members[self._random.randrange(self.rooms)]
        if not members:
            return
        sender = self._random.choice(members)
        try:
            sender.sock.send(frame(1, b'"%019.9f"' % time.monotonic()))
        except OSError:
            self._lose(sender)
            return
        self.sent += 1
        self.due += len(members)

    def _wait(self, seconds: float) -> None:
        for descriptor, events in self._epoll.poll(max(seconds, 0.0)):
            innocent = self._by_descriptor.get(descriptor)
            if innocent is not None:
                self._ready(innocent, events)

    def _ready(self, innocent: Innocent, events: int) -> None:
        try:
            if events == select.EPOLLOUT:
                request, innocent.left = innocent.left, b""
                innocent.sock.send(request)
                self._epoll.modify(innocent.sock, select.EPOLLIN)
                return
            data = innocent.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._lose(innocent)
            return
        heard_at = time.monotonic()
        if innocent.is_member:
            self._heard(innocent, data, heard_at)
        else:
            self._joined(innocent, data)

    def _joined(self, innocent: Innocent, data: bytes) -> None:
        head, mark, rest = (innocent.left + data).partition(b"\r\n\r\n")
        innocent.left = head + mark + rest
        if b'"welcome"' in rest:
            innocent.left = b""
            innocent.is_member = True
            self._members[innocent.room].append(innocent)
        elif mark and not head.startswith(b"HTTP/1.1 101"):
            self._lose(innocent)

    def _heard(self, innocent: Innocent, data: bytes, heard_at: float) -> None:
        frames, innocent.left = split(innocent.left + data if innocent.left else data)
        for opcode, payload in frames:
            if opcode == 1:
                self.latencies.append(heard_at - float(payload[1:-1]))
            elif opcode == 9:
                innocent.sock.send(frame(10, payload))
            else:
                self._lose(innocent)

    def _lose(self, innocent: Innocent) -> None:
        self.lost += 1
        self._by_descriptor.pop(innocent.sock.fileno(), None)
        innocent.sock.close()
        if innocent.is_member:
            self._members[innocent.room].remove(innocent)
