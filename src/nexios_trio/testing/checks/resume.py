"""`check_resume`: a client whose connection breaks at every kind of moment, and comes back with its position.

One task sends numbered messages to a group. The client reads some, breaks its connection in some way, is away for a
while, and connects again with the last position that it has seen. What it is given must be every number once, in order;
where some are missing, it must have been told so.
"""

import json
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from math import inf
from typing import Any, Final

import attrs
import trio

from ...exceptions import EngineError
from ..client.client import Client
from ..errors import ConnectionOver, Unmet
from ..internals import box_of
from ..simulation.world import World

__all__ = ["ResumeReport", "check_resume"]

TELL_SECONDS: Final = 1.0  # in which a gap must be told after what came after it
MAX_PAUSE_SECONDS: Final = 1.0  # between two messages
MAX_AWAY_SECONDS: Final = 5.0
MAX_VISIT_SECONDS: Final = 4.0
MAX_READ: Final = 8  # messages before the connection breaks
MAX_CONNECTS: Final = 60  # tries, a second apart, to find a server in the end

Tells = Callable[[Any], bool]


@attrs.define
class ResumeReport:
    """What `check_resume` has seen.

    Args:
        breaks: of the connection, and connects that came to nothing.
        resumed: connects with a position.
        messages: numbered ones that came.
        told: times that the client was told of missing messages.
        missing: numbered messages that did not come, and it was told.
    """

    breaks: int = 0
    resumed: int = 0
    messages: int = 0
    told: int = 0
    missing: int = 0


@attrs.define
class _Reader:
    """The client's memory, over all its connections, and the judge."""

    tells: Tells
    position: str | None = None
    last: int | None = None
    is_told: bool = False  # since the last number
    jump: str | None = None  # what is missing, and was not told yet
    doubtful: set[int] = attrs.Factory(set)  # numbers whose sending failed, perhaps
    unsent: set[int] = attrs.Factory(set)  # those that failed for certain
    report: ResumeReport = attrs.Factory(ResumeReport)

    def take(self, message: Any) -> None:
        if self.tells(message):
            self.report.told += 1
            self.is_told, self.jump = self.jump is None, None
            return
        if not isinstance(message, dict) or not isinstance(message.get("position"), str):
            return
        self.position = message["position"]
        data = message.get("data")
        if isinstance(data, dict) and isinstance(data.get("number"), int):
            self._take_number(data["number"])

    def _take_number(self, number: int) -> None:
        self.report.messages += 1
        last, self.last = self.last, number
        if number in self.unsent:
            raise Unmet("what was not sent to come never", f"message {number} came, whose sending had failed")
        if last is None:
            return
        if number <= last:
            raise Unmet("each message once, in order", f"message {number} came after message {last}")
        missing = [each for each in range(last + 1, number) if each not in self.doubtful | self.unsent]
        self.report.missing += len(missing)
        if missing and not self.is_told:
            self.jump = f"message {number} came after message {last}: {missing} are missing, and nobody said so"
        self.is_told = False

    def has_come_to(self, number: int) -> bool:
        return self.last is not None and self.last >= number and self.jump is None

    def check(self) -> None:
        if self.jump is not None:
            raise Unmet("each message, or to be told that some are gone", self.jump)


async def check_resume(
    world: World,
    path: str,
    group: str,
    *,
    since: str = "since",
    tells: Tells = lambda message: False,
    breaks: int = 30,
    save_history: bool = False,
) -> ResumeReport:
    """Check that a client which comes back is given each message once, in order, or is told that some are gone.

    The client takes the `position` of every JSON message that has one, and gives the last one back in the query. It
    connects to any server of the world; give that several, and faults on a schedule, to see how they are lived through.
    The world's seed decides on everything.

    Args:
        world: that runs.
        path: of a WebSocket that joins `group` at the position in the query, with `positions=True`.
        group: is sent `{"number": 1}` and so on, all the time.
        since: the name in the query; without it, the client is new.
        tells: of a message: it says that messages are gone. By default none does, so that none may be missing.
        breaks: how often the connection breaks, at least 1.
        save_history: is given to `group_send`, for groups that do not keep by themselves.
    Checkpoint: always. Raises: Unmet.
    """
    if breaks < 1:
        raise ValueError(f"breaks are 1 or more, not {breaks!r}")
    check = _Check(world, path, group, since, save_history, _Reader(tells), random.Random(world.seed))
    failure: Unmet | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(check.speak)
        try:
            for _ in range(breaks):
                await check.visit()
                await trio.sleep(check.chance.choice((0.0, check.chance.uniform(0, MAX_AWAY_SECONDS))))
            await check.come_back()
        except Unmet as error:
            failure = error
        nursery.cancel_scope.cancel(reason="the check is over")
    if failure is not None:
        raise failure
    return check.reader.report


@attrs.define
class _Check:
    world: World
    path: str
    group: str
    since: str
    save_history: bool
    reader: _Reader
    chance: random.Random
    sent: int = 0

    async def speak(self) -> None:
        while True:
            await trio.sleep(self.chance.choice((0.0, self.chance.uniform(0, MAX_PAUSE_SECONDS))))
            for _ in range(self.chance.randrange(1, 4)):
                await self.send()

    async def send(self) -> None:
        boxes = [box for node in self.world.nodes if node.is_up and (box := box_of(node.app)) is not None]
        if not boxes:
            await trio.sleep(MAX_PAUSE_SECONDS)
            return
        self.sent += 1
        number = self.sent
        self.reader.doubtful.add(number)
        try:
            await self.chance.choice(boxes).group_send(self.group, {"number": number}, save_history=self.save_history)
        except EngineError as error:
            if not error.maybe_published:
                self.reader.unsent.add(number)
        else:
            self.reader.doubtful.remove(number)

    async def visit(self) -> None:
        """Connect, read some messages, and break the connection."""
        self.reader.report.breaks += 1
        is_hasty = self.chance.random() < 0.2  # it leaves in the middle of the handshake
        break_off = self.chance.choice((Client.lose, Client.half_open, Client.stall, Client.close_as_tab))
        until = self.reader.report.messages + self.chance.randrange(MAX_READ)
        with trio.move_on_after(self.chance.uniform(0, 2 * self.world.net.rtt) if is_hasty else inf) as haste:
            try:
                async with self._connect() as client:
                    haste.deadline = inf
                    with trio.move_on_after(self.chance.uniform(0, MAX_VISIT_SECONDS)):
                        await self._read(client, lambda: self.reader.report.messages >= until)
                    with trio.move_on_after(TELL_SECONDS):
                        await self._read(client, lambda: self.reader.jump is None)
                    break_off(client)
            except ConnectionOver:
                pass
        self.reader.check()

    async def come_back(self) -> None:
        """Connect, and stay until what is sent from then on comes."""
        for _ in range(MAX_CONNECTS):
            try:
                async with self._connect() as client:
                    await self._read(client, partial(self.reader.has_come_to, self.sent + MAX_READ))
                    return
            except ConnectionOver:
                self.reader.check()
                await trio.sleep(1)
        raise Unmet("a connection that lasts", f"{MAX_CONNECTS} came to an end")

    def _connect(self) -> AbstractAsyncContextManager[Client]:
        position = self.reader.position
        if position is not None:
            self.reader.report.resumed += 1
        query = {} if position is None else {self.since: position}
        return self.world.connect(
            self.path, name="returning", node=self.chance.randrange(len(self.world.nodes)), query=query
        )

    async def _read(self, client: Client, is_enough: Callable[[], bool]) -> None:
        while not is_enough():
            data = await client.receive()
            try:
                message = json.loads(data)
            except ValueError:
                message = data
            self.reader.take(message)
