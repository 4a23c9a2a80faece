"""`check_engine` passes what keeps the contract, and says which rule is broken."""

from contextlib import asynccontextmanager

import pytest
import trio

from nexios_trio.core.message import Message, Position
from nexios_trio.core.message_codec import decode_message, encode_message
from nexios_trio.engines.base import HistoryPage, Receipt
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.testing import Broker, ContractBroken
from nexios_trio.testing.contracts import check_engine
from nexios_trio.testing.contracts.engine import LIMITS
from nexios_trio.testing.simulation.broker_engine import BrokerEngine
from nexios_trio.testing.simulation.broker_server import BrokerServer, Delivery


async def test_our_engine_keeps_the_contract(autojump_clock):
    await check_engine(MemoryEngine)


@pytest.mark.parametrize("latency", [0.0, 0.005])
async def test_the_nodes_of_a_hub_keep_the_contract(latency, autojump_clock):
    broker = Broker(latency)
    await check_engine(broker.engine, faults=broker)


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


class ForgetsIdentity(MemoryEngine):
    def post(self, group, message, *, keep=None, key=None):
        copy = Message(message.payload, message.created)
        return super().post(group, copy, keep=keep, key=key)


class KeepsEverything(MemoryEngine):
    def post(self, group, message, *, keep=None, key=None):
        return super().post(group, message, keep=keep or LIMITS, key=key)


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
        return super().post(group, message, keep=LIMITS if keep else None, key=key)


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
        (ForgetsIdentity, "A message has the same id and attributes on every node"),
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


# ---------------------------------------------------------------- engines of several nodes


def mutant(engine=BrokerEngine, broker=BrokerServer):
    """A broker whose engines, or what they share, have a mistake."""
    kind = type("MutantBroker", (Broker,), {"_engine_type": engine, "_broker_type": broker})
    return kind(latency=0.005)


class NoReceipts(BrokerServer):
    def do_post(self, link, group, data, keep, key):
        return super().do_post(link, group, data, keep, None)


class NoCatchUp(BrokerEngine):
    def _watching(self, watch, top):
        watch.position = None
        super()._watching(watch, top)


class AgeOfTheNewest(BrokerServer):
    """All messages of a group are forgotten together, when the newest is too old: as a key with a time to live is."""

    def _make_store(self):
        store = super()._make_store()
        save = store._save

        def save_all(group, log, message, limits):
            save(group, log, message, limits)
            rows = log.history._rows
            rows[:] = [row and (trio.current_time(), *row[1:]) for row in rows]

        store._save = save_all
        return store


class LocalFirst(BrokerEngine):
    """Gives a message to its own members at once, and leaves it out when it comes back."""

    def post(self, group, message, **options):
        receipt = super().post(group, message, **options)
        if group in self._watches:
            self._delivered[message.id] = None
            self._deliver(group, message)
        return receipt


class TwoRepairs(BrokerEngine):
    """Begins another repair at each hole, whether one is under way or not, and has no memory of ids."""

    def _take(self, watch, delivery):
        watch.is_repairing = False
        super()._take(watch, delivery)

    def _give(self, watch, data, position):
        self._delivered.clear()
        super()._give(watch, data, position)


class EarlyWatch(BrokerEngine):
    def watch(self, group):
        super().watch(group)
        return Receipt(True, self._watches[group].position or Position(0, "not known yet"))


class WatchOfLater(BrokerEngine):
    """Tells a position from before the watch held."""

    def _ask_for(self, watch):
        self.client.request("history", watch.group, None, 0, None, then=lambda page: self._ask_then(watch, page[2]))

    def _ask_then(self, watch, top):
        self.client.request("watch", watch.group, then=lambda _: self._watching(watch, top))


class BlindProbe(BrokerEngine):
    def _probe(self, well):
        well()


class SilentProbe(BrokerEngine):
    """Asks whether anybody is there, and does not compare."""

    def _probe(self, well):
        self.client.request("tops", [], then=lambda tops: well())


class PatientProbe(BrokerEngine):
    """Compares, and waits for an answer for ever."""

    def _probe(self, well):
        super()._probe(lambda: None)
        well()


class NoGap(BrokerEngine):
    def attach(self, deliver, gap=None, answer=None):
        super().attach(deliver, answer=answer)


class NoMemoryOfIds(BrokerEngine):
    def _give(self, watch, data, position):
        self._delivered.clear()
        super()._give(watch, data, position)


class GivesSurvivors(BrokerEngine):
    """Gives all that survived, but for what this node was given: also what is older than its watch."""

    def _first_to_give(self, watch, rows):
        return 0


class Bottomless(BrokerEngine):
    def post(self, group, message, **options):
        while len(self._posts) > 9000:
            self._posts.popitem()
        return super().post(group, message, **options)


class NoDeadline(BrokerEngine):
    async def _keep_deadlines(self):
        await trio.sleep_forever()


class Hasty(BrokerEngine):
    """Settles a receipt when the answer is there, though the message has not come back: that comes turns later."""

    def _answered(self, post, position, is_watched):
        post.answer = position, is_watched
        self._settle(post)

    def _take(self, watch, delivery, turns=5):  # more than one: the order within a turn is up to chance
        if turns:
            trio.lowlevel.current_trio_token().run_sync_soon(self._take, watch, delivery, turns - 1)
        else:
            super()._take(watch, delivery)


class Liar(BrokerEngine):
    """Says that nothing was published, whatever it knows."""

    def _fail(self, post, why):
        post.is_sent = False
        super()._fail(post, why)


class Repeater(BrokerEngine):
    """Sends again what has no key."""

    def _on_loss(self):
        for watch in self._watches.values():
            watch.is_repairing = False
            watch.waiting.clear()


class NewIds(BrokerServer):
    def _deliver(self, group, message):
        message = decode_message(message.encoded, message.position)
        message._id, message.encoded = None, None
        encode_message(message)
        super()._deliver(group, message)


class Deaf(BrokerEngine):
    """Asks nobody but itself."""

    async def ask(self, request):
        await trio.lowlevel.checkpoint()
        return [self._answer(request)]


class UnwatchesForAll(BrokerServer):
    def do_unwatch(self, link, group):
        for each in self.links:
            each.subscribed.discard(group)


class EndsWithOneWaiter(BrokerEngine):
    """The watch is the waiting of whoever asked first."""

    def watch(self, group):
        receipt = super().watch(group)
        engine = self

        class Cancelled(Receipt):
            __slots__ = ()

            async def _wait(self):
                try:
                    return await receipt
                except trio.Cancelled:
                    engine.unwatch(group)
                    raise

        return Cancelled()


class NumbersTransient(BrokerServer):
    def do_post(self, link, group, data, keep, key):
        message = decode_message(data)
        message.is_transient, message.encoded = False, None
        return super().do_post(link, group, encode_message(message), keep, key)


class Stingy(BrokerServer):
    """A page is as large as it may be, or empty."""

    def do_history(self, link, group, since, limit, max_bytes):
        rows, *rest = super().do_history(link, group, since, limit, max_bytes)
        if max_bytes is not None and len(rows) == 1 and len(rows[0][0]) > max_bytes + 31:
            rows = []
        return rows, *rest


class Shuffling(BrokerServer):
    """Every other message overtakes the one before it, on its way to all but the first link."""

    held = None

    def _deliver(self, group, message):
        first, *others = [link for link in self.links if group in link.subscribed] or [None]
        if first is not None:
            first.push(Delivery(group, message.encoded, message.position))
        if others and self.held is None:
            self.held = message
        elif others:
            for each in (message, self.held):
                for link in others:
                    link.push(Delivery(group, each.encoded, each.position))
            self.held = None


@pytest.mark.parametrize(
    ("broker", "text"),
    [
        (lambda: mutant(broker=NoReceipts), "A publish whose key the group has had"),
        (lambda: mutant(NoCatchUp), "A node that comes back has what was kept meanwhile"),
        (lambda: mutant(broker=AgeOfTheNewest), "A message that is too old"),
        (lambda: mutant(LocalFirst), "Each message is delivered once to every node"),
        (lambda: mutant(TwoRepairs), "Catching up and going on are one sequence"),
        (lambda: mutant(EarlyWatch), "the node gets every message from then on"),
        (lambda: mutant(WatchOfLater), "the position after which the node gets every message"),
        (lambda: mutant(BlindProbe), "A message that was lost without a hole behind it is noticed"),
        (lambda: mutant(SilentProbe), "A message that was lost without a hole behind it is noticed"),
        (lambda: mutant(PatientProbe), "A link over which nothing comes any more is noticed"),
        (lambda: mutant(NoGap), "When messages are gone for good, members are told"),
        (lambda: mutant(NoMemoryOfIds), "When messages are gone for good(?s:.*)node 0 was given"),
        (lambda: mutant(GivesSurvivors), "In a new epoch a node gets nothing(?s:.*)3 survived, and node 1 was given"),
        (lambda: mutant(Bottomless), r"post\(\) is bounded"),
        (lambda: mutant(NoDeadline), "Without a link a receipt fails within the engine's deadline"),
        (lambda: mutant(Hasty), "When a receipt is settled, a node that watches the group has been given"),
        (lambda: mutant(Liar), "the error says that it was not"),
        (lambda: mutant(Repeater), "A publish with a key is finished over another link(?s:.*)the history is"),
        (lambda: mutant(broker=NewIds), "the same id and attributes on every node"),
        (lambda: mutant(Deaf), r"ask\(\) gives what every other node answers"),
        (lambda: mutant(broker=UnwatchesForAll), r"unwatch\(\) never raises, takes nothing from other nodes"),
        (lambda: mutant(EndsWithOneWaiter), "One who stops waiting for a watch takes nothing from the others"),
        (lambda: mutant(broker=NumbersTransient), "A transient message has no number"),
        (lambda: mutant(broker=Stingy), "page by page, at least one at a time"),
        (lambda: mutant(broker=Shuffling), "Each message is delivered once to every node"),
    ],
)
async def test_a_mistake_of_several_nodes_is_found(broker, text, autojump_clock):
    made = broker()
    with pytest.raises(ContractBroken, match=text):
        await check_engine(made.engine, faults=made, timeout=1)


async def test_what_cannot_be_arranged_is_not_tried(autojump_clock):
    broker = mutant(NoCatchUp)
    await check_engine(broker.engine)
