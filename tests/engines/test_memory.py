"""The engine of one process: positions, history within its limits, resuming, and what cancelling means."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints

from nexios_trio.core.message import Message, Position
from nexios_trio.engines.base import HistoryLimits
from nexios_trio.engines.memory import MemoryEngine

ALL = HistoryLimits(max_bytes=1_000_000)


class Node:
    """An engine and what it delivered here."""

    def __init__(self, **options):
        self.engine = MemoryEngine(**options)
        self.delivered = []
        self.engine.attach(lambda group, message: self.delivered.append((group, message)))

    async def publish(self, group, payload, keep=ALL):
        return await self.engine.publish(group, Message(payload, 0.0), keep=keep)

    async def history(self, group="room", **options):
        page = await self.engine.history(group, **options)
        return [message.payload for message in page.messages], page.complete


@pytest.fixture
def node():
    return Node()


async def test_positions_count_from_one_within_each_group(node):
    first = await node.publish("room", "a")
    second = await node.publish("room", "b", None)  # kept or not
    other = await node.publish("other", "c")
    assert (first.offset, second.offset, other.offset) == (1, 2, 1)
    assert first.epoch == second.epoch
    assert [(group, m.payload, m.position) for group, m in node.delivered] == [
        ("room", "a", first),
        ("room", "b", second),
        ("other", "c", other),
    ]


async def test_a_message_can_be_read_when_it_is_delivered():
    engine = MemoryEngine()
    seen = []
    engine.attach(lambda group, message: seen.append(message.position))
    position = await engine.publish("room", Message(1, 0.0), keep=ALL)
    assert seen == [position]
    page = await engine.history("room")
    assert page.top == position


async def test_every_call_is_a_checkpoint(node):
    engine = node.engine
    for call in (
        lambda: node.publish("room", 1),
        lambda: engine.history("room"),
        lambda: engine.history("unknown"),
        engine.groups_with_history,
        engine.flush_history,
        lambda: engine.ask(b""),
    ):
        with assert_checkpoints():
            await call()


async def test_a_cancelled_publish_published_nothing(node):
    with trio.CancelScope() as scope:
        scope.cancel()
        await node.publish("room", 1)
    assert scope.cancelled_caught
    assert node.delivered == []
    assert await node.history() == ([], True)
    assert (await node.publish("room", 2)).offset == 1


async def test_history_keeps_what_it_is_told_to_keep(node):
    for payload in ("a", "b"):
        await node.publish("room", payload)
    await node.publish("room", "not kept", None)
    assert await node.history() == (["a", "b"], True)
    assert await node.history(limit=1) == (["b"], True)
    assert await node.history(limit=0) == ([], True)
    assert await node.engine.groups_with_history() == ["room"]


async def test_resuming_gives_what_was_missed_or_says_that_there_is_a_gap(node):
    positions = [await node.publish("room", payload) for payload in ("a", "b", "c")]
    assert await node.history(since=positions[0]) == (["b", "c"], True)
    assert await node.history(since=positions[2]) == ([], True)
    assert await node.history(since=positions[0], limit=1) == (["b"], True)
    assert (await node.history(since=Position(1, "another epoch")))[1] is False
    assert (await node.history(since=Position(9, positions[0].epoch)))[1] is False  # from the future
    assert (await node.history("unknown", since=positions[0]))[1] is False


async def test_nobody_missed_anything_in_a_group_that_was_never_published_to(node):
    page = await node.engine.history("room")
    assert await node.history(since=page.top) == ([], True)
    await node.publish("room", "a")
    assert await node.history(since=page.top) == (["a"], True)


async def test_a_message_that_was_not_kept_is_a_gap(node):
    first = await node.publish("room", "a")
    unkept = await node.publish("room", "b", None)
    await node.publish("room", "c")
    assert (await node.history(since=first)) == (["c"], False)
    assert (await node.history(since=unkept)) == (["c"], True)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (HistoryLimits(max_bytes=4), ["d"]),  # four bytes fit, five do not: all but the newest goes
        (HistoryLimits(max_bytes=9, overflow="trim"), ["b", "c", "d"]),
        (HistoryLimits(max_bytes=1_000, max_messages=2), ["c", "d"]),
    ],
)
async def test_history_stays_within_its_limits(node, limits, kept):
    for payload in ("a", "b", "c", "d"):
        await node.publish("room", payload, limits)
    assert (await node.history())[0] == kept


async def test_history_forgets_what_is_too_old():
    now = 0.0
    node = Node(clock=lambda: now)
    limits = HistoryLimits(max_bytes=1_000, max_age=10)
    await node.publish("room", "old", limits)
    now = 6.0
    await node.publish("room", "young", limits)
    now = 12.0
    assert (await node.history())[0] == ["young"]
    now = 20.0
    assert (await node.history())[0] == []
    assert await node.engine.groups_with_history() == []


async def test_flushing_forgets_messages_and_goes_on_counting(node):
    for group in ("room", "other"):
        await node.publish(group, "a")
    await node.engine.flush_history("room")
    await node.engine.flush_history("unknown")
    assert await node.engine.groups_with_history() == ["other"]
    assert (await node.publish("room", "b")).offset == 2
    await node.engine.flush_history()
    assert await node.engine.groups_with_history() == []


async def test_a_group_that_was_forgotten_begins_a_new_epoch():
    node = Node(max_groups=2)
    old = await node.publish("a", 1)
    await node.publish("b", 1)
    await node.publish("a", 2)  # so that b is the one published to longest ago
    old_b = (await node.engine.history("b")).top
    await node.publish("c", 1)
    assert await node.history("a") == ([1, 2], True)
    assert await node.history("b") == ([], True)
    new_b = await node.publish("b", 1)
    assert new_b.offset == 1
    assert new_b.epoch != old_b.epoch
    assert (await node.history("b", since=old_b))[1] is False
    assert (await node.history("a", since=old))[1] is False  # forgotten for b's sake


async def test_histories_together_are_bounded_however_many_groups_there_are():
    """Groups are often named by peers: ten thousand of them with a full history each would be ten GiB."""
    limits = HistoryLimits(max_bytes=4000)
    node = Node(max_bytes=22_000)  # of memory, and each message costs some 330 bytes more than it has
    for number in range(20):
        for _ in range(10):
            await node.publish(f"room-{number}", "x" * 300, limits)
    kept = await node.engine.groups_with_history()
    assert kept[-1] == "room-19"
    assert 2 <= len(kept) <= 3
    await node.engine.flush_history()
    await node.publish("small", 1, limits)
    assert (await node.engine.groups_with_history()) == ["small"]
    assert (await node.history(kept[0]))[0] == []
    for number in range(2):  # what was flushed counts no more
        await node.publish(f"large-{number}", "x" * 3900, limits)
    assert (await node.engine.groups_with_history()) == ["small", "large-0", "large-1"]


# ---------------------------------------------------------------- watching, and what is remembered


async def test_a_group_that_is_watched_keeps_its_numbering_however_many_others_there_are():
    node = Node(max_groups=2)
    before = await node.engine.watch("room")
    await node.publish("room", 1)
    for number in range(5):
        await node.publish(f"other-{number}", 1)
    assert await node.history("room", since=before) == ([1], True)
    after = await node.publish("room", 2)
    assert (after.offset, after.epoch) == (2, before.epoch)
    node.engine.unwatch("room")  # now it is one of the others, the one published to last
    await node.publish("other-1", 1)
    await node.publish("other-2", 1)
    assert (await node.publish("room", 3)).epoch != before.epoch


async def test_a_watch_is_idempotent_and_leaves_nothing_of_a_group_that_nobody_published_to(node):
    for _ in range(2):
        assert (await node.engine.watch("room")).offset == 0
    node.engine.unwatch("room")
    node.engine.unwatch("room")
    node.engine.unwatch("unknown")
    assert node.engine._logs == {}


async def test_when_all_histories_cost_too_much_a_watched_one_goes_too_and_its_numbering_stays():
    node = Node(max_bytes=6000)
    await node.engine.watch("room")
    first = await node.publish("room", "x" * 1000)
    for number in range(3):
        await node.publish(f"other-{number}", "x" * 1000)
    assert await node.history("room", since=first) == ([], True)
    second = await node.publish("room", 2)
    assert second == Position(2, first.epoch)
    assert await node.history("room", since=Position(0, first.epoch)) == ([2], False)


async def test_a_history_is_read_on_page_by_page(node):
    for number in range(5):
        await node.publish("room", "x" * number)
    since, pages = Position(0, (await node.engine.history("room")).top.epoch), []
    while True:
        page = await node.engine.history("room", since, max_bytes=8)  # each has two bytes more
        pages.append([message.size for message in page.messages])
        assert page.complete
        if not page.has_more:
            break
        since = page.messages[-1].position
    assert pages == [[2, 3], [4], [5], [6]]
    assert since.offset == 4
    page = await node.engine.history("room", max_bytes=11)  # the newest
    assert [message.size for message in page.messages] == [5, 6]
    page = await node.engine.history("room", max_bytes=1)
    assert [message.size for message in page.messages] == [6]


# ---------------------------------------------------------------- receipts


async def test_a_publish_with_a_key_happens_once_within_five_minutes():
    now = 0.0
    node = Node(clock=lambda: now)

    async def publish(payload, key):
        return await node.engine.publish("room", Message(payload, 0.0), keep=ALL, key=key)

    first = await publish("a", "key")
    now = 299.0
    assert await publish("b", "key") == first
    assert (await publish("c", "another")).offset == 2
    now = 300.0
    assert (await publish("d", "key")).offset == 3
    assert (await node.history())[0] == ["a", "c", "d"]
    assert [message.payload for _, message in node.delivered] == ["a", "c", "d"]


async def test_only_a_publish_with_a_key_leaves_a_receipt(node):
    await node.publish("room", 1)
    assert len(node.engine._receipts) == 0


async def test_without_a_box_nothing_is_delivered():
    assert (await MemoryEngine().publish("room", Message(1, 0.0), keep=None)).offset == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=30))
def test_history_is_what_was_kept_in_order(steps):
    async def main():
        node = Node()
        model = {"a": [], "b": []}
        for number, (group, is_kept) in enumerate(steps):
            await node.publish(group, number, ALL if is_kept else None)
            if is_kept:
                model[group].append(number)
        assert {group: (await node.history(group))[0] for group in model} == model
        for group in model:
            offsets = [message.position.offset for name, message in node.delivered if name == group]
            assert offsets == list(range(1, len(offsets) + 1))

    trio.run(main)
