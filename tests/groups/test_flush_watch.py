"""Who watches deliveries is told of few of them, and breaks none."""

import logging

from nexios_trio.core.message import Message
from nexios_trio.groups.broadcast import Broadcaster
from nexios_trio.pubsub.index import GroupIndex


class Room:
    """Two small groups of one member each, and watches of what they are given."""

    def __init__(self):
        self.index = GroupIndex()
        for name in ("a", "b"):
            self.index.add(f"member of {name}", name)
        self.broadcaster = Broadcaster(self.index, {})
        self.told = []

    def note(self, group, batch):
        self.told.append((group.name, [message.payload for message in batch.messages]))

    def publish(self, group, payload):
        self.broadcaster.deliver(group, Message(payload, 0.0))


def test_it_is_told_of_one_message_in_so_many():
    room = Room()
    room.broadcaster.watch_flushes(3, room.note)
    for number in range(10):
        room.publish("ab"[number % 2], number)
    assert room.told == [("a", [2]), ("b", [5]), ("a", [8])]


def test_every_message_and_few_of_them():
    room, rare = Room(), []
    room.broadcaster.watch_flushes(0, room.note)
    room.broadcaster.watch_flushes(4, lambda group, batch: rare.append(group.name))
    for number in range(8):
        room.publish("a", number)
    assert [payload for _, [payload] in room.told] == list(range(8))
    assert rare == ["a", "a"]


def test_nobody_is_told_where_nothing_was_given():
    room = Room()
    room.broadcaster.watch_flushes(0, room.note)
    room.broadcaster.flush(room.index.groups["a"])
    room.publish("nobody is here", 1)
    assert room.told == []


def test_its_errors_are_logged_and_the_message_is_delivered(caplog):
    room = Room()

    def fail(group, batch):
        raise ZeroDivisionError

    room.broadcaster.watch_flushes(1, fail)
    room.broadcaster.watch_flushes(1, room.note)
    room.publish("a", 1)
    assert room.told == [("a", [1])]
    assert not room.index.groups["a"].pending
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "what watches deliveries failed")
