"""What happens in the run of a `ResumeMachine`: connections, messages, faults, and what the clients have got."""

from contextlib import suppress
from typing import Any

import trio
import trio.testing

from ...channels.channel import Channel
from ...core.position import Position
from ...engines.receipt import Receipt
from ...exceptions import EngineError
from ..checks.delivery import MARK
from ..errors import ConnectionOver
from ..internals import extensions_of, members_of
from .readers import Log, Reader, Sent
from .world_run import CALM_SECONDS, Visit, WorldRun

__all__ = ["ResumeRun"]


class ResumeRun(WorldRun):
    """The part of the machine that is async."""

    since: str

    def _begin(self, logs: list[Log]) -> None:
        self.logs = logs
        self.readers: list[Reader] = []
        self._visits: dict[Reader, Visit] = {}
        self._count = 0  # of messages

    # The application's

    def url(self, group: str, user: str) -> str:
        raise NotImplementedError

    def tells(self, message: Any) -> bool:
        raise NotImplementedError

    # Inside the run

    def _let_go(self) -> None:
        for visit in self._visits.values():
            visit.go.set()

    async def _check_at_the_end(self) -> None:
        await self._come_back()

    async def _come_back(self) -> None:
        for reader in self.readers:
            if reader not in self._visits:
                await self._connect(reader, reader.number % 3)
        await self._check_when_all_is_well()

    async def _connect(self, reader: Reader, node: int) -> None:
        reader.connects()
        with suppress(ConnectionOver):  # that server is down
            self._visits[reader] = await self._start(self._hold, reader, node)

    async def _hold(self, reader: Reader, node: int, task_status: trio.TaskStatus[Visit]) -> None:
        url, query = self.url(reader.log.name, reader.name), {}
        if reader.position is not None:
            query[self.since] = str(reader.position)
        async with self.world.connect(url, query=query, name=reader.name, node=node) as client:
            visit = Visit(client, node)
            task_status.started(visit)
            await visit.go.wait()

    async def _go(self, reader: Reader, how: str) -> None:
        await self._read()
        visit = self._visits.pop(reader, None)
        if visit is None:
            return
        if how == "lose":
            visit.client.lose()
        elif how == "half_open":
            visit.client.half_open()
        visit.go.set()
        await trio.testing.wait_all_tasks_blocked()

    async def _send(self, log: Log, node: int, kind: str, excludes: bool) -> Sent:
        self._count += 1
        sent = log.sent[self._count] = Sent(self._count, node, is_transient=kind == "transient")
        found = self._to_exclude(log, node) if excludes else None
        exclude: Channel | None = None
        if found is not None:
            sent.excluded, exclude = found
        sent.key = str(sent.number) if kind == "key" else None
        self._post(log, sent, node, exclude=exclude, save_history=kind == "save", transient=sent.is_transient)
        await trio.lowlevel.checkpoint()
        return sent

    def _channel_of(self, reader: Reader, node: int) -> Channel | None:
        """Return the client's channel, if that is in the group by this server."""
        for channel in members_of(self._box(node), reader.log.name):
            if extensions_of(channel)[MARK].name == reader.name and not channel.is_over:
                return channel
        return None

    def _to_exclude(self, log: Log, node: int) -> tuple[int, Channel] | None:
        """Find somebody who is in the group by that server, as who says something usually is."""
        for reader, visit in self._visits.items():
            if reader.log is log and visit.node == node:
                channel = self._channel_of(reader, node)
                if channel is not None:
                    return reader.number, channel
        return None

    def _post(self, log: Log, sent: Sent, node: int, **options: Any) -> None:
        payload = {"number": sent.number}
        try:
            receipt: Receipt = self._box(node).post(log.name, payload, key=sent.key, **options)
        except EngineError as error:
            sent.may_be_there = sent.may_be_there or error.maybe_published
        else:
            sent.receipts.append(receipt)

    def _with_keys(self) -> list[tuple[Log, Sent]]:
        return [(log, sent) for log in self.logs for sent in log.sent.values() if sent.key is not None]

    async def _send_again(self, log: Log, sent: Sent, node: int) -> None:
        self._post(log, sent, node)
        await trio.lowlevel.checkpoint()

    async def _lose_tail(self, count: int) -> None:
        await self._read()
        self.world.lose_tail(count)
        for log in self.logs:
            log.lose()
        await trio.lowlevel.checkpoint()

    # What must be true

    async def _read(self) -> None:
        """Take what the clients have got. Raises: AssertionError, saying what is wrong with it."""
        await trio.testing.wait_all_tasks_blocked()
        self._is_wrong = True  # unless all of this is passed
        for log in self.logs:
            log.look()
        for reader, visit in list(self._visits.items()):
            await self._read_one(reader, visit)
        self._is_wrong = False
        await trio.testing.wait_all_tasks_blocked()

    async def _read_one(self, reader: Reader, visit: Visit) -> None:
        while visit.client.unread():
            self._take(reader, await visit.client.receive_json())
        reader.check()
        if visit.client.end is not None:
            del self._visits[reader]
            visit.go.set()
        elif reader.first > self._count and self._channel_of(reader, visit.node) is not None:
            reader.is_member(self._count)

    def _take(self, reader: Reader, message: Any) -> None:
        if self.tells(message):
            reader.tell()
        elif isinstance(message, dict) and isinstance(message.get("data"), dict):
            position = message.get("position")
            reader.take(message["data"]["number"], None if position is None else Position.parse(position))

    async def _check_when_all_is_well(self) -> None:
        """Raises: AssertionError when somebody who is connected does not get what is sent now."""
        await trio.sleep(max(self._quiet_at - self.world.now, 0.0) + CALM_SECONDS)
        await self._read()
        last = {log: await self._send(log, 0, "plain", excludes=False) for log in self.logs}
        await trio.sleep(CALM_SECONDS)
        await self._read()
        for log in self.logs:
            log.is_shaken = False
        for reader in self._visits:
            number = last[reader.log].number
            assert reader.got[-1:] == [number], f"{reader.name} did not get message {number}: it has {reader.got[-5:]}"
