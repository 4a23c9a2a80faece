"""What `check_engine` checks of histories."""

import trio

from ...core.message import Position
from ...engines.base import HistoryLimits
from .engine_nodes import LIMITS, Setting, new_group
from .rules import checkpointing

__all__ = ["RULES"]

MAX_AGE_SECONDS = 0.25  # at first: where the engine's clock is a real one, this is waited for


async def _kept(s: Setting) -> None:
    group, empty = new_group(), new_group()
    for payload, history in (("a", LIMITS), ("not kept", None), (b"b", LIMITS), ({"c": 1}, LIMITS)):
        await s.first.publish(group, payload, history)
    for node in s.nodes:
        got = await node.kept(group)
        s.hold(got == (["a", b"b", {"c": 1}], True), f"the history is {got}")
        s.hold(await node.kept(empty) == ([], True), "a group that nobody published to has a history")
        named = await checkpointing("groups_with_history()", node.engine.groups_with_history)
        s.hold(group in named and empty not in named, f"groups_with_history() says {named}")


async def _resume(s: Setting) -> None:
    group, node = new_group(), s.last
    begin = (await node.history(group)).top
    positions = [await s.first.publish(group, number) for number in range(4)]
    for seen, position in enumerate([begin, *positions]):
        got = await node.kept(group, since=position)
        expected = (list(range(seen, 4)), True)
        s.hold(got == expected, f"after {seen} of 4 messages there is {got}, not {expected}")


async def _gaps(s: Setting) -> None:
    group, node = new_group(), s.last
    first = await s.first.publish(group, "a")
    unkept = await s.first.publish(group, "b", None)
    last = await s.first.publish(group, "c")
    cases = {
        "a message that was not kept": (first, (["c"], False)),
        "nothing": (unkept, (["c"], True)),
        "another epoch": (Position(last.offset, "another epoch"), None),
        "a position that has not been yet": (Position(last.offset + 5, last.epoch), None),
    }
    for missed, (since, expected) in cases.items():
        got = await node.kept(group, since=since)
        is_right = got == expected if expected is not None else not got[1]
        s.hold(is_right, f"between {since} and the end there is {missed}, and the answer is {got}")


async def _newest(s: Setting) -> None:
    group = new_group()
    positions = [await s.first.publish(group, number) for number in range(4)]
    for limit, since, expected in (
        (2, None, ([2, 3], True)),
        (9, None, ([0, 1, 2, 3], True)),
        (2, positions[0], ([1, 2], True)),
        (3, positions[0], ([1, 2, 3], True)),
    ):
        got = await s.last.kept(group, since=since, limit=limit)
        s.hold(got == expected, f"{limit} since {since} are {got}, not {expected}")


async def _pages(s: Setting) -> None:
    group = new_group()
    since = (await s.last.history(group)).top
    for size in (3, 3, 20, 3, 3):
        await s.first.publish(group, "x" * (size - 2))  # and its quotation marks
    pages: list[list[int]] = []
    for _ in range(9):
        page = await s.last.engine.history(group, since, max_bytes=7)
        pages.append([message.size for message in page.messages])
        position = page.messages[-1].position if page.messages else None
        s.hold(position is not None and page.complete, f"after {since} there is {page}")
        if not page.has_more or position is None:
            break
        since = position
    s.hold(pages == [[3, 3], [20], [3, 3]], f"in pages of 7 bytes, messages of 3, 3, 20, 3 and 3 came as {pages}")


async def _limits(s: Setting) -> None:
    for limits, kept in (
        (HistoryLimits(max_bytes=4), ["d"]),  # each message is `"a"`, three bytes
        (HistoryLimits(max_bytes=9, overflow="trim"), ["b", "c", "d"]),
        (HistoryLimits(max_bytes=1_000, max_messages=2), ["c", "d"]),
        (HistoryLimits(max_bytes=2), []),
    ):
        group = new_group()
        for payload in ("a", "b", "c", "d"):
            await s.first.publish(group, payload, limits)
        got, _ = await s.last.kept(group)
        s.hold(got == kept, f"within {limits} there is {got}, not {kept}")


async def _age(s: Setting) -> None:
    age = MAX_AGE_SECONDS
    while not await _ages_hold(s, age):
        age *= 2  # the machine is too slow to tell


async def _ages_hold(s: Setting, age: float) -> bool:
    group, limits = new_group(), HistoryLimits(max_bytes=1_000, max_age=age)
    first = await s.first.publish(group, "old", limits)
    since = Position(first.offset - 1, first.epoch)
    await trio.sleep(0.6 * age)
    second_at = trio.current_time()
    await s.first.publish(group, "young", limits)
    await trio.sleep(0.5 * age)
    got, complete = await s.last.kept(group)
    if trio.current_time() - second_at > 0.9 * age:
        return False
    s.hold(got == ["young"], f"of two messages, {1.1 * age:g} and {0.5 * age:g} s old, there is {got}")
    _, complete = await s.last.kept(group, since=since)
    s.hold(not complete, "what became too old is no gap for somebody who has not seen it")
    await trio.sleep(0.6 * age)
    got, _ = await s.last.kept(group)
    s.hold(got == [], f"of two messages, both older than {age:g} s, there is {got}")
    return True


async def _flush(s: Setting) -> None:
    group, other, node = new_group(), new_group(), s.last
    first = await s.first.publish(group, "a")
    await s.first.publish(other, "b")
    await checkpointing("flush_history()", node.engine.flush_history, group)
    s.hold(await node.kept(group) == ([], True), "the group's messages are still there")
    s.hold(await node.kept(other) == (["b"], True), "another group's messages are gone too")
    second = await s.first.publish(group, "c")
    s.hold(second == Position(first.offset + 1, first.epoch), f"{first} is followed by {second}")
    await checkpointing("flush_history()", node.engine.flush_history)
    left = await node.kept(group), await node.kept(other)
    s.hold(left == (([], True), ([], True)), f"after flushing everything there is {left}")


RULES = (
    (_kept, "A message is kept if and only if it was published with history, and can be read on every node at once."),
    (_resume, "history(since=...) gives exactly what came after that position, and says that it is complete."),
    (_gaps, "history(since=...) is complete if and only if nothing in between is gone."),
    (_newest, "history(limit=n) gives the newest n messages; with since=..., the first n after it."),
    (_pages, "history(since=..., max_bytes=n) gives all messages page by page, at least one at a time."),
    (_limits, "A history stays within its bytes and its number of messages."),
    (_age, "A message that is too old is in no history any more, and one that is not still is."),
    (_flush, "flush_history() forgets one group's messages, or everybody's, and positions go on counting."),
)
