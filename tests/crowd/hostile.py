"""The half that means harm: each attack a generator that yields how many seconds it wants to sleep.

Each hostile client does one thing again and again, about once in `PACE` seconds, and is connected for all that time.
"""

import heapq
import os
import random
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from typing import Final

from tests.crowd.wire import connect, frame, reset, source_of, upgrade

NETWORK: Final = 2
PACE: Final = 30.0
ANSWER: Final = 1.0  # seconds that an answer is given
SMALL: Final = 4096  # bytes, of those who do not read

Life = Generator[float, None, None]
Attack = Callable[[socket.socket, int], Life]


def _upgraded(sock: socket.socket, path: str) -> Life:
    """Connected; then silent for about `PACE`."""
    sock.send(upgrade(path))
    yield random.uniform(0.8, 1.2) * PACE


def slow_handshakes(sock: socket.socket, rooms: int) -> Life:
    for byte in upgrade("/echo"):
        sock.send(bytes((byte,)))
        yield 0.5


def no_reads_in_a_room(sock: socket.socket, rooms: int) -> Life:
    """A member among the innocents, for as long as it is let."""
    sock.send(upgrade(f"/room/{random.randrange(rooms)}"))
    while True:
        yield PACE
        sock.send(frame(10, b""))  # here, and alive


def no_reads_of_echoes(sock: socket.socket, rooms: int) -> Life:
    yield from _upgraded(sock, "/echo")
    for _ in range(40):
        sock.send(frame(2, bytes(16_000)))
        yield 0.1


def oversize(sock: socket.socket, rooms: int) -> Life:
    yield from _upgraded(sock, "/echo")
    sock.send(b"\x82\xff" + (70_000).to_bytes(8, "big") + bytes(4) + bytes(70_000))
    yield ANSWER


def fragments(sock: socket.socket, rooms: int) -> Life:
    yield from _upgraded(sock, "/echo")
    sock.send(b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 4200)
    yield ANSWER


def bad_utf8(sock: socket.socket, rooms: int) -> Life:
    yield from _upgraded(sock, "/echo")
    sock.send(frame(1, b"\xc0\xaf\xff"))
    yield ANSWER


def floods_of_messages(sock: socket.socket, rooms: int) -> Life:
    yield from _upgraded(sock, "/limited")
    sock.send(frame(1, b"flood") * 2000)
    yield ANSWER


def floods_of_pings(sock: socket.socket, rooms: int) -> Life:
    yield from _upgraded(sock, "/echo")
    sock.send(frame(9, b"flood") * 2000)
    yield ANSWER


def resets(sock: socket.socket, rooms: int) -> Life:
    yield from _upgraded(sock, "/echo")
    sock.send(frame(1, b"never whole")[:8])


ATTACKS: Final[tuple[Attack, ...]] = (
    slow_handshakes,
    no_reads_in_a_room,
    no_reads_of_echoes,
    oversize,
    fragments,
    bad_utf8,
    floods_of_messages,
    floods_of_pings,
    resets,
)
UNREADING: Final = (no_reads_in_a_room, no_reads_of_echoes, floods_of_pings)


def life(port: int, number: int, rooms: int, only: str, counts: Counter[str]) -> Life:
    """One hostile client, for ever."""
    attacks = [attack for attack in ATTACKS if only in attack.__name__]
    attack = attacks[number % len(attacks)]
    buffer = SMALL if attack in UNREADING else None
    yield PACE * random.random()  # they come one after the other
    while True:
        sock = connect(port, source_of(number // len(ATTACKS), NETWORK), buffer)
        try:
            yield ANSWER
            yield from attack(sock, rooms)
        except OSError:
            pass  # sent away, which is right
        counts[attack.__name__] += 1
        reset(sock)


def run(port: int, count: int, rooms: int, only: str, niceness: int, parent: Connection) -> None:
    """A process of its own. Sends the counts when the parent says anything, and ends."""
    os.nice(niceness)  # elsewhere, attackers do not share our processors
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counts: Counter[str] = Counter()
    lives = [life(port, number, rooms, only, counts) for number in range(count)]
    heap = [(0.0, number) for number in range(count)]
    while not parent.poll():
        for _ in range(100):  # then look whether it is enough, however busy this machine is
            now = time.monotonic()
            if heap[0][0] > now:
                time.sleep(0.002)
                break
            number = heap[0][1]
            heapq.heapreplace(heap, (now + next(lives[number]), number))
    parent.send(dict(counts))
