"""What `check_engine` checks of watching, and of an engine's life."""

from typing import Any

import trio

from ...core.message import Message
from ...engines.base import EngineState
from .engine_nodes import Node, Setting, new_group, watched_group
from .rules import until

__all__ = ["RULES"]


async def _watch(s: Setting) -> None:
    """From a watch on that others know nothing of, a node misses nothing."""
    for _ in range(5):
        group = new_group()
        position = await s.last.watch(group)
        sent = [await s.first.publish(group, number, None) for number in range(3)]
        await s.last.wait_for(3, group, s.timeout)
        got = [message.position for message in s.last.messages(group)]
        s.hold(got == sent, f"after {position}, {sent} were published, and the node was given {got}")


async def _watch_under_way(s: Setting) -> None:
    """Somebody publishes all the time while a node begins to watch."""
    for _ in range(3):
        group = new_group()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_publish_for_ever, s.first, group)
            await trio.sleep(0.005)
            position = await s.last.watch(group)
            await s.last.wait_for(len(s.last.messages(group)) + 5, group, s.timeout)
            nursery.cancel_scope.cancel(reason="enough")
        offsets = [each.position.offset for each in s.last.messages(group) if each.position is not None]
        after = [offset for offset in offsets if offset > position.offset]
        expected = list(range(position.offset + 1, position.offset + 1 + len(after)))
        s.hold(after == expected and after, f"the watch holds from {position} on, and the node was given {offsets}")


async def _publish_for_ever(node: Node, group: str) -> None:
    while True:
        await node.publish(group, 1, None)
        await trio.sleep(0.001)


async def _unwatch(s: Setting) -> None:
    group, node = await watched_group(s), s.last
    for _ in range(2):
        node.engine.unwatch(group)
    node.engine.unwatch(new_group())
    await s.first.publish(group, "unseen by the last")
    before = await s.first.history(group)
    position = await node.watch(group)
    s.hold(position == before.top, f"the top is {before.top}, and the watch holds from {position} on")
    s.hold(await node.watch(group) == position, "a second watch of the same group has another position")
    await s.first.publish(group, "seen")
    await until(lambda: "seen" in node.payloads(group), s.timeout)
    s.hold("seen" in node.payloads(group), f"after watching again the node was given {node.payloads(group)}")
    if len(s.nodes) > 1:
        await s.first.wait_for(2, group, s.timeout)
        got = s.first.payloads(group)
        s.hold(got == ["unseen by the last", "seen"], f"another node has unwatched, and this one was given {got}")


async def _cancelled_watch(s: Setting) -> None:
    """One who stops waiting takes nothing from the others who wait."""
    group, node, positions = new_group(), s.last, list[Any]()
    receipt = node.engine.watch(group)

    async def wait() -> None:
        positions.append(await receipt)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with trio.CancelScope() as scope:
            scope.cancel()
            await receipt
    s.hold(positions and positions[0] is not None, f"the one who waited on got {positions}")
    await s.first.publish(group, 1)
    await node.wait_for(1, group, s.timeout)
    s.hold(node.payloads(group) == [1], f"the node was given {node.payloads(group)}")


async def _life(s: Setting) -> None:
    for index, node in enumerate(s.nodes):
        state = node.engine.state
        s.hold(state is EngineState.UP, f"node {index} runs, and its state is {state}: {node.engine.health()}")
        s.hold(node.engine.health(), "health() says nothing")
    receipt = s.first.engine.post(new_group(), Message(1, 0.0))
    with trio.move_on_after(s.first.engine.deadline + s.timeout):
        await receipt
    s.hold(receipt.is_settled, f"after {s.first.engine.deadline + s.timeout:g} s a receipt is not settled")


RULES = (
    (_watch, "When the receipt of a watch is settled, the node gets every message from then on."),
    (_watch_under_way, "The receipt of a watch has the position after which the node gets every message."),
    (_unwatch, "unwatch() never raises, takes nothing from other nodes, and a watch after it holds again."),
    (_cancelled_watch, "One who stops waiting for a watch takes nothing from the others who wait."),
    (_life, "An engine that runs is up."),
)
