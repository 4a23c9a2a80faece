"""What `check_engine` checks of publishing: numbers, order, delivery, receipts."""

from typing import Any
from uuid import uuid4

import trio

from ...core.message import Message, Position
from .engine_nodes import LIMITS, Node, Setting, new_group, watched_group
from .rules import until

__all__ = ["FIRST_RULES", "RULES"]


async def _positions(s: Setting) -> None:
    group, other = new_group(), new_group()
    positions = [await s.first.publish(group, number, LIMITS if number % 2 else None) for number in range(4)]
    await s.first.publish(other, "x")
    positions.append(await s.last.publish(group, 4))
    first = positions[0].offset
    expected = [Position(first + number, positions[0].epoch) for number in range(5)]
    s.hold(positions == expected, f"five messages got {positions}")
    top = (await s.first.history(group)).top
    s.hold(top == positions[-1], f"the latest message has {positions[-1]}, and the history's top is {top}")


async def _delivery(s: Setting) -> None:
    group = await watched_group(s)
    sent: list[tuple[Position, Any]] = []
    for number, payload in enumerate(({"text": "ä\u2028"}, "text", b"\x00\xff", 7, [], {})):
        sent.append((await s.nodes[number % len(s.nodes)].publish(group, payload, None), payload))
    for index, node in enumerate(s.nodes):
        await node.wait_for(len(sent), group, s.timeout)
        got = [(message.position, message.payload) for message in node.messages(group)]
        s.hold(got == sent, f"{sent} was published, and node {index} was given {got}")


async def _identity(s: Setting) -> None:
    group, left_out = await watched_group(s), uuid4()
    message = Message(1, 1234.5, excluded=frozenset([left_out]), excluded_users=frozenset(["ann"]), is_shown=False)
    message.trace = b"a trace"
    await s.first.engine.publish(group, message, keep=LIMITS)
    seen = [_all_of(message)]
    for node in s.nodes:
        await node.wait_for(1, group, s.timeout)
        page = await node.history(group)
        seen += [_all_of(each) for each in (*node.messages(group), *page.messages)]
    s.hold(len(seen) == 1 + 2 * len(s.nodes), f"one message was seen {len(seen) - 1} times on {len(s.nodes)} node(s)")
    s.hold(all(each == seen[0] for each in seen), f"it was {seen[0]}, and {seen[1:]}")


def _all_of(message: Message) -> tuple[Any, ...]:
    parts = message.uuid, message.created, message.excluded, message.excluded_users
    return *parts, message.is_shown, message.is_transient, message.trace


async def _order(s: Setting) -> None:
    group = await watched_group(s)

    async def publish(node: Node, task: int) -> None:
        for number in range(5):
            await node.publish(group, [task, number])

    async with trio.open_nursery() as nursery:
        for task in range(6):
            nursery.start_soon(publish, s.nodes[task % len(s.nodes)], task)
    for index, node in enumerate(s.nodes):
        await node.wait_for(30, group, s.timeout)
        positions = [message.position for message in node.messages(group)]
        offsets = [0 if position is None else position.offset for position in positions]
        s.hold(offsets == sorted(offsets), f"node {index} was given the offsets {offsets}")
        got, expected = node.payloads(group), s.first.payloads(group)
        s.hold(got == expected, f"node 0 was given {expected}, and node {index} {got}")
        s.hold(len(got) == 30, f"30 messages were published, and node {index} was given {len(got)}")


async def _posts(s: Setting) -> None:
    group = await watched_group(s)
    receipts = [s.last.engine.post(group, Message(number, 0.0)) for number in range(20)]
    positions = [await receipt for receipt in receipts]
    offsets = [0 if position is None else position.offset for position in positions]
    s.hold(offsets == list(range(offsets[0], offsets[0] + 20)), f"twenty posts of one task got the offsets {offsets}")


async def _prompt(s: Setting) -> None:
    group = await watched_group(s)
    for number in range(5):
        for node in s.nodes:
            await node.publish(group, number, None)
            got = node.payloads(group)
            s.hold(number in got, f"publish() of {number} came back, and the node had been given {got}")


async def _watchers(s: Setting) -> None:
    group = new_group()
    receipt = s.first.engine.post(group, Message(1, 0.0))
    await receipt
    s.hold(not receipt.is_watched, "nobody watches the group, and the receipt says that somebody does")
    await s.last.watch(group)
    receipt = s.first.engine.post(group, Message(2, 0.0))
    await receipt
    s.hold(receipt.is_watched, "a node watches the group, and the receipt says that none does")


async def _keys(s: Setting) -> None:
    group, other = await watched_group(s), await watched_group(s)
    first = await s.first.publish(group, "a", key="key")
    again = [await node.publish(group, "again", key="key") for node in s.nodes]
    s.hold(all(position == first for position in again), f"the first got {first}, and its retries {again}")
    second = await s.first.publish(group, "b", key="another key")
    await s.first.publish(other, "c", key="key")
    await s.first.publish(group, "end")
    await s.first.publish(other, "end")
    s.hold(second.offset == first.offset + 1, f"{first} is followed by {second}")
    for index, node in enumerate(s.nodes):
        await node.wait_for(3, group, s.timeout)
        await node.wait_for(2, other, s.timeout)
        got = node.payloads(group), node.payloads(other)
        s.hold(got == (["a", "b", "end"], ["c", "end"]), f"node {index} was given {got}")
    kept, _ = await s.last.kept(group)
    s.hold(kept == ["a", "b", "end"], f"the history is {kept}")


async def _transient(s: Setting) -> None:
    group = await watched_group(s)
    before = await s.last.publish(group, "before")
    position = await s.last.engine.publish(group, Message("transient", 0.0, is_transient=True), keep=LIMITS)
    after = await s.last.publish(group, "after")
    s.hold(position is None, f"it got {position}")
    s.hold(after.offset == before.offset + 1, f"around it are {before} and {after}")
    for index, node in enumerate(s.nodes):
        await node.wait_for(3, group, s.timeout)
        got = [(message.payload, message.position) for message in node.messages(group)]
        expected = [("before", before), ("transient", None), ("after", after)]
        s.hold(got == expected, f"node {index} was given {got}")
    kept = await s.last.kept(group)
    s.hold(kept == (["before", "after"], True), f"the history is {kept}")


async def _cancellation(s: Setting) -> None:
    group, node = await watched_group(s), s.first
    with trio.CancelScope() as scope:
        scope.cancel()
        await node.engine.publish(group, Message("cancelled", 0.0), keep=LIMITS)
    s.hold(scope.cancelled_caught, "publish() did not notice that it was cancelled")
    position = await node.publish(group, "after")
    await until(lambda: "after" in node.payloads(group), s.timeout)
    got = node.payloads(group)
    s.hold(got in (["after"], ["cancelled", "after"]), f"the node was given {got}")
    if node.engine.is_local:
        s.hold(got == ["after"], f"an engine of one process has published all the same: {got}")
    kept, _ = await node.kept(group)
    s.hold(kept == got, f"{got} was delivered, and {kept} is in the history (position {position})")


async def _asking(s: Setting) -> None:
    answers = await s.first.engine.ask(b"a question")
    expected = [b"answer to a question"] * (len(s.nodes) - 1)
    s.hold(answers == expected, f"of {len(s.nodes)} node(s), the others said {answers}")
    s.hold(s.first.asked == [], "a node was asked its own question")


async def _bad_keys(s: Setting) -> None:
    for key, error in (("", ValueError), ("x" * 201, ValueError), (b"key", TypeError)):
        try:
            s.first.engine.post(new_group(), Message(1, 0.0), key=key)  # type: ignore[arg-type]
        except error:
            continue
        s.hold(False, f"{key!r} was taken for a key")


# What the other rules take for granted.
FIRST_RULES = (
    (_positions, "The messages of one group, kept or not, from every node, are numbered without a gap, in one epoch."),
    (_delivery, "Each message is delivered once to every node, this one included, as it was, with its position."),
)
RULES = (
    (_identity, "A message has the same id and attributes on every node, and in the history."),
    (_order, "For one group, every node is delivered the same messages in ascending order of offset."),
    (_posts, "What one task posts to a group is numbered in that order."),
    (_prompt, "When a receipt is settled, a node that watches the group has been given the message."),
    (_watchers, "A receipt tells whether some node watched the group."),
    (_keys, "A publish whose key the group has had gets the first one's position, and nothing is done again."),
    (_transient, "A transient message has no number, keeps its place, and is in no history."),
    (_cancellation, "A cancelled publish() has published its message once, or (in one process always) not at all."),
    (_bad_keys, "A key is a str of 1 to 200 characters."),
    (_asking, "ask() gives what every other node answers."),
)
