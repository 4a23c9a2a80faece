"""Workers that share their groups by a hub, in one process: each end of each line is a task."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from nexios_trio.core.message import Message, Position
from nexios_trio.engines import history_pages
from nexios_trio.engines.base import Engine, EngineState, HistoryLimits, HistoryPage
from nexios_trio.engines.hub import node as hub_node
from nexios_trio.engines.hub.bodies import pack_query
from nexios_trio.engines.hub.engine import HubEngine
from nexios_trio.engines.hub.frames import HUB_VERSION, FrameReader, Kind, frame
from nexios_trio.engines.hub.hub import Hub
from nexios_trio.engines.hub.link import HubLink
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.exceptions import EngineError, LifecycleError, MessageTooBig
from nexios_trio.testing.contracts import check_engine

KEPT = HistoryLimits(max_bytes=10_000_000)
DEADLINE = 5.0
BIG = "x" * 10_000
OPENING = bytes((HUB_VERSION,)) + b"app"


@asynccontextmanager
async def worker(hub: Hub) -> AsyncIterator[HubLink]:
    """The line of a worker, for as long as the block."""
    theirs, ours = socket.socketpair()
    link = HubLink(ours, DEADLINE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.serve, theirs)
        nursery.start_soon(link.run)
        yield link
        nursery.cancel_scope.cancel()


class Node:
    """A box's engine in a worker, and what it was given."""

    def __init__(self, link: HubLink, name: str = "app") -> None:
        self.engine = HubEngine(link)
        self.engine.name = name
        self.got: list[tuple[str, Any]] = []
        self.gaps: list[tuple[str, int | None, int | None]] = []
        self.engine.attach(self._deliver, self._gap, lambda request: request[::-1])

    def _deliver(self, group: str, message: Message) -> None:
        self.got.append((group, message.payload))

    def _gap(self, group: str, after: Position | None, upto: Position | None) -> None:
        self.gaps.append((group, after and after.offset, upto and upto.offset))

    async def publish(self, group: str, payload: object, keep: HistoryLimits | None = None) -> Position | None:
        return await self.engine.publish(group, Message(payload, 0.0), keep=keep)

    async def until(self, count: int) -> list[Any]:
        with trio.fail_after(DEADLINE):
            while len(self.got) < count:
                await trio.sleep(0.001)
        return [payload for _, payload in self.got]


@asynccontextmanager
async def nodes(hub: Hub, *names: str) -> AsyncIterator[list[Node]]:
    """One in each worker."""
    if not names:
        yield []
        return
    async with worker(hub) as link:
        node = Node(link, names[0])
        async with node.engine.run(), nodes(hub, *names[1:]) as others:
            yield [node, *others]


async def test_the_hub_keeps_the_contract_of_engines():
    hub = Hub()

    @asynccontextmanager
    async def make() -> AsyncIterator[Engine]:
        async with worker(hub) as link:
            yield HubEngine(link)

    await check_engine(make)


async def test_what_is_posted_without_waiting_comes_in_order_everywhere():
    async with nodes(Hub(), "app", "app", "app") as all_of_them:
        for node in all_of_them:
            await node.engine.watch("room")
        for number in range(500):
            for index, node in enumerate(all_of_them):
                node.engine.post("room", Message([number, index], 0.0))
        first, second, third = [await node.until(1500) for node in all_of_them]
        assert first == second == third
        for index in range(3):
            assert [one for one in first if one[1] == index] == [[number, index] for number in range(500)]


async def test_messages_go_only_where_somebody_watches_and_every_publisher_knows():
    async with nodes(Hub(), "app", "app") as (first, second):
        receipt = first.engine.post("room", Message(1, 0.0))
        await receipt
        assert not receipt.is_watched
        await second.engine.watch("room")
        receipt = first.engine.post("room", Message(2, 0.0))
        await receipt
        assert receipt.is_watched
        assert await second.until(1) == [2]
        second.engine.unwatch("room")
        await second.publish("other", 3)
        receipt = first.engine.post("room", Message(4, 0.0))
        await receipt
        assert not receipt.is_watched
        assert (first.got, second.got) == ([], [("room", 2)])


async def test_boxes_of_two_names_do_not_mix():
    async with nodes(Hub(), "chat", "game") as (chat, game):
        for node in (chat, game):
            await node.engine.watch("room")
        await chat.publish("room", "hello", KEPT)
        await game.publish("room", "shoot")
        assert (chat.got, game.got) == ([("room", "hello")], [("room", "shoot")])
        await game.engine.flush_history()
        assert await game.engine.groups_with_history() == []
        assert await chat.engine.groups_with_history() == ["room"]


async def test_two_boxes_of_one_process_cannot_have_one_name():
    async with worker(Hub()) as link:
        async with Node(link).engine.run():
            with pytest.raises(LifecycleError, match="two boxes of one process are called 'app'"):
                async with Node(link).engine.run():
                    pass
        async with Node(link).engine.run():  # one after the other
            pass


async def test_a_worker_that_is_gone_watches_nothing_and_answers_nothing():
    hub = Hub()
    async with nodes(hub, "app") as (node,):
        async with nodes(hub, "app") as (other,):
            await other.engine.watch("room")
            assert await node.engine.ask(b"abc") == [b"cba"]
        assert await node.engine.ask(b"abc") == []
        receipt = node.engine.post("room", Message(1, 0.0))
        await receipt
        assert not receipt.is_watched


async def test_a_question_has_the_answers_of_those_that_answer(autojump_clock):
    hub = Hub()
    theirs, stuck = socket.socketpair()
    async with nodes(hub, "app", "app", "app") as all_of_them, trio.open_nursery() as nursery:
        nursery.start_soon(hub.serve, theirs)
        stuck.send(frame(Kind.OPEN, 1, 0, "", OPENING))
        await trio.testing.wait_all_tasks_blocked()
        assert await all_of_them[0].engine.ask(b"abc") == [b"cba", b"cba"]
        assert trio.current_time() == pytest.approx(DEADLINE)
        assert await all_of_them[0].engine.ask(b"abc") == [b"cba", b"cba"]  # nobody waits for it twice
        assert trio.current_time() == pytest.approx(DEADLINE)
        stuck.close()
        assert await all_of_them[0].engine.ask(b"abc") == [b"cba", b"cba"]
        assert trio.current_time() == pytest.approx(DEADLINE)


# What goes wrong


class Line:
    """What lies between a worker and the hub, and may stand still in one direction."""

    def __init__(self) -> None:
        self.at_hub, self.near_hub = socket.socketpair()
        self.near_worker, self.at_worker = socket.socketpair()
        self.is_open = {True: trio.Event(), False: trio.Event()}  # to the hub, to the worker
        for event in self.is_open.values():
            event.set()

    def stop(self, *, to_hub: bool) -> None:
        self.is_open[to_hub] = trio.Event()

    def go_on(self) -> None:
        for event in self.is_open.values():
            event.set()

    async def carry(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry, self.near_worker, self.near_hub, True)
            nursery.start_soon(self._carry, self.near_hub, self.near_worker, False)

    async def _carry(self, source: socket.socket, target: socket.socket, to_hub: bool) -> None:
        async with (
            trio.SocketStream(trio.socket.from_stdlib_socket(source.dup())) as incoming,
            trio.SocketStream(trio.socket.from_stdlib_socket(target.dup())) as outgoing,
        ):
            while True:
                await self.is_open[to_hub].wait()
                data = await incoming.receive_some(65_536)
                await self.is_open[to_hub].wait()
                if not data:
                    return
                await outgoing.send_all(data)

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self.near_hub, self.near_worker):
            sock.close()


@asynccontextmanager
async def slow_worker(hub: Hub) -> AsyncIterator[tuple[HubLink, Line]]:
    """A worker whose line can be stopped."""
    async with trio.open_nursery() as nursery:
        with Line() as line:
            link = HubLink(line.at_worker, DEADLINE)
            for task in (line.carry, link.run):
                nursery.start_soon(task)
            nursery.start_soon(hub.serve, line.at_hub)
            yield link, line
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def slow_node(hub: Hub) -> AsyncIterator[tuple[Node, Line]]:
    """A node in such a worker."""
    async with slow_worker(hub) as (link, line):
        node = Node(link)
        async with node.engine.run():
            yield node, line


async def test_a_parent_that_stalls_is_told_of_and_what_it_answers_late_is_delivered(autojump_clock, caplog):
    async with slow_node(Hub()) as (node, line):
        await node.engine.watch("room")
        assert node.engine.state is EngineState.UP
        line.stop(to_hub=True)
        with pytest.raises(EngineError) as caught:
            await node.publish("room", "late")
        assert caught.value.maybe_published
        assert trio.current_time() == pytest.approx(DEADLINE)
        assert node.engine.state is EngineState.DOWN
        assert node.engine.health() == "the parent process does not answer"
        line.go_on()
        await node.publish("room", "later")
        assert await node.until(2) == ["late", "later"]
        assert node.engine.state is EngineState.UP
    assert "the parent process does not answer" in caplog.text


async def test_posts_are_bounded(autojump_clock):
    async with slow_node(Hub()) as (node, line):
        line.stop(to_hub=True)
        with pytest.raises(EngineError, match="too many messages are on their way") as caught:
            for _ in range(10_000):
                node.engine.post("room", Message(BIG, 0.0))
        assert not caught.value.maybe_published
        with pytest.raises(MessageTooBig):
            node.engine.post("room", Message("x" * 20_000_000, 0.0))


async def test_a_parent_that_is_gone_fails_what_waits():
    async with slow_node(Hub()) as (node, line):
        line.stop(to_hub=True)
        receipt = node.engine.post("room", Message(1, 0.0))
        line.at_worker.shutdown(socket.SHUT_RDWR)
        with pytest.raises(EngineError, match="the parent process is gone"):
            await receipt
        assert node.engine.state is EngineState.DOWN
        with pytest.raises(EngineError):
            await node.publish("room", 1)
        with pytest.raises(EngineError):
            await node.engine.watch("room")


async def test_an_engine_that_does_not_run_raises():
    async with worker(Hub()) as link:
        node = Node(link)
        assert node.engine.state is EngineState.STARTING
        with pytest.raises(EngineError, match="does not run"):
            await node.publish("room", 1)
        with pytest.raises(EngineError, match="does not run"):
            await node.engine.watch("room")
        async with node.engine.run():
            await node.engine.watch("room")
        with pytest.raises(EngineError, match="does not run"):
            await node.publish("room", 1)


async def test_who_watches_from_one_run_to_the_next_hears_of_what_came_between():
    hub = Hub()
    async with nodes(hub, "app") as (other,), worker(hub) as link:
        node = Node(link)
        async with node.engine.run():
            await node.engine.watch("room")
            await node.engine.watch("quiet")
        await other.publish("room", "between")
        async with node.engine.run():
            await other.publish("room", "after")
            assert await node.until(1) == ["after"]
        assert node.gaps == [("room", 0, 1)]


@pytest.mark.parametrize("keep", [KEPT, None], ids=["kept", "not kept"])
async def test_a_worker_that_stalls_gets_what_is_kept_or_else_a_gap(monkeypatch, keep):
    monkeypatch.setattr(hub_node, "MAX_QUEUED_BYTES", 1_000_000)
    monkeypatch.setattr(hub_node, "LOW_BYTES", 100_000)
    hub = Hub()
    async with nodes(hub, "app") as (publisher,), slow_node(hub) as (node, line):
        await node.engine.watch("room")
        line.stop(to_hub=False)
        for number in range(400):
            await publisher.publish("room", [number, BIG], keep)
        line.go_on()
        while node.got[-1:] != [("room", ["last"])]:
            await publisher.publish("room", ["last"], keep)
        numbers = [payload[0] for _, payload in node.got if payload != ["last"]]
        assert numbers == list(range(len(numbers)))
        assert node.gaps == [] if keep else [("room", len(numbers), node.gaps[0][2])]
        assert len(numbers) == 400 if keep else len(numbers) < 400


async def test_a_post_of_a_worker_that_stalls_has_its_turn(monkeypatch):
    """It is answered behind what the worker has missed of the group."""
    monkeypatch.setattr(hub_node, "MAX_QUEUED_BYTES", 1_000_000)
    hub = Hub()
    async with nodes(hub, "app") as (publisher,), slow_node(hub) as (node, line):
        await node.engine.watch("room")
        line.stop(to_hub=False)
        for number in range(400):
            await publisher.publish("room", [number, BIG])
        receipt = node.engine.post("room", Message("mine", 0.0))
        await publisher.publish("room", ["other", BIG])
        line.go_on()
        position = await receipt
        assert position is not None
        assert node.gaps[0][1:] < (position.offset, position.offset)


async def test_publishers_wait_for_a_worker_that_is_slow(monkeypatch):
    monkeypatch.setattr(hub_node, "HIGH_BYTES", 100_000)
    hub = Hub()
    async with nodes(hub, "app") as (publisher,), slow_node(hub) as (node, _):
        await node.engine.watch("room")
        receipts = [publisher.engine.post("room", Message(BIG, 0.0)) for _ in range(1000)]
        await receipts[-1]
        assert len(node.got) > 500
        await node.until(1000)


async def test_a_message_of_a_newer_release_is_a_gap_and_no_crash(caplog):
    async with nodes(Hub(), "app", "app") as (first, second):
        await second.engine.watch("room")
        for encoded in (None, b"\xffnewer", None):
            message = Message("x", 0.0)
            message.encoded = encoded
            await first.engine.publish("room", message, keep=KEPT)
        assert await second.until(2) == ["x", "x"]
        assert second.gaps == [("room", 1, 2)]
        page = await second.engine.history("room")
        assert (len(page.messages), page.complete) == (2, True)
    assert "cannot be read" in caplog.text


async def test_a_worker_of_another_release_is_refused():
    theirs, ours = socket.socketpair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Hub().serve, theirs)
        with trio.SocketStream(trio.socket.from_stdlib_socket(ours)).socket as sock:
            await sock.send(frame(Kind.OPEN, 1, 0, "", b"\xffapp"))
            (said,) = FrameReader().feed(await sock.recv(1000))
            assert said.kind == Kind.REFUSED
            assert b"speaks version 2, and this worker version 255" in said.body


# What is queued for a worker, and what it has missed


def queued(hub: Hub) -> int:
    """Bytes that the hub holds for the worker for which it holds most."""
    return max(node._socket.queued for node in hub._nodes)


@asynccontextmanager
async def behind(monkeypatch, keep: HistoryLimits | None) -> AsyncIterator[tuple[Node, Node, Line, Hub]]:
    """A publisher, and a node whose line stands still and which has missed messages to "room"."""
    monkeypatch.setattr(hub_node, "MAX_QUEUED_BYTES", 1_000_000)
    monkeypatch.setattr(hub_node, "LOW_BYTES", 100_000)
    hub = Hub()
    async with nodes(hub, "app") as (publisher,), slow_node(hub) as (node, line):
        await node.engine.watch("room")
        line.stop(to_hub=False)
        for number in range(300):
            await publisher.publish("room", [number, BIG], keep)
        yield publisher, node, line, hub


async def test_what_is_queued_is_bounded_and_the_gap_is_told(monkeypatch):
    async with behind(monkeypatch, None) as (publisher, node, line, hub):
        assert 1_000_000 <= queued(hub) <= 1_000_000 + 2 * len(BIG)
        line.go_on()
        while not node.gaps:
            await publisher.publish("other", 1)
        [(_, after, upto)] = node.gaps
        assert after is not None
        assert [payload[0] for _, payload in node.got] == list(range(after))
        assert upto == 300
        await publisher.publish("room", ["after"])
        assert (await node.until(after + 1))[-1] == ["after"]


async def test_a_worker_that_asks_and_does_not_listen_is_not_answered_without_bounds(autojump_clock, monkeypatch):
    monkeypatch.setattr(hub_node, "HIGH_BYTES", 1_000_000)
    hub = Hub()
    async with nodes(hub, "app") as (publisher,), slow_node(hub) as (node, line):
        for number in range(20):
            await publisher.publish("room", [number, BIG], KEPT)
        line.stop(to_hub=False)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(EngineError):
                    await node.engine.history("room")

            for _ in range(100):
                nursery.start_soon(ask)
        assert queued(hub) <= 1_000_000 + 21 * len(BIG)
        await publisher.publish("room", "others go on")
        line.go_on()
        page = await node.engine.history("room")
        assert len(page.messages) == 20


async def test_who_reads_a_long_history_misses_nothing_else(monkeypatch):
    monkeypatch.setattr(hub_node, "MAX_QUEUED_BYTES", 1_000_000)
    monkeypatch.setattr(history_pages, "PAGE_BYTES", 500_000)  # more than a socket takes
    pages: list[HistoryPage] = []
    hub = Hub()
    async with nodes(hub, "app") as (publisher,), slow_node(hub) as (node, line):
        await node.engine.watch("other")
        for number in range(300):
            await publisher.publish("room", [number, BIG], KEPT)
        beginning = Position(0, (await node.engine.history("room", limit=0)).top.epoch)
        line.stop(to_hub=False)

        async def read() -> None:
            pages.append(await node.engine.history("room", beginning))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            while not queued(hub):
                await publisher.publish("elsewhere", "until it is asked")
            await publisher.publish("other", "meanwhile")
            line.go_on()
            assert await node.until(1) == ["meanwhile"]
        assert [message.payload[0] for message in pages[0].messages] == list(range(300))
        assert pages[0].complete
        assert node.gaps == []


@pytest.mark.parametrize("limit", [None, 0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("max_bytes", [None, 100, 150, 250, 1000])
@pytest.mark.parametrize("since", [None, 0, 1, 5, 99])
async def test_a_history_in_pages_is_that_of_the_engine_of_one_process(monkeypatch, since, limit, max_bytes):
    """But for a page of limited bytes after a position, which may be smaller: who reads on has all."""
    monkeypatch.setattr(history_pages, "PAGE_BYTES", 200)
    monkeypatch.setattr(history_pages, "PAGE_MESSAGES", 2)
    memory = MemoryEngine()
    async with nodes(Hub(), "app") as (node,):
        for engine in (node.engine, memory):
            for number in range(6):
                await engine.publish("room", Message([number, "x" * 90], 0.0), keep=KEPT)
        answers = []
        for engine in (node.engine, memory):
            epoch = (await engine.history("room", limit=0)).top.epoch
            position = None if since is None else Position(since, epoch)
            page = await engine.history("room", position, limit=limit, max_bytes=max_bytes)
            answers.append(([message.payload[0] for message in page.messages], page.complete, page.has_more))
        paged, whole = answers
        if since is not None and max_bytes is not None and paged != whole:
            assert paged[0] == whole[0][: len(paged[0])] != []
            assert paged[1:] == (whole[1], True)
        else:
            assert paged == whole


async def test_a_worker_that_is_gone_while_much_is_queued_for_it_is_forgotten(monkeypatch):
    monkeypatch.setattr(hub_node, "HIGH_BYTES", 100_000)
    hub = Hub()
    async with nodes(hub, "app") as (publisher,):
        await publisher.publish("room", BIG, KEPT)
        theirs, stuck = socket.socketpair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hub.serve, theirs)
            stuck.send(frame(Kind.OPEN, 1, 0, "", OPENING))
            query = pack_query(None, None, None)
            stuck.send(b"".join([frame(Kind.HISTORY, number, 1, "room", query) for number in range(2, 102)]))
            while queued(hub) <= 100_000:
                await trio.lowlevel.checkpoint()
            stuck.close()
        assert len(hub._nodes) == 1


@pytest.mark.parametrize("keep", [KEPT, None], ids=["kept", "not kept"])
@pytest.mark.parametrize("how", ["unwatched", "watched again"])
async def test_what_was_missed_before_a_watch_does_not_come_after_it(autojump_clock, monkeypatch, how, keep):
    async with behind(monkeypatch, keep) as (publisher, node, line, _):
        receipt = node.engine.post("room", Message("mine", 0.0))
        await trio.testing.wait_all_tasks_blocked()
        if how == "watched again":  # as one does whose watch was not answered in time
            del node.engine._watches["room"]
        else:
            node.engine.unwatch("room")
        line.go_on()
        position = await node.engine.watch("room")
        seen = len(node.got)
        assert await receipt == position
        await publisher.publish("room", "new", keep)
        assert (await node.until(seen + 1))[seen:] == ["new"]
        assert node.gaps == []


@pytest.mark.parametrize("keep", [KEPT, None], ids=["kept", "not kept"])
async def test_nor_what_was_missed_in_a_run_before(autojump_clock, monkeypatch, keep):
    monkeypatch.setattr(hub_node, "MAX_QUEUED_BYTES", 1_000_000)
    monkeypatch.setattr(hub_node, "LOW_BYTES", 100_000)
    hub = Hub()
    async with nodes(hub, "app") as (publisher,), slow_worker(hub) as (link, line):
        node = Node(link)
        async with node.engine.run():
            await node.engine.watch("room")
            line.stop(to_hub=False)
            for number in range(300):
                await publisher.publish("room", [number, BIG], keep)
            node.engine.post("room", Message("mine", 0.0))
        with trio.move_on_after(1):
            line.go_on()
            async with node.engine.run():  # which watches "room" again
                await publisher.publish("room", "new", keep)
                await node.until(1)
                await trio.testing.wait_all_tasks_blocked()
        assert [payload for _, payload in node.got] == ["new"]
        assert node.gaps == [("room", 0, 301)]
        assert link.has_room
        assert not link._requests
