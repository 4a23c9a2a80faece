"""`check_engine` passes what keeps the contract, and says which rule is broken."""

from contextlib import asynccontextmanager

import pytest
import trio

from nexios_trio.core.message import Message, Position
from nexios_trio.engines.base import HistoryPage
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.testing import ContractBroken, Hub
from nexios_trio.testing.contracts import check_engine
from nexios_trio.testing.contracts.engine import LIMITS


async def test_our_engine_keeps_the_contract(autojump_clock):
    await check_engine(MemoryEngine)


async def test_the_nodes_of_a_hub_keep_the_contract(autojump_clock):
    await check_engine(Hub().engine)


async def test_an_engine_in_a_block(autojump_clock):
    @asynccontextmanager
    async def make():
        yield MemoryEngine()

    await check_engine(make)


class NoCheckpoint(MemoryEngine):
    async def groups_with_history(self):
        return list(self._logs)


class CountsKeptOnly(MemoryEngine):
    def post(self, group, message, *, keep=None, key=None):
        receipt = super().post(group, message, keep=keep, key=key)
        if keep is None:
            self._logs[group].top = Position(receipt.position.offset - 1, receipt.position.epoch)
        return receipt


class DeliversTwice(MemoryEngine):
    def post(self, group, message, *, keep=None, key=None):
        receipt = super().post(group, message, keep=keep, key=key)
        self._deliver(group, message)
        return receipt


class ForgetsPosition(MemoryEngine):
    def post(self, group, message, *, keep=None, key=None):
        copy = Message(message.payload, message.created)
        return super().post(group, copy, keep=keep, key=key)


class KeepsEverything(MemoryEngine):
    def post(self, group, message, *, keep=None, key=None):
        return super().post(group, message, keep=keep or LIMITS)


class OffByOne(MemoryEngine):
    async def history(self, group, since=None, *, limit=None, max_bytes=None):
        page = await super().history(group, since, limit=limit)
        return HistoryPage(page.messages[1:] if since else page.messages, page.complete, page.top)


class NeverAGap(MemoryEngine):
    async def history(self, group, since=None, *, limit=None, max_bytes=None):
        page = await super().history(group, since, limit=limit)
        return HistoryPage(page.messages, True, page.top)


class OldestFirst(MemoryEngine):
    async def history(self, group, since=None, *, limit=None, max_bytes=None):
        page = await super().history(group, since)
        return page if limit is None else HistoryPage(page.messages[:limit], page.complete, page.top)


class Unbounded(MemoryEngine):
    def post(self, group, message, *, keep=None, key=None):
        return super().post(group, message, keep=LIMITS if keep else None)


class Ageless(MemoryEngine):
    def __init__(self):
        super().__init__(clock=lambda: 0.0)


class FlushBeginsAnew(MemoryEngine):
    async def flush_history(self, group=None):
        await super().flush_history(group)
        self._logs.pop(group, None)


class Headstrong(MemoryEngine):
    async def publish(self, group, message, *, keep=None, key=None):
        with trio.CancelScope(shield=True):
            return await super().publish(group, message, keep=keep, key=key)


class PublishesFirst(MemoryEngine):
    async def publish(self, group, message, *, keep=None, key=None):
        with trio.CancelScope(shield=True):
            position = await super().publish(group, message, keep=keep, key=key)
        await trio.lowlevel.checkpoint()
        return position


class Hangs(MemoryEngine):
    async def flush_history(self, group=None):
        await trio.sleep_forever()


class Fails(MemoryEngine):
    async def history(self, group, since=None, *, limit=None, max_bytes=None):
        raise KeyError(group)


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        (
            NoCheckpoint,
            r"Every asynchronous call is a checkpoint.\nseen: groups_with_history\(\) came back without one",
        ),
        (CountsKeptOnly, "The messages of one group, kept or not"),
        (DeliversTwice, "Each message is delivered once to every node"),
        (ForgetsPosition, r"publish\(\) returns the position of the message, and the message has it"),
        (KeepsEverything, "A message is kept if and only if it was published with history"),
        (OffByOne, "gives exactly what came after that position(?s:.*)after 0 of 4 messages there is"),
        (NeverAGap, "is complete if and only if nothing in between is gone(?s:.*)a message that was not kept"),
        (OldestFirst, "gives the newest n messages"),
        (Unbounded, "stays within its bytes"),
        (Ageless, "too old"),
        (FlushBeginsAnew, "positions go on counting"),
        (Headstrong, r"A cancelled publish\(\)(?s:.*)did not notice"),
        (PublishesFirst, r"A cancelled publish\(\)(?s:.*)an engine of one process has published all the same"),
        (Hangs, r"flush_history\(\) forgets(?s:.*)had not come to that after 4 s"),
        (Fails, "The messages of one group(?s:.*)KeyError"),
    ],
)
async def test_a_broken_rule_is_told(engine, text, autojump_clock):
    with pytest.raises(ContractBroken, match=text):
        await check_engine(engine, timeout=1)


class Shuffling(Hub):
    """Every third message overtakes the one before it, on every node but the first."""

    def __init__(self):
        super().__init__()
        self._held: list[tuple[str, Message]] = []

    def _deliver(self, group, message):
        watching = [node for node in self._nodes if group in node.watched]
        for node in watching[:1]:
            node.deliver(group, message)
        for node in watching[1:]:
            self._held.append((group, message))
            if len(self._held) == 2:
                while self._held:
                    node.deliver(*self._held.pop())


async def test_nodes_that_are_told_in_another_order(autojump_clock):
    with pytest.raises(ContractBroken, match="Each message is delivered once to every node(?s:.*)node 1 was given"):
        await check_engine(Shuffling().engine, timeout=1)
