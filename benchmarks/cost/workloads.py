"""What is counted. Each workload runs in slices, and of the sorted slices the lowest or the middle ones count.

What the clock starts now and then, a sweep or a ping, falls into some short slices, of which a slow hour has more: the
lowest are without it. Connections are another matter: what they leave is collected every now and then, which belongs
to their cost, and so only the extremes are left out.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

import attrs

from .callgrind import CountedServer
from .client import Client, encode_frame

BATCH: Final = 32  # echoes that fall into one turn of the loop
MEMBERS: Final = 200  # of the group that is published to
ECHO: Final = encode_frame(b"x" * 64)
PUBLISHED: Final = b'{"t":"' + b"y" * 100 + b'"}'
PUBLISHED_LONG: Final = b'{"t":"' + b"y" * 1080 + b'"}'  # 1,088 bytes, and 39 compressed
OFFER: Final = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
LOWEST: Final = (0.0, 0.2)
MIDDLE: Final = (0.1, 0.9)

Step = Callable[[], None]
Preparation = AbstractContextManager[Step]


@attrs.frozen
class Workload:
    """A column of the table.

    Args:
        title: of the column.
        prepare: sets up the clients; its block gets a step, which is `units` units.
        units: of which the cost is shown, in one step.
        steps: in a slice.
        slices: that are counted.
        warm: steps before the first slice, until the interpreter has specialised everything.
        part: of the sorted slices, whose mean counts.
        is_ours: only our own lanes have it.
    """

    name: str
    title: str
    prepare: Callable[[CountedServer], Preparation]
    units: int
    steps: int
    slices: int
    warm: int
    part: tuple[float, float] = LOWEST
    is_ours: bool = False

    def measure(self, server: CountedServer) -> float:
        """Return the instructions of one unit. Raises: RuntimeError, OSError."""
        with self.prepare(server) as step:
            server.settle()
            for _ in range(self.warm):
                step()
            totals = [server.count()]
            for _ in range(self.slices):
                for _ in range(self.steps):
                    step()
                totals.append(server.count())
        return mean_of_part(totals, self.part) / (self.units * self.steps)


def mean_of_part(totals: Sequence[int], part: tuple[float, float]) -> float:
    """Return the mean of those differences between running totals that are between two quantiles."""
    slices = sorted(after - before for before, after in itertools.pairwise(totals))
    first, last = (round(share * len(slices)) for share in part)
    return statistics.mean(slices[first : max(last, first + 1)])


@contextmanager
def _lone_echo(server: CountedServer, path: str = "/echo") -> Iterator[Step]:
    with _connected(server, path) as client:

        def step() -> None:
            client.send(ECHO)
            client.receive()
            server.wait_until_at_rest()

        yield step


@contextmanager
def _echo_of_many(server: CountedServer, path: str = "/echo") -> Iterator[Step]:
    with ExitStack() as stack:
        clients = [stack.enter_context(_connected(server, path)) for _ in range(BATCH)]

        def step() -> None:
            with server.held():
                for client in clients:
                    client.send(ECHO)
            for client in clients:
                client.receive()

        yield step


def _lone_sync(server: CountedServer) -> Preparation:
    return _lone_echo(server, "/sync")


def _sync_of_many(server: CountedServer) -> Preparation:
    return _echo_of_many(server, "/sync")


@contextmanager
def _connect_and_close(server: CountedServer, path: str = "/echo") -> Iterator[Step]:
    def step() -> None:
        with _connected(server, path) as client:
            client.say_close()
            server.wait_until_at_rest()
        server.wait_until_at_rest()

    yield step


def _connect_and_close_sync(server: CountedServer) -> Preparation:
    return _connect_and_close(server, "/sync")


@contextmanager
def _delivery(server: CountedServer, published: bytes = PUBLISHED, more: str = "") -> Iterator[Step]:
    with ExitStack() as stack:
        members = [stack.enter_context(_connected(server, "/sub", more)) for _ in range(MEMBERS)]
        publisher = stack.enter_context(_connected(server, "/pub"))
        message = encode_frame(published)

        def step() -> None:
            publisher.send(message)
            for member in members:
                member.receive()
            server.wait_until_at_rest()

        yield step


def _long_delivery(server: CountedServer) -> Preparation:
    return _delivery(server, PUBLISHED_LONG)


def _compressed_delivery(server: CountedServer) -> Preparation:
    return _delivery(server, PUBLISHED_LONG, OFFER)


@contextmanager
def _connected(server: CountedServer, path: str, more: str = "") -> Iterator[Client]:
    """A client, connected while the server was held: connection and request, or ClientHello, arrive together."""
    with ExitStack() as stack:
        with server.held():
            client = stack.enter_context(Client(server.port, path, more, tls=server.is_tls))
        client.finish_handshake()
        server.wait_until_at_rest()
        yield client


# The collector of our lanes looks for cycles with every eighth connection, hence sixteen in a slice.
WORKLOADS: Final = (
    Workload("echo", "lone echo", _lone_echo, units=1, steps=25, slices=16, warm=100),
    Workload("echo32", "echo of 32", _echo_of_many, units=BATCH, steps=2, slices=16, warm=10),
    Workload("sync", "lone echo, sync", _lone_sync, units=1, steps=25, slices=16, warm=100, is_ours=True),
    Workload("sync32", "echo of 32, sync", _sync_of_many, units=BATCH, steps=2, slices=16, warm=10, is_ours=True),
    Workload("connect", "connect and close", _connect_and_close, units=1, steps=16, slices=15, warm=32, part=MIDDLE),
    Workload(
        *("connsync", "connect and close, sync", _connect_and_close_sync),
        units=1,
        steps=16,
        slices=15,
        warm=32,
        part=MIDDLE,
        is_ours=True,
    ),
    Workload("delivery", "delivery to 200", _delivery, units=MEMBERS, steps=1, slices=24, warm=12),
    Workload("long", "1,088 bytes to 200", _long_delivery, units=MEMBERS, steps=1, slices=24, warm=12, is_ours=True),
    Workload(
        *("deflate", "the same, compressed", _compressed_delivery),
        units=MEMBERS,
        steps=1,
        slices=24,
        warm=12,
        is_ours=True,
    ),
)
TITLES: Final = {workload.name: workload.title for workload in WORKLOADS}
