"""What `check_engine` checks of presence, with engines that have it."""

from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

import attrs
import trio

from ...engines.base import Engine
from ...engines.presence import LeaseLost, PresenceEdit, PresencePage, Renewal, presence_group, read_event
from .engine_nodes import Node, Setting, new_group
from .rules import checkpointing, until

__all__ = ["CHECKS", "RULES"]

LEASE_SECONDS = 1.5  # where the engine's clock is a real one, this is waited for, and must not end by chance
GRACE_SECONDS = 0.2
LONG_SECONDS = 60.0


@attrs.define
class _Speaker:
    """A node's incarnation, which speaks of its connections."""

    engine: Engine
    lease: float = LONG_SECONDS
    name: str = attrs.Factory(lambda: uuid4().hex)
    numbers: Any = attrs.Factory(lambda: count(1))
    is_known: bool = False

    def edit(
        self,
        group: str,
        client: str,
        user: str | None = None,
        *,
        is_present: bool = True,
        info: str = "",
        grace: float = 0,
    ) -> PresenceEdit:
        return PresenceEdit(group, client, is_present, user, info, grace)

    async def says(self, *edits: PresenceEdit) -> None:
        """Renew the lease. Raises: EngineError."""
        renewal = Renewal(self.name, next(self.numbers), self.lease, edits, not self.is_known)
        await self.engine.renew(renewal)
        self.is_known = True


async def _watched(s: Setting) -> str:
    """A group whose events every node is given."""
    group = new_group()
    for node in s.nodes:
        await node.watch(presence_group(group))
    return group


def _events(node: Node, group: str) -> list[tuple[str, str | None, str]]:
    """Return what a node was told: kind, user, info."""
    events = map(read_event, node.messages(presence_group(group)))
    return [(event.kind, event.user or event.client, event.info) for event in events]


async def _told(s: Setting, group: str, *expected: tuple[str, str, str], within: float = 0.0) -> None:
    """Every node is told exactly this, with versions without a hole."""
    for index, node in enumerate(s.nodes):
        await until(partial(lambda node: len(_events(node, group)) >= len(expected), node), s.timeout + within)
        got = _events(node, group)
        s.hold(got == list(expected), f"node {index} was told {got}, not {list(expected)}")
        positions = [message.position for message in node.messages(presence_group(group))]
        offsets = [position.offset for position in positions if position is not None]
        s.hold(offsets == list(range(1, len(expected) + 1)), f"the versions are {positions}")


async def _present(node: Node, group: str) -> PresencePage:
    return await checkpointing("presence()", node.engine.presence, group)


async def _users(s: Setting) -> None:
    group = await _watched(s)
    first, last = _Speaker(s.first.engine), _Speaker(s.last.engine)
    await first.says(first.edit(group, "a", "ann", info='"x"'), first.edit(group, "b"))
    await last.says(last.edit(group, "c", "ann", info='"x"'), last.edit(group, "d", "dan"))
    for node in s.nodes:
        page = await _present(node, group)
        got = [(each.client, each.user, each.info) for each in page.clients]
        expected = [("a", "ann", '"x"'), ("c", "ann", '"x"'), ("b", None, ""), ("d", "dan", "")]
        s.hold(got == expected, f"present are {got}, not {expected}")
        s.hold(page.version.offset == 3, f"after 3 events the version is {page.version}")
    await first.says(first.edit(group, "a", is_present=False))
    await last.says(last.edit(group, "c", "ann", info='"y"'))
    await last.says(last.edit(group, "c", is_present=False), last.edit(group, "nobody", is_present=False))
    await _told(
        s, group, ("joined", "ann", '"x"'), ("joined", "b", ""), ("joined", "dan", ""), ("updated", "ann", '"y"'),
        ("left", "ann", '"y"'),
    )  # fmt: skip


async def _grace(s: Setting) -> None:
    group = await _watched(s)
    first, last = _Speaker(s.first.engine), _Speaker(s.last.engine)
    await first.says(
        first.edit(group, "a", "ann", grace=LONG_SECONDS), first.edit(group, "b", "bob", grace=GRACE_SECONDS)
    )
    await first.says(first.edit(group, "a", is_present=False), first.edit(group, "b", is_present=False))
    page = await _present(s.last, group)
    s.hold([each.user for each in page.clients] == ["ann", "bob"], f"in their graces, there are {page.clients}")
    await last.says(last.edit(group, "c", "ann", grace=GRACE_SECONDS))
    await trio.sleep(GRACE_SECONDS * 1.5)
    await last.says()
    await _told(s, group, ("joined", "ann", ""), ("joined", "bob", ""), ("left", "bob", ""))
    page = await _present(s.last, group)
    s.hold([each.client for each in page.clients] == ["c"], f"there is {page.clients}")


async def _lease(s: Setting) -> None:
    """A node that renews keeps what it holds; one that does not loses it, once, whoever finds out."""
    group = await _watched(s)
    living, dead = _Speaker(s.first.engine, LEASE_SECONDS), _Speaker(s.last.engine, LEASE_SECONDS)
    await living.says(living.edit(group, "a", "ann"))
    await dead.says(*[dead.edit(group, f"c{number}", f"u{number:02}") for number in range(30)])
    others = [_Speaker(node.engine) for node in s.nodes]
    for _ in range(10):  # several nodes look, one after the other and at once
        await trio.sleep(LEASE_SECONDS / 5)
        async with trio.open_nursery() as nursery:
            for speaker in (living, *others):
                nursery.start_soon(speaker.says)
    users = [f"u{number:02}" for number in range(30)]
    told = [("joined", "ann", ""), *(("joined", user, "") for user in users), *(("left", user, "") for user in users)]
    await _told(s, group, *told)
    try:
        await dead.says(dead.edit(group, "late", "late"))
    except LeaseLost:
        pass
    else:
        s.hold(False, "a node whose lease was over was heard all the same")
    again = _Speaker(s.last.engine, LEASE_SECONDS)
    await again.says(again.edit(group, "c0", "u00"))
    await _told(s, group, *told, ("joined", "u00", ""))


async def _repeated(s: Setting) -> None:
    """Say everything twice, and some of it late."""
    group = await _watched(s)
    name = uuid4().hex
    enter, leave = PresenceEdit(group, "a", True, "ann"), PresenceEdit(group, "a", False, "ann")
    renewals = [Renewal(name, number, LONG_SECONDS, (edit,), True) for number, edit in ((1, enter), (2, leave))]
    for renewal in (renewals[0], renewals[0], renewals[1], renewals[0], renewals[1]):
        await s.first.engine.renew(renewal)
    await _told(s, group, ("joined", "ann", ""), ("left", "ann", ""))


async def _moved(s: Setting) -> None:
    """A connection that another incarnation speaks of is that one's."""
    group = await _watched(s)
    before, now = _Speaker(s.last.engine, LEASE_SECONDS), _Speaker(s.last.engine)
    await before.says(before.edit(group, "a", "ann"))
    await now.says(now.edit(group, "a", "ann"))
    with suppress(LeaseLost):
        await before.says(before.edit(group, "a", is_present=False))
    await trio.sleep(LEASE_SECONDS * 1.5)
    await now.says()
    await _told(s, group, ("joined", "ann", ""))


async def _later(s: Setting) -> None:
    """Begin to watch, then read: all that is not in there is told."""
    group = new_group()
    speaker = _Speaker(s.first.engine)
    await speaker.says(speaker.edit(group, "a", "ann"))
    await s.last.watch(presence_group(group))
    page = await _present(s.last, group)
    await speaker.says(speaker.edit(group, "b", "bob"))
    await s.last.wait_for(1, presence_group(group), s.timeout)
    got = [message.position for message in s.last.messages(presence_group(group))]
    expected = [attrs.evolve(page.version, offset=page.version.offset + 1)]
    s.hold(got == expected, f"{page.version} was read, and the next version is {got}")


RULES = (
    (_users, "A user joins with the first connection, on whatever node, and leaves with the last; info is told."),
    (_grace, "Who is back within the grace has never left; who is not leaves when it is over, at the next renewal."),
    (_lease, "When a lease ends, each that it held leaves once; the node is told, and begins as a new incarnation."),
    (_repeated, "A renewal that comes twice is done once, and one that comes late is not done."),
    (_moved, "A connection belongs to the incarnation that has spoken of it last."),
    (_later, "A version is that of the last event, for those who read and those who are told."),
)
CHECKS = frozenset(check for check, _ in RULES)
