"""What the core's hot paths cost as things grow: each row is one path, with its cost at the smallest size as 1.

Nothing here does I/O: a member of a group only takes the frames that it would write.
"""

import gc
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Final

import attrs

from nexios_trio.core.deadlines import Deadlines
from nexios_trio.core.message import Message, Position
from nexios_trio.groups.broadcast import Broadcaster
from nexios_trio.pubsub.group import Membership, Receiver
from nexios_trio.pubsub.history import History, HistoryLimits
from nexios_trio.pubsub.index import GroupIndex
from nexios_trio.pubsub.writing import WriteNow

from .report import aligned

PAYLOAD: Final = {"type": "chat.message", "user": "alice", "text": "x" * 60}
ROUNDS: Final = 7  # of which the best counts


@attrs.frozen
class Work:
    """Something to be timed, ready to run.

    Args:
        run: does it; what it leaves behind is as it was before.
        count: how many operations that is.
    """

    run: Callable[[], object]
    count: int


@attrs.frozen
class Path:
    """One hot path.

    Args:
        prepare: makes the work at a size.
    """

    name: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Work]


def group_send(members: int) -> Work:
    """Encode a message, and give its frame to each member."""
    index: GroupIndex[int] = GroupIndex()
    broadcaster = Broadcaster(index, {})
    receiver = _Receiver()
    for member in range(members):
        index.add(member, "room", receiver)
    times = max(1, 20_000 // members)

    def run() -> None:
        for _ in range(times):
            broadcaster.deliver("room", Message(PAYLOAD, 0.0))

    return Work(run, times * members)


class _Receiver(Receiver):
    """Takes everything at once, as a socket with room does."""

    def attach(self, membership: Membership[Any]) -> WriteNow:
        return len


def join_and_leave(members: int) -> Work:
    """Of a group that has so many."""
    index: GroupIndex[Hashable] = GroupIndex()
    for member in range(members):
        index.add(member, "room")

    def run() -> None:
        for member in range(-2000, 0):
            index.add(member, "room")
            index.remove(member, "room")

    return Work(run, 2000)


def disconnect(groups: int) -> Work:
    """Of a member of so many groups; per group."""
    index: GroupIndex[Hashable] = GroupIndex()
    names = [f"room-{number}" for number in range(groups)]
    times = max(1, 4000 // groups)

    def run() -> None:
        for _ in range(times):
            for name in names:
                index.add("member", name)
            index.discard("member")

    return Work(run, times * groups)


@attrs.frozen
class _Saved:
    size: int
    position: Position
    cost: int = 400


def save(messages: int) -> Work:
    """Into a history that is full with so many."""
    history: History[Any] = History(HistoryLimits(max_bytes=10**9, max_messages=messages))
    offset = 0

    def run() -> None:
        nonlocal offset
        for _ in range(2000):
            offset += 1
            history.append(_Saved(100, Position(offset, "epoch")), 0.0)

    while offset < messages:
        run()
    return Work(run, 2000)


def resume(messages: int) -> Work:
    """Ten messages that were missed, out of a history of so many."""
    history: History[Any] = History(HistoryLimits(max_bytes=10**9, max_messages=messages))
    for offset in range(1, messages + 1):
        history.append(_Saved(100, Position(offset, "epoch")), 0.0)
    return Work(lambda: [history.since(messages - 10) for _ in range(500)], 500)


def touch(channels: int) -> Work:
    """Move the deadline of one of so many channels later."""
    deadlines = _deadlines(channels)
    now = float(channels)

    def run() -> None:
        nonlocal now
        for channel in range(2000):
            now += 1.0
            deadlines.set(channel % channels, now)

    return Work(run, 2000)


def expire(channels: int) -> Work:
    """One tenth of so many channels, which then begin anew; per channel."""
    deadlines = _deadlines(channels)
    now = 0.0

    def run() -> None:
        nonlocal now
        now += channels / 10
        for channel in deadlines.pop_due(now - 1):
            deadlines.set(channel, now + channels)

    return Work(run, max(1, channels // 10))


def _deadlines(channels: int) -> Deadlines[int]:
    deadlines: Deadlines[int] = Deadlines()
    for channel in range(channels):
        deadlines.set(channel, float(channel))
    return deadlines


PATHS: Final = (
    Path("group send, per member", (100, 300, 1000, 4000), group_send),
    Path("join and leave a group of", (100, 1000, 10_000, 100_000), join_and_leave),
    Path("disconnect, per group", (1, 8, 32, 128), disconnect),
    Path("save in a history of", (10, 100, 1000, 10_000), save),
    Path("resume from a history of", (10, 100, 1000, 10_000), resume),
    Path("touch, channels", (100, 1000, 10_000, 100_000), touch),
    Path("expire, per channel of", (100, 1000, 10_000, 100_000), expire),
)


def cost(work: Work, rounds: int = ROUNDS) -> float:
    """CPU seconds for one operation: the best of some rounds, without garbage collection."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        return min(map(partial(_seconds, work), range(rounds))) / work.count
    finally:
        if was_enabled:
            gc.enable()


def _seconds(work: Work, _: int) -> float:
    begun = time.thread_time()
    work.run()
    return time.thread_time() - begun


def curves(paths: Sequence[Path] = PATHS, rounds: int = ROUNDS) -> dict[str, dict[int, float]]:
    """Of each path, the seconds for one operation at each size."""
    return {path.name: {size: cost(path.prepare(size), rounds) for size in path.sizes} for path in paths}


def table(measured: dict[str, dict[int, float]]) -> str:
    """Growth, size by size; and, to compare paths within one run, the cost at the smallest size."""
    places = max(map(len, measured.values()))
    rows = [["path", "at first", *([""] * places)]]
    for name, costs in measured.items():
        first = next(iter(costs.values()))
        cells = [f"{size:,}: {seconds / first:.2f}" for size, seconds in costs.items()]
        rows.append([name, f"{first * 1e6:.2f} µs", *cells, *([""] * (places - len(cells)))])
    return aligned(rows)
