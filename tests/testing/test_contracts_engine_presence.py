"""`check_engine` finds what is wrong with an engine that knows who is present."""

from math import inf

import attrs
import pytest

from nexios_trio.core.message import Position
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.engines.presence import PresencePage
from nexios_trio.pubsub.presence import PresenceTable
from nexios_trio.testing import Broker, ContractBroken
from nexios_trio.testing.contracts import check_engine
from nexios_trio.testing.simulation.broker_engine import BrokerEngine
from nexios_trio.testing.simulation.broker_server import BrokerServer


def with_table(table):
    class Mutant(MemoryEngine):
        def __init__(self):
            super().__init__()
            self.present = table(self._tell_presence)

    return Mutant


def evolved(**changes):
    """A table that hears every edit with these changes."""

    class Mutant(PresenceTable):
        def renew(self, renewal, now):
            edits = tuple(attrs.evolve(edit, **changes) for edit in renewal.edits)
            return super().renew(attrs.evolve(renewal, edits=edits), now)

    return Mutant


class NoLease(PresenceTable):
    def renew(self, renewal, now):
        return super().renew(attrs.evolve(renewal, lease=inf), now)


class Resurrects(PresenceTable):
    def renew(self, renewal, now):
        return super().renew(attrs.evolve(renewal, is_first=True), now)


class DoesTwice(PresenceTable):
    def renew(self, renewal, now):
        if renewal.node in self._nodes:
            self._nodes[renewal.node].number = -1
        return super().renew(renewal, now)


class AnybodysConnection(PresenceTable):
    """A dead node takes along what another one speaks of by now."""

    def _set_entry(self, group, user, node, edit):
        before = user.present.get(edit.client)
        super()._set_entry(group, user, before.node if before is not None else node, edit)


class NobodyElseReaps(PresenceTable):
    """A node's lease ends when it asks itself."""

    def reap(self, now):
        pass

    def renew(self, renewal, now):
        node = self._nodes.get(renewal.node)
        if node is not None and node.until <= now:
            self.end(node.name, now)
        holds = super().renew(renewal, now)
        super().reap(-inf)
        for entry in self._leaving.pop_due(now):
            self._remove(entry.user)
        return holds


class TellsEveryDeparture(PresenceTable):
    def _depart(self, entry, when):
        user = entry.user
        super()._depart(entry, when)
        if user.present:
            self._say("left", user)


class SilentAboutInfo(PresenceTable):
    def _say(self, kind, user):
        if kind != "updated":
            super()._say(kind, user)


class ForgetsUsersInGrace(PresenceTable):
    def clients(self, group):
        return tuple(each for each in super().clients(group) if self._groups[group].entries[each.client].node)


class NoVersion(MemoryEngine):
    def presence_nowait(self, group):
        page = super().presence_nowait(group)
        return PresencePage(Position(0, page.version.epoch), page.clients)


class SkipsVersions(MemoryEngine):
    def _tell_presence(self, group, event):
        super()._tell_presence(group, event)
        log = self._logs.get(f"$presence:{group}")
        if log is not None:
            log.top = Position(log.top.offset + 1, log.top.epoch)


class WithoutCheckpoint(MemoryEngine):
    async def presence(self, group):
        return self.presence_nowait(group)


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        (with_table(evolved(user=None)), "A user joins with the first connection"),
        (with_table(evolved(info="")), "A user joins with the first connection"),
        (with_table(TellsEveryDeparture), "A user joins with the first connection"),
        (with_table(SilentAboutInfo), "A user joins with the first connection"),
        (with_table(evolved(grace=0.0)), "Who is back within the grace has never left"),
        (with_table(evolved(grace=99.0)), "A user joins with the first connection"),
        (with_table(ForgetsUsersInGrace), "Who is back within the grace(?s:.*)in their graces"),
        (with_table(NoLease), "When a lease ends, each that it held leaves once"),
        (with_table(NobodyElseReaps), "When a lease ends, each that it held leaves once"),
        (with_table(Resurrects), "When a lease ends(?s:.*)was heard all the same"),
        (with_table(DoesTwice), "one that comes late is not done"),
        (with_table(AnybodysConnection), "belongs to the incarnation that has spoken of it last"),
        (NoVersion, "A user joins(?s:.*)after 3 events the version is"),
        (SkipsVersions, "A user joins with the first connection"),
        (WithoutCheckpoint, r"Every asynchronous call is a checkpoint(?s:.*)presence\(\)"),
    ],
    ids=[
        *("no users", "no info", "every departure", "info untold", "no grace", "long grace", "forgotten in grace"),
        *("no lease", "reaps for itself", "resurrects", "does twice", "takes along"),
        *("no version", "skips versions", "no checkpoint"),
    ],
)
async def test_a_broken_rule_is_told(engine, text, autojump_clock):
    with pytest.raises(ContractBroken, match=text):
        await check_engine(engine, timeout=1)


class OwnAlone(BrokerServer):
    """Each node has a table of its own."""

    def do_renew(self, link, renewal):
        self._tables = getattr(self, "_tables", {})
        table = self._tables.setdefault(link.node, PresenceTable(self._store._tell_presence))
        self._store.present = table
        return super().do_renew(link, renewal)


class Optimist(BrokerEngine):
    """Settles before anybody has heard it."""

    def renew(self, renewal):
        receipt = super().renew(renewal)
        receipt.settle(None)
        return receipt


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"_broker_type": OwnAlone}, "A user joins with the first connection"),
        ({"_engine_type": Optimist}, "A user joins with the first connection"),
    ],
    ids=["a table for each", "an answer before it is heard"],
)
async def test_a_mistake_of_several_nodes_is_found(parts, text, autojump_clock):
    broker = type("MutantBroker", (Broker,), parts)(latency=0.005)
    with pytest.raises(ContractBroken, match=text):
        await check_engine(broker.engine, timeout=1)


async def test_an_engine_without_presence_is_not_asked_about_it(autojump_clock):
    class Without(MemoryEngine):
        has_presence = False

        def renew(self, renewal):
            raise AssertionError

    await check_engine(Without)
