"""The poller: who is called, for what, and that nobody's mistake is another's."""

import logging
import os
import socket
import struct
import weakref
from contextlib import contextmanager, suppress
from time import perf_counter

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio.transports import epoll as module
from nexios_trio.transports.epoll import (
    BROKEN,
    BUSY_FORGIVEN_SECONDS,
    BUSY_TURN_SECONDS,
    MAX_DEFERRAL_SECONDS,
    MAX_EVENTS,
    MIN_PASS_SECONDS,
    PEER_LEFT,
    READ,
    SLOW_PASS_SECONDS,
    WRITE,
    open_poller,
)

DEADLINE = 10.0


class Owner:
    """Notes what it is called for. `react` runs in `ready`."""

    def __init__(self, react=lambda: None):
        self.events = []
        self.errors = []
        self.react = react
        self.called = trio.Event()

    def ready(self, events):
        self.events.append(events)
        self.called.set()
        self.react()

    def failed(self, error):
        self.errors.append(error)


@contextmanager
def pairs(count=1):
    """Connected sockets: ours (non-blocking), and the peers'."""
    made = [socket.socketpair() for _ in range(count)]
    for ours, _ in made:
        ours.setblocking(False)
    try:
        yield made
    finally:
        for pair in made:
            for sock in pair:
                sock.close()


@pytest.fixture
async def poller(nursery):
    with open_poller() as running:
        nursery.start_soon(running.run)
        yield running


@contextmanager
def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    with ours, peer:
        yield ours, peer


async def test_readable(poller):
    with pairs() as [(ours, peer)]:
        owner = Owner(lambda: ours.recv(100))
        poller.watch(ours, owner, READ)
        await wait_all_tasks_blocked()
        assert owner.events == []
        peer.send(b"x")
        await owner.called.wait()
        await wait_all_tasks_blocked()
        assert owner.events == [READ]
        poller.forget(ours)


async def test_what_stays_unread_is_told_again(poller):
    """Level-triggered: nothing is lost when one `recv` does not take all."""
    with pairs() as [(ours, peer)]:
        got = []
        owner = Owner(lambda: got.append(ours.recv(1)))
        poller.watch(ours, owner, READ)
        peer.send(b"abc")
        with trio.fail_after(DEADLINE):
            while len(got) < 3:
                await trio.lowlevel.checkpoint()
        assert got == [b"a", b"b", b"c"]
        poller.forget(ours)


async def test_writable_only_when_asked_for(poller):
    with pairs() as [(ours, _)]:
        owner = Owner(lambda: poller.change(ours, READ))
        poller.watch(ours, owner, READ)
        await wait_all_tasks_blocked()
        poller.change(ours, READ | WRITE)
        await owner.called.wait()
        await wait_all_tasks_blocked()
        assert owner.events == [WRITE]
        poller.forget(ours)


async def test_the_peer_s_end_is_told_without_reading(poller):
    with tcp_pair() as (ours, peer):
        owner = Owner(lambda: poller.forget(ours))
        poller.watch(ours, owner, PEER_LEFT)
        peer.send(b"unread")
        await wait_all_tasks_blocked()
        assert owner.events == []
        peer.shutdown(socket.SHUT_WR)
        with trio.fail_after(DEADLINE):
            await owner.called.wait()
        assert owner.events == [PEER_LEFT]


async def test_a_reset_is_told_whatever_was_asked_for(poller):
    with tcp_pair() as (ours, peer):
        owner = Owner(lambda: poller.forget(ours))
        poller.watch(ours, owner, 0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with trio.fail_after(DEADLINE):
            await owner.called.wait()
        assert owner.events[0] & BROKEN


async def test_a_new_owner_takes_over(poller):
    with pairs() as [(ours, peer)]:
        first, second = Owner(), Owner(lambda: ours.recv(100))
        poller.watch(ours, first, READ)
        poller.change(ours, READ, second)
        peer.send(b"x")
        await second.called.wait()
        assert first.events == []
        poller.forget(ours)


async def test_who_is_forgotten_is_not_called(poller):
    with pairs() as [(ours, peer)]:
        owner = Owner()
        poller.watch(ours, owner, READ)
        assert len(poller) == 1
        poller.forget(ours)
        poller.forget(ours)
        assert len(poller) == 0
        peer.send(b"x")
        await wait_all_tasks_blocked()
        assert owner.events == []


async def test_who_is_forgotten_by_another_in_the_same_round_is_not_called(poller):
    with pairs(2) as [(first, a), (second, b)]:
        owners = {}

        def remove(other):
            for sock in (first, second):
                poller.forget(sock)
            other.close()

        owners[first], owners[second] = Owner(lambda: remove(second)), Owner(lambda: remove(first))
        for sock, owner in owners.items():
            poller.watch(sock, owner, READ)
        a.send(b"x")
        b.send(b"x")
        await wait_all_tasks_blocked()
        assert sorted(len(owner.events) for owner in owners.values()) == [0, 1]


async def test_an_owner_that_fails_is_told_and_nobody_else_notices(poller, caplog):
    with pairs(2) as [(first, a), (second, b)]:
        mistake = ValueError("a mistake")

        def fail():
            poller.forget(first)
            raise mistake

        bad, good = Owner(fail), Owner(lambda: second.recv(100))
        poller.watch(first, bad, READ)
        poller.watch(second, good, READ)
        a.send(b"x")
        b.send(b"x")
        await wait_all_tasks_blocked()
        b.send(b"y")
        await wait_all_tasks_blocked()
        assert bad.errors == [mistake]
        assert len(good.events) == 2
        poller.forget(second)
    [record] = caplog.records
    assert (record.levelno, record.exc_info[1]) == (logging.ERROR, mistake)


async def test_other_tasks_run_between_two_rounds(poller, monkeypatch):
    """However many sockets are ready all the time."""
    monkeypatch.setattr(module, "MAX_EVENTS", 4)
    with pairs(20) as made:
        calls = []
        for number, (ours, peer) in enumerate(made):
            poller.watch(ours, Owner(lambda number=number: calls.append(number)), READ)
            peer.send(b"x")  # never read
        seen = []
        with trio.fail_after(DEADLINE):
            while len(set(calls)) < 20:
                before = len(calls)
                await trio.lowlevel.checkpoint()
                seen.append(len(calls) - before)
        assert max(seen) <= 2 * 4  # within a pass, the order of tasks is chance
        for ours, _ in made:
            poller.forget(ours)


async def test_other_tasks_run_within_a_round_that_takes_long(poller, monkeypatch):
    """And who is gone by the time of its turn is not called, even if its descriptor has a new owner."""
    monkeypatch.setattr(module, "MIN_PASS_SECONDS", -1.0)  # every turn takes long
    monkeypatch.setattr(module, "MAX_PASS_SECONDS", -1.0)
    with pairs(20) as made:
        turns = []
        calls = []
        [gone, _], [replaced, _] = made[9:11]

        for number, (ours, peer) in enumerate(made):
            poller.watch(ours, Owner(lambda number=number: calls.append(number)), READ)
            peer.send(b"x")  # never read
        with trio.fail_after(DEADLINE):
            while len(calls) < 18:
                before = len(calls)
                await trio.lowlevel.checkpoint()
                turns.append(len(calls) - before)
                if not before and calls:
                    poller.forget(gone)
                    poller.forget(replaced)
                    poller.watch(replaced, Owner(lambda: calls.append("new")), PEER_LEFT)
        assert sorted(calls[:18], key=str) == sorted({*range(20)} - {9, 10}, key=str)
        assert max(turns) <= 2  # within a pass, the order of tasks is chance
        for ours, _ in made:
            poller.forget(ours)


@pytest.mark.parametrize(
    ("others", "passes_taken"), [(0.0, range(40, 61)), (20 * MIN_PASS_SECONDS, range(4, 17))], ids=["quick", "slow"]
)
async def test_turns_take_as_long_as_the_other_tasks(poller, nursery, monkeypatch, others, passes_taken):
    """Else, among slow tasks, who is last of many would wait for those many times."""
    now = 1000.0
    passes = 0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    monkeypatch.setattr(module, "BUSY_TURN_SECONDS", MIN_PASS_SECONDS)  # nobody is

    async def other_task():
        nonlocal now, passes
        while True:
            now += others
            passes += 1
            await trio.lowlevel.checkpoint()

    def turn(ours):
        nonlocal now
        now += MIN_PASS_SECONDS * 0.6
        ours.recv(100)
        called.append(passes)

    with pairs(100) as made:
        called = []
        for ours, peer in made:
            poller.watch(ours, Owner(lambda ours=ours: turn(ours)), READ)
            peer.send(b"x")
        nursery.start_soon(other_task)
        with trio.fail_after(DEADLINE):
            while len(called) < 100:
                await trio.lowlevel.checkpoint()
        assert called[-1] - called[0] in passes_taken  # more or less: the order of tasks is chance
        for ours, _ in made:
            poller.forget(ours)


def spin():
    """Longer than a turn may take."""
    until = perf_counter() + 2 * BUSY_TURN_SECONDS
    while perf_counter() < until:
        pass


async def test_who_keeps_us_busy_waits_for_the_others(poller):
    with pairs(21) as made:
        *crowd, (ours, peer) = made
        turns = []

        def turn(number, react):
            turns.append(number)
            react()

        for number, (one, other) in enumerate(crowd):
            poller.watch(one, Owner(lambda number=number: turn(number, spin)), READ)
            other.send(b"x")  # never read

        quiet = Owner(lambda: turn("quiet", lambda: ours.recv(100)))
        poller.watch(ours, quiet, READ)
        with trio.fail_after(DEADLINE):
            while len(turns) < 60:
                await trio.lowlevel.checkpoint()
            assert {turns.count(number) for number in range(20)} <= {2, 3, 4}  # in turn
            turns.clear()
            peer.send(b"x")
            await quiet.called.wait()
        # What takes at most `BUSY_PASS_SECONDS` may come first, and again what the scheduler puts in between.
        assert turns.index("quiet") < 8
        for one, _ in made:
            poller.forget(one)


async def test_busy_no_more(poller):
    """One long turn is forgiven by the next short one; without a wait for ever in between."""
    with pairs() as [(ours, peer)]:
        reactions = [spin, list, spin]

        def react():
            ours.recv(100)
            reactions.pop(0)()

        owner = Owner(react)
        poller.watch(ours, owner, READ)
        for left in (2, 1, 0):
            peer.send(b"x")
            with trio.fail_after(DEADLINE):
                while len(reactions) > left:
                    await trio.lowlevel.checkpoint()
        poller.forget(ours)
        assert not len(poller)


@pytest.mark.parametrize(
    ("newcomers", "seconds"), [(True, BUSY_TURN_SECONDS / 2), (False, 2 * BUSY_TURN_SECONDS)], ids=["newcomers", "busy"]
)
@pytest.mark.parametrize("told_of", [MAX_EVENTS, 16])
async def test_who_is_there_comes_first(poller, monkeypatch, newcomers, seconds, told_of):
    """However many newcomers there are, also after a quick turn of theirs, or peers who keep us busy.

    And however few the kernel tells of at a time.
    """
    now = 1000.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    monkeypatch.setattr(module, "MAX_EVENTS", told_of)
    with pairs(101) as made:
        *crowd, (ours, peer) = made
        turns = []

        def turn(number):
            nonlocal now
            now += seconds
            turns.append(number)

        def old():
            ours.recv(100)
            turns.append("old")

        for number, (one, other) in enumerate(crowd):
            poller.watch(one, Owner(lambda number=number: turn(number)), READ, newcomer=newcomers)
            other.send(b"x")  # never read
        poller.watch(ours, Owner(old), READ)
        with trio.fail_after(DEADLINE):
            while len(set(turns)) < 100:
                await trio.lowlevel.checkpoint()
            for _ in range(3):
                turns.clear()
                peer.send(b"x")
                while "old" not in turns:
                    await trio.lowlevel.checkpoint()
                assert turns.index("old") < 16  # twice what takes `BUSY_PASS_SECONDS`: the order of tasks is chance
        for one, _ in made:
            poller.forget(one)


async def test_newcomers_come_one_by_one_beside_others_and_together_alone(poller, monkeypatch):
    """What each of them starts takes much longer than its turn."""
    now = 1000.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    with pairs(41) as made:
        *crowd, (ours, peer) = made
        turns = []

        def turn(who):
            nonlocal now
            now += BUSY_TURN_SECONDS / 2
            turns.append(who)

        async def until(count):
            turns.clear()
            with trio.fail_after(DEADLINE):
                while len(turns) < count:
                    await trio.lowlevel.checkpoint()
            return "".join(turns[:count])

        for one, other in crowd:
            poller.watch(one, Owner(lambda: turn("n")), READ, newcomer=True)
            other.send(b"x")  # never read
        poller.watch(ours, Owner(lambda: turn("o")), READ)
        assert await until(60) == 60 * "n"
        peer.send(b"x")  # never read
        await until(60)
        assert await until(60) in (30 * "on", 30 * "no")
        poller.change(ours, 0)
        passes = 0
        turns.clear()
        with trio.fail_after(DEADLINE):
            while len(turns) < 60:
                await trio.lowlevel.checkpoint()
                passes += 1
        assert passes < 40  # six in each, more or less: the order of tasks is chance
        for one, _ in made:
            poller.forget(one)


async def test_a_newcomer_that_comes_alone_has_its_turn_at_once(poller):
    first, second, third = Owner(), Owner(), Owner()
    poller.serve_at_once(first)
    poller.serve_at_once(second)
    assert (first.events, second.events) == ([READ], [])
    with pairs() as [(ours, theirs)]:
        other = Owner()
        poller.watch(ours, other, READ)
        theirs.send(b"x")
        with trio.fail_after(DEADLINE):
            await other.called.wait()
        poller.forget(ours)
    poller.serve_at_once(third)  # the sockets have been looked at
    assert third.events == [READ]


async def test_where_newcomers_wait_nobody_has_a_turn_at_once(poller):
    def come_too():  # while the other one waits, the first time
        poller.serve_at_once(late)
        seen.append(bool(late.events))

    late = Owner()
    seen = []
    with pairs(2) as sockets:
        newcomers = [Owner(), Owner()]
        for (ours, theirs), newcomer in zip(sockets, newcomers, strict=True):
            poller.watch(ours, newcomer, READ, newcomer=True)
            theirs.send(b"x")
        newcomers[0].react = newcomers[1].react = come_too
        with trio.fail_after(DEADLINE):
            for newcomer in newcomers:
                await newcomer.called.wait()
        for ours, _ in sockets:
            poller.forget(ours)
    assert seen[0] is False


async def test_a_newcomer_that_fails_at_once_is_told(poller, caplog):
    def fail():
        raise RuntimeError("a mistake")

    newcomer = Owner(fail)
    poller.serve_at_once(newcomer)
    assert [str(error) for error in newcomer.errors] == ["a mistake"]
    assert "a connection failed" in caplog.text


async def test_who_keeps_us_busy_and_newcomers_come_in_turn(poller, monkeypatch):
    """A peer with long messages is not behind hundreds of newcomers, nor are they behind a flood."""
    now = 1000.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    with pairs(103) as made:
        *crowd, first, second = made
        turns = []

        def turn(who):
            nonlocal now
            now += 2 * BUSY_TURN_SECONDS
            turns.append(who)

        for one, other in crowd:
            poller.watch(one, Owner(lambda: turn("n")), READ, newcomer=True)
            other.send(b"x")  # never read
        for one, other in first, second:
            poller.watch(one, Owner(lambda: turn("b")), READ)
            other.send(b"x")  # never read
        with trio.fail_after(DEADLINE):
            while len(turns) < 100:
                await trio.lowlevel.checkpoint()
        assert "".join(turns[-60:]) in (30 * "nb", 30 * "bn")
        for one, _ in made:
            poller.forget(one)


@pytest.mark.parametrize(
    ("others", "most"),
    [(SLOW_PASS_SECONDS / 4, 4 / SLOW_PASS_SECONDS), (2 * SLOW_PASS_SECONDS, 1 / MAX_DEFERRAL_SECONDS)],
    ids=["quick", "slow"],
)
async def test_newcomers_wait_while_other_tasks_are_slow(poller, nursery, monkeypatch, others, most):
    """Beside somebody who says something all the time, which those tasks make late already. But not for ever."""
    now = 1000.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)

    async def other_task():
        nonlocal now
        while True:
            now += others
            await trio.lowlevel.checkpoint()

    with pairs(21) as made:
        *crowd, (ours, peer) = made
        turns = []
        for one, other in crowd:
            poller.watch(one, Owner(lambda: turns.append(now)), READ, newcomer=True)
            other.send(b"x")  # never read
        poller.watch(ours, Owner(), READ)
        peer.send(b"x")  # never read
        nursery.start_soon(other_task)
        with trio.fail_after(DEADLINE):
            while now < 1001:
                await trio.lowlevel.checkpoint()
        assert most / 2 < len(turns) <= most + 25  # all of them may come at first, and the order of tasks is chance
        for one, _ in made:
            poller.forget(one)


@pytest.mark.parametrize("seconds", [0, 2 * BUSY_TURN_SECONDS], ids=["quick", "busy"])
async def test_newcomers_are_told_again_of_what_they_leave(poller, monkeypatch, seconds):
    """They wait for their turn, and miss nothing: what they did not read, what they ask for later, what comes later."""
    now = 1000.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    with pairs() as [(ours, peer)]:

        def turn():
            nonlocal now
            now += seconds
            if owner.events[-1] & READ:
                got.append(ours.recv(1))
            if owner.events[-1] & WRITE:
                poller.change(ours, READ)

        got = []
        owner = Owner(turn)
        poller.watch(ours, owner, READ, newcomer=True)
        peer.send(b"abc")
        await wait_all_tasks_blocked()
        poller.change(ours, READ | WRITE)
        await wait_all_tasks_blocked()
        peer.send(b"de")
        await wait_all_tasks_blocked()
        assert b"".join(got) == b"abcde"
        assert [events for events in owner.events if events & WRITE] == [WRITE]
        poller.forget(ours)


async def test_one_long_turn_is_forgotten_after_a_while(poller, monkeypatch):
    """It may have been chance: a garbage collection, or another program on this processor."""
    now = 1000.0
    monkeypatch.setattr(module, "perf_counter", lambda: now)
    with pairs(21) as made:
        *crowd, (ours, peer) = made
        turns = []

        def turn(number, what=list):
            nonlocal now
            now += 2 * BUSY_TURN_SECONDS
            turns.append(number)
            what()

        poller.watch(ours, Owner(lambda: turn("unlucky", lambda: ours.recv(100))), READ)
        peer.send(b"x")
        await wait_all_tasks_blocked()
        assert turns == ["unlucky"]
        for number, (one, other) in enumerate(crowd):
            poller.watch(one, Owner(lambda number=number: turn(number)), READ)
            other.send(b"x")  # never read
        with trio.fail_after(DEADLINE):
            while now < 1000 + 2 * BUSY_FORGIVEN_SECONDS:
                await trio.lowlevel.checkpoint()
            turns.clear()
            peer.send(b"x")
            while "unlucky" not in turns:
                await trio.lowlevel.checkpoint()
        assert turns.index("unlucky") < 8  # not behind the twenty who are busy all the time
        for one, _ in made:
            poller.forget(one)


async def test_more_sockets_than_one_round_takes(poller):
    with pairs(MAX_EVENTS + 50) as made:
        called = set()

        def read(ours):
            ours.recv(100)
            called.add(ours)

        for ours, peer in made:
            poller.watch(ours, Owner(lambda ours=ours: read(ours)), READ)
            peer.send(b"x")
        await wait_all_tasks_blocked()
        assert len(called) == MAX_EVENTS + 50
        for ours, _ in made:
            poller.forget(ours)


async def test_it_sleeps_while_nothing_happens(poller):
    with pairs(3) as made:
        for ours, _ in made:
            poller.watch(ours, Owner(), READ | PEER_LEFT)
        await wait_all_tasks_blocked()  # would not return if it were busy
        for ours, _ in made:
            poller.forget(ours)


async def test_cancelled_it_stops_and_leaves_the_sockets_alone(nursery):
    with pairs() as [(ours, peer)], open_poller() as poller:
        poller.watch(ours, Owner(), READ)
        with trio.CancelScope() as scope:
            scope.cancel()
            await poller.run()
        assert scope.cancelled_caught
        assert ours.fileno() > 0
        owner = Owner(lambda: ours.recv(100))
        poller.change(ours, READ, owner)
        peer.send(b"x")
        nursery.start_soon(poller.run)  # and it can be run again
        await owner.called.wait()
        nursery.cancel_scope.cancel()


async def test_of_several_tasks_that_run_it_the_next_goes_on(nursery):
    with pairs() as [(ours, peer)], open_poller() as poller:
        owner = Owner(lambda: ours.recv(100))
        poller.watch(ours, owner, READ)

        async def run(task_status):
            with trio.CancelScope() as scope:
                task_status.started(scope)
                await poller.run()

        first = await nursery.start(run)
        await wait_all_tasks_blocked()
        second = await nursery.start(run)
        await wait_all_tasks_blocked()
        for scope in (first, second):
            peer.send(b"x")
            await owner.called.wait()
            owner.called = trio.Event()
            scope.cancel()
            await wait_all_tasks_blocked()
        assert len(owner.events) == 2


async def test_cancelled_in_the_middle_of_a_round_nobody_s_turn_is_lost(nursery, monkeypatch):
    """Newcomers are told of once: whoever goes on has to be told again."""
    monkeypatch.setattr(module, "MIN_PASS_SECONDS", 0.0)
    monkeypatch.setattr(module, "MAX_PASS_SECONDS", 0.0)
    with pairs(3) as sockets, open_poller() as poller:
        owners = [Owner(lambda ours=ours: ours.recv(100)) for ours, _ in sockets]
        with trio.CancelScope() as scope:
            owners[0].react = lambda: (sockets[0][0].recv(100), scope.cancel())
            for index, ((ours, peer), owner) in enumerate(zip(sockets, owners, strict=True)):
                poller.watch(ours, owner, READ, newcomer=index > 0)
                peer.send(b"x")
            await poller.run()
        assert [len(owner.events) for owner in owners] == [1, 0, 0]
        nursery.start_soon(poller.run)
        with trio.fail_after(DEADLINE):
            for owner in owners:
                await owner.called.wait()


def test_its_descriptor_is_closed_with_the_block():
    before = len(os.listdir("/proc/self/fd"))
    with open_poller() as poller, pairs() as [(ours, _)]:
        poller.watch(ours, Owner(), READ)
    assert len(poller) == 0
    assert len(os.listdir("/proc/self/fd")) == before
    poller.close()
    with pairs() as [(ours, _)]:
        poller.forget(ours)  # a connection that ends later than its poller


def test_a_socket_can_be_watched_once():
    with open_poller() as poller, pairs() as [(ours, _)]:
        poller.watch(ours, Owner(), READ)
        with pytest.raises(FileExistsError):
            poller.watch(ours, Owner(), READ)


async def test_asleep_it_keeps_nobody_alive_who_had_a_turn_in_a_long_round(poller, monkeypatch):
    """Who is over would be freed by the next round only, however long the server is idle."""
    monkeypatch.setattr(module, "MIN_PASS_SECONDS", -1.0)  # every turn takes long
    monkeypatch.setattr(module, "MAX_PASS_SECONDS", -1.0)
    with pairs(3) as sockets:
        owners = []
        for ours, theirs in sockets:
            owner = Owner(lambda ours=ours: poller.forget(ours))
            poller.watch(ours, owner, READ)
            owners.append(weakref.ref(owner))
            theirs.send(b"x")
        del owner
        await wait_all_tasks_blocked()
        assert [owner() for owner in owners] == [None] * 3


async def test_who_knows_more_than_the_kernel_is_called_again(poller):
    with pairs() as [(ours, _)]:
        owner = Owner()
        poller.watch(ours, owner, READ)
        await wait_all_tasks_blocked()  # the poller sleeps
        poller.call_again(ours, READ)
        await wait_all_tasks_blocked()
        assert owner.events == [READ]


async def test_who_is_called_again_has_its_turn_behind_the_others(poller):
    order = []
    with pairs(3) as made:

        def again():
            order.append("first")
            if len(order) < 6:
                poller.call_again(made[0][0], READ)

        owners = [Owner(again), Owner(lambda: order.append("second")), Owner(lambda: order.append("third"))]
        for (ours, theirs), owner in zip(made, owners, strict=True):
            poller.watch(ours, owner, READ)
            theirs.send(b"x")
        for owner in owners:
            owner.react = (lambda react, ours: lambda: (react(), take(ours)))(owner.react, made[owners.index(owner)][0])
        await wait_all_tasks_blocked()
        assert order == ["first", "second", "third", "first", "first", "first"]


def take(sock):
    with suppress(BlockingIOError):
        sock.recv(10)


async def test_who_does_not_want_to_read_now_is_not_called_again(poller):
    with pairs() as [(ours, _)]:
        owner = Owner()
        poller.watch(ours, owner, 0)
        poller.call_again(ours, READ)
        await wait_all_tasks_blocked()
        assert owner.events == []
        poller.change(ours, READ)
        poller.call_again(ours, READ)
        await wait_all_tasks_blocked()
        assert owner.events == [READ]
