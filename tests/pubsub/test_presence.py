"""Who is present, as data: beside a model that knows when each connection was there, and in detail."""

import sys
from math import inf
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nexios_trio.pubsub import presence
from nexios_trio.pubsub.presence import PresenceEdit, PresenceEvent, PresenceTable, Renewal

NODES = ("n0", "n1", "n2")
GRACES = {"now": 0, "later": 3}  # seconds, by group
CLIENTS = {"a": "ann", "b": "ann", "c": "bob", "d": None}  # connections, and their users
LEASE = 4


@attrs.define(eq=False)
class Stay:
    """A connection was in a group, from its joining to its leaving, or to the end of its node's lease."""

    group: str
    client: str
    node: list[float]  # the end of its lease
    until: float = inf

    def is_seen(self, now: float) -> bool:
        return now < min(self.until, self.node[0]) + GRACES[self.group]


class PresenceMachine(RuleBasedStateMachine):
    """Nodes come and go and speak of their connections; whoever asks is told what the stays say."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.events: list[tuple[str, PresenceEvent]] = []
        self.table = PresenceTable(lambda group, event: self.events.append((group, event)))
        self.nodes: dict[str, tuple[str, list[float]]] = {}  # the incarnation, and the end of its lease
        self.count = 0
        self.stays: list[Stay] = []
        self.told: dict[tuple[str, str], Any] = {}  # who is there, as the events say, and their info

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        node=st.sampled_from(NODES),
        edits=st.lists(
            st.tuples(
                st.sampled_from(list(GRACES)), st.sampled_from(list(CLIENTS)), st.booleans(), st.sampled_from("xy")
            ),
            max_size=4,
        ),
        repeats=st.booleans(),
    )
    def renew(self, node: str, edits: list[tuple[str, str, bool, str]], repeats: bool) -> None:
        self.count += 1
        is_first = node not in self.nodes
        name, lease = self.nodes.setdefault(node, (f"{node}.{self.count}", [inf]))
        said = [PresenceEdit(g, c, is_here, CLIENTS[c], info, GRACES[g]) for g, c, is_here, info in edits]
        renewal = Renewal(name, self.count, LEASE, tuple(said), is_first)
        holds = self.table.renew(renewal, self.now)
        assert holds == (is_first or lease[0] > self.now)
        if not holds:
            del self.nodes[node]
            return
        lease[0] = self.now + LEASE
        for group, client, is_here, _ in edits:
            last = next((stay for stay in reversed(self.stays) if (stay.group, stay.client) == (group, client)), None)
            is_ours = last is not None and last.until == inf and last.node is lease
            if last is not None and (is_ours or (is_here and last.until == inf and last.node[0] > self.now)):
                last.until = self.now
            if is_here:
                self.stays.append(Stay(group, client, lease))
        if repeats:
            before = len(self.events)
            assert self.table.renew(renewal, self.now)
            assert len(self.events) == before

    @rule(node=st.sampled_from(NODES))
    def die(self, node: str) -> None:
        """The parent sees that the process has ended."""
        if node in self.nodes:
            name, lease = self.nodes.pop(node)
            lease[0] = min(lease[0], self.now)
            self.table.end(name, self.now)

    @invariant()
    def all_agree(self) -> None:
        self.table.reap(self.now)
        expected = {(stay.group, CLIENTS[stay.client] or stay.client) for stay in self.stays if stay.is_seen(self.now)}
        found = {(group, each.user or each.client) for group in GRACES for each in self.table.clients(group)}
        assert found == expected
        for group, event in self.events:
            key = group, event.user or event.client
            assert (event.kind == "joined") == (key not in self.told)
            if event.kind == "left":
                del self.told[key]
            else:
                assert self.told.get(key, "nothing") != event.info
                self.told[key] = event.info
        self.events.clear()
        assert set(self.told) == expected
        assert {group for group in GRACES if group in self.table} == {group for group, _ in expected}
        assert self.table.due() > self.now


PresenceMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestPresenceMachine = PresenceMachine.TestCase


# In detail


class Told:
    """A table, and what it has told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str | None, str]] = []
        self.table = PresenceTable(
            lambda group, event: self.events.append((event.kind, event.user or event.client, event.info))
        )
        self.numbers: dict[str, int] = {}

    def say(self, node: str, now: float, *edits: PresenceEdit, lease: float = LEASE) -> bool:
        number = self.numbers[node] = self.numbers.get(node, 0) + 1
        return self.table.renew(Renewal(node, number, lease, edits, number == 1), now)


def here(client: str, user: str | None = None, info: str = "", grace: float = 0) -> PresenceEdit:
    return PresenceEdit("room", client, True, user, info, grace)


def gone(client: str) -> PresenceEdit:
    return PresenceEdit("room", client, False)


def test_the_info_of_a_user_is_what_was_said_last_by_a_connection_that_is_there():
    told = Told()
    told.say("n", 0, here("a", "ann", "1"), here("b", "ann", "2"), here("a", "ann", "1"))
    told.say("n", 0, here("c", "ann"), here("a", "ann", "3"))
    told.say("n", 0, gone("a"))
    told.say("n", 0, gone("b"))
    assert [event[0] + event[2] for event in told.events] == ["joined1", "updated2", "updated3", "updated2", "updated"]


def test_who_comes_back_with_another_info_has_only_changed():
    told = Told()
    told.say("n", 0, here("a", "ann", "1", grace=5))
    told.say("n", 0, gone("a"))
    told.say("n", 1, here("b", "ann", "2", grace=5))
    assert told.events == [("joined", "ann", "1"), ("updated", "ann", "2")]
    assert [each.client for each in told.table.clients("room")] == ["b"]
    assert told.table.due() == 1 + LEASE


def test_a_connection_that_acts_for_somebody_else_leaves_as_the_one_and_joins_as_the_other():
    told = Told()
    told.say("n", 0, here("a", "ann", grace=5))
    told.say("n", 0, here("a", "bob", grace=5))
    told.say("n", 0, here("a", None, grace=5))
    assert told.events == [
        *[("joined", "ann", ""), ("left", "ann", ""), ("joined", "bob", ""), ("left", "bob", ""), ("joined", "a", "")],
    ]


def test_what_is_as_long_as_a_user_is_no_user():
    told = Told()
    told.say("n", 0, here("ann"), here("x", "ann"))
    assert told.events == [("joined", "ann", ""), ("joined", "ann", "")]
    told.say("n", 0, gone("x"))
    assert [each.client for each in told.table.clients("room")] == ["ann"]


def test_a_node_that_dies_with_many_is_cleared_away_in_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(presence, "MAX_REAPED", 10)
    told = Told()
    told.say("dead", 0, *[here(f"c{number}", f"u{number}") for number in range(25)])
    rounds = 0
    while told.table.due() <= LEASE:
        told.say("living", LEASE, lease=99)
        rounds += 1
        left = [event for event in told.events if event[0] == "left"]
        assert len(left) <= rounds * 20
    assert len(left) == len(set(left)) == 25
    assert rounds > 2


@pytest.mark.parametrize("count", [20, 20_000])
def test_a_renewal_costs_the_same_with_many_connections(count: int):
    """In function calls, which are the same on every machine."""
    told = Told()
    told.say("n", 0, *[here(f"c{number}", f"u{number}", grace=5) for number in range(count)])
    assert calls_of(lambda: told.say("n", 1)) <= 40


def calls_of(function: Any) -> int:
    calls = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls
