"""What the server does about presence, in Lua, beside what `pubsub.presence` does: with a clock of the test's."""

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexios_trio.core.message_codec import decode_message
from nexios_trio.engines.presence import read_event
from nexios_trio.engines.redis.keys import RedisKeys
from nexios_trio.engines.redis.presence import renewal_words
from nexios_trio.engines.redis.presence_scripts import PRESENCE_SCRIPTS
from nexios_trio.engines.redis.scripts import script_text
from nexios_trio.pubsub.presence import PresenceEdit, PresenceEvent, PresenceTable, PresentClient, Renewal
from tests.engines.redis.server import RedisProcess

LEASE = 4
GRACES = {"now": 0, "later": 3}  # seconds, by group
CLIENTS = {"a": "ann", "b": "ann", "c": "bob", "d": None, "e": 'an"n'}  # connections, and their users
Ask = Callable[..., Any]


class Server:
    """The scripts of one run of a server, whose clock is a key, and whose channels are lists."""

    def __init__(self, ask: Ask, keys: RedisKeys, run: str = "run-1") -> None:
        self.ask = ask
        self.keys = keys
        self.start(run)

    def start(self, run: str) -> None:
        self._hashes = {}
        for name in PRESENCE_SCRIPTS:
            text = script_text(name, run).replace("redis.call('TIME')", "{ redis.call('GET', 'test-clock'), '0' }")
            self._hashes[name] = self.ask("SCRIPT", "LOAD", text.replace("'PUBLISH', ", "'RPUSH', "))

    def run(self, name: str, now: float, *words: Any) -> Any:
        self.ask("SET", "test-clock", int(now))
        first = (self.keys.nonce, self.keys.presence_channels, 10_000_000)
        return self.ask("EVALSHA", self._hashes[name], len(self.keys.presence), *self.keys.presence, *first, *words)

    def renew(self, renewal: Renewal, now: float) -> bool:
        return bool(self.run("renew", now, *renewal_words(renewal))[0])

    def events(self, group: str) -> list[tuple[str, PresenceEvent]]:
        """Each event so far, and what is before its message: its number and epoch."""
        found = []
        for row in self.ask("LRANGE", self.keys.presence_channels + group.encode(), 0, -1):
            offset, epoch, data = row.split(b" ", 2)
            found.append((f"{int(offset)} {epoch.decode()}", read_event(decode_message(data))))
        return found

    def clients(self, group: str, now: float) -> list[PresentClient]:
        rows = self.run("present", now, group, 1_000_000)[5:]
        return [
            PresentClient(client.decode(), json.loads(user) if user[:1] == b'"' else None, json.loads(info))
            for client, user, info in zip(rows[::3], rows[1::3], rows[2::3], strict=True)
        ]

    def leftovers(self) -> list[bytes]:
        return [key for key in self.keys.presence if self.ask("EXISTS", key)]


@pytest.fixture
def talking(server: RedisProcess):
    with server.talk() as ask:
        yield ask


def fresh(ask: Ask) -> Server:
    keys = RedisKeys("test-presence")
    for key in ask("KEYS", b"test-presence*"):
        ask("DEL", key)
    return Server(ask, keys)


EDITS = st.tuples(st.sampled_from(list(GRACES)), st.sampled_from(list(CLIENTS)), st.booleans(), st.sampled_from(" xy"))
STEPS = st.one_of(
    st.tuples(st.just("renew"), st.sampled_from(("n0", "n1", "n2")), st.lists(EDITS, max_size=4), st.booleans()),
    st.tuples(st.just("wait"), st.integers(1, 5)),
    st.tuples(st.just("swap"), st.sampled_from(list(CLIENTS)), st.sampled_from(("ann", "bob", None))),
)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=5, max_size=40))
def test_it_does_what_the_table_does(talking, steps):
    server = fresh(talking)
    told: list[tuple[str, PresenceEvent]] = []
    table = PresenceTable(lambda group, event: told.append((group, event)))
    users: dict[str, str | None] = dict(CLIENTS)
    incarnations: dict[str, str] = {}
    now = count = 0
    for step in steps:
        if step[0] == "wait":
            now += step[1]
        elif step[0] == "swap":
            users[step[1]] = step[2]
        else:
            count += 1
            node, edits, repeats = step[1:]
            is_first = node not in incarnations
            name = incarnations.setdefault(node, f"{node}.{count}")
            said = [PresenceEdit(g, c, here, users[c], info.strip(), GRACES[g]) for g, c, here, info in edits]
            renewal = Renewal(name, count, LEASE, tuple(said), is_first)
            for _ in range(1 + repeats):
                holds = table.renew(renewal, now)
                assert server.renew(renewal, now) == holds
            if not holds:
                del incarnations[node]
        table.reap(now)
        server.run("reap", now)
        for group in GRACES:
            assert server.clients(group, now) == list(table.clients(group))
            expected = [event for name, event in told if name == group]
            events = server.events(group)
            # What is over at one time is told in some order.
            assert sorted(map(str, (event for _, event in events))) == sorted(map(str, expected))
            numbers = [int(place.split()[0]) for place, _ in events]
            assert (numbers, len({place.split()[1] for place, _ in events}) <= 1) == (
                list(range(1, len(events) + 1)),
                True,
            )
    now += LEASE + max(GRACES.values())
    for _ in range(2):
        server.run("reap", now)
    left = [key.rpartition(b":")[2] for key in server.leftovers()]
    assert set(left) <= {b"t", b"v", b"z"}
    server.run("reap", now + 3601)  # an hour later nobody asks for the versions any more
    assert [key.rpartition(b":")[2] for key in server.leftovers()] in ([b"t"], [])


def here(client: str, user: str | None = None, info: str = "", grace: float = 0) -> PresenceEdit:
    return PresenceEdit("room", client, True, user, info, grace)


def test_in_a_new_run_leases_begin_anew_and_every_node_is_told_that_it_is_lost(talking):
    server = fresh(talking)
    one = Renewal("one", 1, LEASE, (here("a", "ann"), here("b", "bob"), here("c", "eve", grace=3)), True)
    assert server.renew(one, 100)
    assert server.renew(attrs.evolve(one, number=2, edits=(attrs.evolve(one.edits[2], is_present=False),)), 102)
    (epoch,) = {place.split()[1] for place, _ in server.events("room")}
    server.start("run-2")  # 50 seconds later
    assert [each.user for each in server.clients("room", 152)] == ["ann", "bob", "eve"]
    assert not server.renew(attrs.evolve(one, number=3), 153)
    assert server.renew(attrs.evolve(one, node="two", edits=one.edits[:1]), 153)
    assert len(server.events("room")) == 3
    assert [each.user for each in server.clients("room", 154.9)] == ["ann", "bob", "eve"]
    assert [each.user for each in server.clients("room", 155)] == ["ann", "bob"]  # 3 seconds in which it was there
    assert [each.user for each in server.clients("room", 156)] == ["ann"]
    places, events = zip(*server.events("room")[3:], strict=True)
    assert [(event.kind, event.user) for event in events] == [("left", "eve"), ("left", "bob")]
    assert [place.split()[0] for place in places] == ["1", "2"]
    assert epoch not in {place.split()[1] for place in places}


def test_those_of_a_dead_node_are_cleared_away_in_parts(talking):
    server = fresh(talking)
    edits = tuple(here(f"c{number}", f"u{number}") for number in range(500))
    assert server.renew(Renewal("dead", 1, LEASE, edits, True), 100)
    rounds = 0
    while server.run("reap", 105):
        rounds += 1
    left = [event.user for _, event in server.events("room")[500:]]
    assert (len(left), len(set(left)), rounds) == (500, 500, 2)


def test_a_state_of_which_a_part_was_forgotten_begins_anew(talking):
    for forgotten in range(11):
        server = fresh(talking)
        edits = (here("a", "ann", "1", 2), here("b", "bob", "2", 2), here("c", None, "3", 2))
        one = Renewal("one", 1, LEASE, edits, True)
        assert server.renew(one, 100)
        assert server.renew(attrs.evolve(one, number=2, edits=(attrs.evolve(edits[2], is_present=False),)), 100)
        (epoch,) = {place.split()[1] for place, _ in server.events("room")}
        server.ask("DEL", server.keys.presence[forgotten])
        assert server.clients("room", 101) == []
        assert not server.renew(attrs.evolve(one, number=3, is_first=False), 101)
        assert server.renew(attrs.evolve(one, node="two"), 101)
        assert [each.client for each in server.clients("room", 102)] == ["a", "b", "c"]
        place, event = server.events("room")[3]
        assert (place.split()[0], place.split()[1] != epoch, event.user) == ("1", True, "ann")


def test_what_is_too_much_to_be_read_is_not_read(talking):
    server = fresh(talking)
    assert server.renew(Renewal("one", 1, LEASE, tuple(here(f"c{n}", f"u{n}") for n in range(50)), True), 100)
    assert server.run("present", 100, "room", 200)[5:] == [-1]
