"""What the ways not taken cost: for each row the way that the code goes, and the one that it does not.

`docs/decisions` draws its conclusions from these. A row whose ratio comes near 1 says that its page is due for another
look. CPU time of one thread; the best of some rounds.
"""

import gc
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from math import inf
from typing import Any, Final

import attrs
import trio
import trio.testing

from nexios_trio.application.gc_tuning import tuned_collector
from nexios_trio.core.deadlines import Deadlines
from nexios_trio.core.message import Batch, Message
from nexios_trio.groups.broadcast import Broadcaster
from nexios_trio.pubsub.group import Membership, Receiver
from nexios_trio.pubsub.index import GroupIndex
from nexios_trio.pubsub.writing import WriteNow
from nexios_trio.server.ordinary_head import read_ordinary_head
from nexios_trio.server.request_head import parse_upgrade

from .micro import PAYLOAD
from .report import aligned

ROUNDS: Final = 5
MEMBERS = 400
OBJECTS = 1_000_000  # that connections hold
FRAME: Final = b"\x81\x78" + b"x" * 120
JOINED: Final = 16  # frames
REQUEST: Final = (
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@attrs.frozen
class Choice:
    """A decision, and what it was between.

    Args:
        decision: the page's number.
        unit: of both figures, and of what.
        taken, other: what it is called, and the measurement.
    """

    decision: str
    unit: str
    taken: tuple[str, Callable[[], float]]
    other: tuple[str, Callable[[], float]]


@contextmanager
def _pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(count)]
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
                end.setblocking(False)
        yield pairs


def _seconds(run: Callable[[], object]) -> float:
    begun = time.thread_time()
    run()
    return time.thread_time() - begun


# 001: cohorts


class _Inline(Receiver):
    """Has room: the group writes to it at once."""

    def attach(self, membership: Membership[Any]) -> WriteNow:
        return len


class _Offered(Receiver):
    """Is given each batch by a call of its own, as somebody with something queued is."""

    def offer_batch(self, membership: Membership[Any], batch: Batch, written: int = 0) -> None:
        len(batch.wire(membership.frame_index))


def _delivery(receiver: Receiver) -> float:
    """µs of ours for a delivery, without the kernel's part."""
    index: GroupIndex[int] = GroupIndex()
    broadcaster = Broadcaster(index, {})
    for member in range(1000):
        index.add(member, "room", receiver)

    def run() -> None:
        for _ in range(20):
            broadcaster.deliver("room", Message(PAYLOAD, 0.0))

    return _seconds(run) / 20_000 * 1e6


def _written(frames: int) -> float:
    """µs for 16 frames to a socket, so many at a time."""
    with _pairs(MEMBERS) as pairs:
        data = FRAME * frames

        def run() -> None:
            for ours, _ in pairs:
                for _ in range(JOINED // frames):
                    ours.send(data)

        return _seconds(run) / MEMBERS * 1e6


# 002: inline send; 006: no lock in the writer


def _inline(times: int = 10) -> float:
    """µs for a message to one of many sockets, written by whoever sends it."""
    with _pairs(MEMBERS) as pairs:

        def run() -> None:
            for _ in range(times):
                for ours, _ in pairs:
                    ours.send(FRAME)

        return _seconds(run) / times / MEMBERS * 1e6


def _queued(times: int = 10) -> float:
    """µs for the same where each socket has a queue and a task that writes."""

    async def writer(ours: socket.socket, queue: trio.MemoryReceiveChannel[bytes]) -> None:
        async for data in queue:
            ours.send(data)

    async def main() -> float:
        with _pairs(MEMBERS) as pairs:
            async with trio.open_nursery() as nursery:
                queues = []
                for ours, _ in pairs:
                    send, receive = trio.open_memory_channel[bytes](16)
                    queues.append(send)
                    nursery.start_soon(writer, ours, receive)
                await trio.testing.wait_all_tasks_blocked()
                begun = time.thread_time()
                for _ in range(times):
                    for queue in queues:
                        queue.send_nowait(FRAME)
                    await trio.testing.wait_all_tasks_blocked()
                used = time.thread_time() - begun
                nursery.cancel_scope.cancel()
            return used / times / MEMBERS * 1e6

    return trio.run(main)


def _locked(times: int = 10) -> float:
    """µs for the same under a lock of each connection, which nobody else wants."""

    async def main() -> float:
        with _pairs(MEMBERS) as pairs:
            locks = [trio.Lock() for _ in pairs]
            begun = time.thread_time()
            for _ in range(times):
                for (ours, _), lock in zip(pairs, locks, strict=True):
                    async with lock:
                        ours.send(FRAME)
            return (time.thread_time() - begun) / times / MEMBERS * 1e6

    return trio.run(main)


# 004: the collector


def _longest_pause(enabled: bool) -> float:
    """ms that the longest collection takes while histories grow by 400,000 messages, beside a million objects that
    connections hold.
    """
    longest = begun = 0.0

    def watch(phase: str, _: dict[str, int]) -> None:
        nonlocal begun, longest
        if phase == "start":
            begun = time.perf_counter()
        else:
            longest = max(longest, time.perf_counter() - begun)

    with tuned_collector(enabled, leaves_no_cycles=True):
        connections: list[list[list[int]]] = [[[] for _ in range(100)] for _ in range(OBJECTS // 100)]
        gc.callbacks.append(watch)
        try:
            kept = [(number, [number]) for number in range(OBJECTS * 2 // 5)]
        finally:
            gc.callbacks.remove(watch)
        del connections, kept
    return longest * 1e3


# 007: one heap of deadlines


def _moved_in_heap(keys: int = 10_000) -> float:
    """µs for moving one of many deadlines later."""
    deadlines: Deadlines[int] = Deadlines()
    for key in range(keys):
        deadlines.set(key, float(key))

    def run() -> None:
        for key in range(keys):
            deadlines.set(key, float(key + keys))

    return _seconds(run) / keys * 1e6


def _moved_in_scopes(keys: int = 10_000) -> float:
    """µs for the same with a cancel scope each."""

    async def main() -> float:
        now = trio.current_time()
        with ExitStack() as stack:
            scopes = [stack.enter_context(trio.CancelScope(deadline=now + 1000 + key)) for key in range(keys)]

            def run() -> None:
                for scope in scopes:
                    scope.deadline += keys

            used = _seconds(run) / keys * 1e6
            for scope in scopes:
                scope.deadline = inf
        return used

    return trio.run(main)


def _size_of_record(keys: int = 1000) -> float:
    """KiB of memory for a connection's deadline in the heap."""
    tracemalloc.start()
    deadlines: Deadlines[object] = Deadlines()
    for key in range(keys):
        deadlines.set(object(), float(key))
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / keys / 1024


def _size_of_sleeper(tasks: int = 1000) -> float:
    """KiB of memory for a task that sleeps until the connection's next heartbeat."""

    async def main() -> float:
        tracemalloc.start()
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(trio.sleep, 1000)
            await trio.testing.wait_all_tasks_blocked()
            size = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            nursery.cancel_scope.cancel()
        return size / tasks / 1024

    return trio.run(main)


# 009: ordinary requests


def _request(read: Callable[[bytes], object], times: int = 200) -> float:
    """µs for the head of a handshake, as ordinary clients send it."""

    def run() -> None:
        for _ in range(times):
            read(REQUEST)

    return _seconds(run) / times * 1e6


CHOICES: Final = (
    Choice(
        "001",
        "µs of ours, a delivery",
        ("in a cohort", lambda: _delivery(_Inline())),
        ("each for itself", lambda: _delivery(_Offered())),
    ),
    Choice(
        "001",
        "µs, 16 frames to a member",
        ("joined into one send", lambda: _written(JOINED)),
        ("a send each", lambda: _written(1)),
    ),
    Choice("002", "µs, a delivery", ("written by the sender", _inline), ("by a task for each member", _queued)),
    Choice(
        "004",
        "ms, the longest pause",
        ("the tuned collector", lambda: _longest_pause(True)),
        ("Python's thresholds", lambda: _longest_pause(False)),
    ),
    Choice("006", "µs, a write", ("without a lock", _inline), ("under a free lock", _locked)),
    Choice("007", "µs, a deadline moved", ("in the heap", _moved_in_heap), ("of a cancel scope", _moved_in_scopes)),
    Choice("007", "KiB, a heartbeat", ("in the heap", _size_of_record), ("as a task", _size_of_sleeper)),
    Choice(
        "009",
        "µs, a request's head",
        ("in one pass", lambda: _request(read_ordinary_head)),
        ("by the whole parser", lambda: _request(parse_upgrade)),
    ),
)


def measured(rounds: int = ROUNDS) -> list[tuple[Choice, float, float]]:
    """Both sides of every choice, in turns."""
    rows = []
    for choice in CHOICES:
        taken = other = inf
        for _ in range(rounds):
            taken, other = min(taken, choice.taken[1]()), min(other, choice.other[1]())
        rows.append((choice, taken, other))
    return rows


def table(rows: list[tuple[Choice, float, float]]) -> str:
    cells = [["decision", "", "as it is", "", "otherwise", "", "ratio"]]
    for choice, taken, other in rows:
        cells.append(
            [
                choice.decision,
                choice.unit,
                choice.taken[0],
                f"{taken:.2f}",
                choice.other[0],
                f"{other:.2f}",
                f"{other / taken:.1f}",
            ]
        )
    return aligned(cells)
