"""The outbox: one order for both ways in, bounds that hold, and every message accounted for."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from nexios_trio.core.message import Frame
from nexios_trio.core.overflow import conflate, disconnect, drop_latest, drop_oldest, max_lag
from nexios_trio.exceptions import MessageTooBig
from nexios_trio.transports.send_queue import DeliveryCounts, Outbox


def frame(data):
    return Frame(data.encode(), text=True)


def make(policy=disconnect, max_messages=3, max_bytes=100):
    return Outbox(max_messages, max_bytes, policy, DeliveryCounts())


def drain(outbox):
    taken = []
    while outbox.messages:
        taken.append(outbox.take_nowait().payload.decode())
    assert outbox.bytes == 0
    return taken


async def test_both_ways_in_share_one_order():
    outbox = make(max_messages=10)
    with assert_no_checkpoints():
        assert outbox.offer(frame("1"))
    with assert_checkpoints():
        await outbox.send(frame("2"))
    outbox.offer(frame("3"))
    await outbox.send(frame("4"))
    assert drain(outbox) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(("max_messages", "max_bytes"), [(2, 100), (100, 5)])
async def test_over_a_bound_the_default_says_disconnect(max_messages, max_bytes):
    outbox = make(max_messages=max_messages, max_bytes=max_bytes)
    assert [outbox.offer(frame("xx")) for _ in range(3)] == [True, True, False]
    assert outbox.counts.lost == outbox.counts.undelivered == 1


async def test_send_waits_for_room_in_messages(nursery):
    outbox = make(max_messages=1)
    await outbox.send(frame("1"))
    nursery.start_soon(outbox.send, frame("2"))
    await wait_all_tasks_blocked()
    assert outbox.messages == 1
    assert outbox.take_nowait().payload == b"1"
    await wait_all_tasks_blocked()
    assert drain(outbox) == ["2"]


async def test_send_waits_for_room_in_bytes(nursery):
    outbox = make(max_bytes=10)
    await outbox.send(frame("x" * 6))
    nursery.start_soon(outbox.send, frame("y" * 6))
    await wait_all_tasks_blocked()
    assert outbox.bytes == 6
    outbox.take_nowait()
    await wait_all_tasks_blocked()
    assert drain(outbox) == ["y" * 6]


async def test_those_who_wait_are_served_in_the_order_of_their_calls(nursery):
    outbox = make(max_messages=2)
    for number in range(20):
        nursery.start_soon(outbox.send, frame(str(number)))
        await wait_all_tasks_blocked()
    taken = []
    while outbox.messages:
        taken.append(int(outbox.take_nowait().payload))
        if len(taken) % 5 == 0:  # newcomers stand behind those who wait, though there is room at this moment
            nursery.start_soon(outbox.send, frame(str(100 + len(taken))))
            await wait_all_tasks_blocked()
    assert taken == [*range(20), 105, 110, 115, 120]


async def test_a_newcomer_does_not_overtake_a_longer_message_that_waits(nursery):
    outbox = make(max_bytes=10)
    await outbox.send(frame("x" * 6))
    nursery.start_soon(outbox.send, frame("y" * 6))
    await wait_all_tasks_blocked()
    nursery.start_soon(outbox.send, frame("z"))
    await wait_all_tasks_blocked()
    assert drain(outbox) == ["x" * 6, "y" * 6, "z"]


async def test_when_the_first_of_those_who_wait_gives_up_the_others_get_its_room(nursery):
    outbox = make(max_bytes=10)
    await outbox.send(frame("x" * 6))
    scope = trio.CancelScope()
    nursery.start_soon(waiting_send, scope, outbox, frame("y" * 6))
    await wait_all_tasks_blocked()
    nursery.start_soon(outbox.send, frame("z"))
    await wait_all_tasks_blocked()
    scope.cancel()
    await wait_all_tasks_blocked()
    assert drain(outbox) == ["x" * 6, "z"]


async def waiting_send(scope, outbox, frame):
    with scope:
        await outbox.send(frame)


async def test_who_waits_when_the_queue_is_thrown_away_is_told_and_not_counted(nursery):
    outbox = make(max_messages=1)
    outbox.offer(frame("queued"))
    told = []

    async def send():
        with pytest.raises(trio.ClosedResourceError):
            await outbox.send(frame("waiting"))
        told.append(True)

    nursery.start_soon(send)
    await wait_all_tasks_blocked()
    outbox.discard()
    outbox.close()
    await wait_all_tasks_blocked()
    assert (told, outbox.counts.lost, outbox.messages) == ([True], 1, 0)


async def test_dropping_the_oldest_makes_room_for_the_new_one_and_not_for_those_who_wait(nursery):
    outbox = make(drop_oldest, max_messages=2)
    outbox.offer(frame("1"))
    outbox.offer(frame("2"))
    nursery.start_soon(outbox.send, frame("waiting"))
    await wait_all_tasks_blocked()
    outbox.offer(frame("3"))
    assert drain(outbox) == ["2", "3", "waiting"]


async def test_a_message_that_never_fits_is_refused_at_once():
    outbox = make(max_bytes=10)
    with pytest.raises(MessageTooBig, match="11 bytes; accepted: up to outbox_bytes=10"):
        await outbox.send(frame("x" * 11))
    assert outbox.messages == 0


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_a_cancelled_send_was_not_queued(is_waiting):
    outbox = make(max_messages=1)
    if is_waiting:
        outbox.offer(frame("first"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await outbox.send(frame("cancelled"))
    assert scope.cancelled_caught
    assert drain(outbox) == (["first"] if is_waiting else [])


async def test_closing_wakes_those_who_wait_for_room(nursery):
    outbox = make(max_messages=1)
    outbox.offer(frame("queued"))
    errors = []

    async def sender():
        try:
            await outbox.send(frame("late"))
        except trio.ClosedResourceError as error:
            errors.append(error)

    nursery.start_soon(sender)
    await wait_all_tasks_blocked()
    outbox.close()
    outbox.close()  # twice is once
    await wait_all_tasks_blocked()
    assert len(errors) == 1
    assert outbox.take_nowait().payload == b"queued"  # what is queued can still be taken
    with pytest.raises(trio.EndOfChannel):
        await outbox.take()


async def test_after_closing_send_raises_at_a_checkpoint_and_offers_are_lost():
    outbox = make()
    outbox.close()
    with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
        await outbox.send(frame("late"))
    assert outbox.offer(frame("late"))
    assert outbox.counts.lost == 1


async def test_take_waits_for_the_next_frame(nursery):
    outbox = make()
    taken = []

    async def writer():
        while True:
            taken.append((await outbox.take()).payload)

    nursery.start_soon(writer)
    await wait_all_tasks_blocked()
    outbox.offer(frame("1"))
    outbox.offer(frame("2"))
    await wait_all_tasks_blocked()
    assert taken == [b"1", b"2"]
    assert (outbox.messages, outbox.bytes) == (0, 0)
    nursery.cancel_scope.cancel()


async def test_discarding_counts_what_was_queued():
    outbox = make()
    for text in ("1", "2", "3"):
        outbox.offer(frame(text))
    outbox.discard()
    assert (outbox.messages, outbox.bytes, outbox.counts.lost) == (0, 0, 3)


async def test_a_frame_handed_to_the_writer_is_still_counted_as_queued(nursery):
    """The writer has been woken with it and has not run yet."""
    outbox = make(policy=drop_oldest, max_messages=1, max_bytes=10)
    taken = []

    async def writer():
        while True:
            taken.append((await outbox.take()).payload)

    nursery.start_soon(writer)
    await wait_all_tasks_blocked()
    outbox.offer(frame("handed"))
    assert outbox.messages == 1
    outbox.offer(frame("next"))  # nothing can be dropped: the oldest is gone already
    assert outbox.counts.undelivered == 0
    await wait_all_tasks_blocked()
    assert taken == [b"handed", b"next"]
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- policies


async def test_drop_oldest_makes_room_and_counts():
    outbox = make(drop_oldest, max_messages=10, max_bytes=10)
    for text in ("1234", "5678", "abcdefgh"):
        assert outbox.offer(frame(text))
    assert drain(outbox) == ["abcdefgh"]
    assert outbox.counts.dropped_oldest == 2


async def test_drop_latest_keeps_what_is_queued_and_counts():
    outbox = make(drop_latest, max_messages=2)
    for text in ("1", "2", "3"):
        assert outbox.offer(frame(text))
    assert drain(outbox) == ["1", "2"]
    assert outbox.counts.dropped_latest == 1


async def test_conflation_keeps_the_newest_of_each_key_in_the_oldest_place():
    outbox = make(conflate(lambda payload: payload[0]), max_messages=10)
    for text in ("a1", "b1", "a2", "b2", "a3"):
        outbox.offer(frame(text), text[0])
    await outbox.send(frame("direct"))  # has no key, is never replaced
    outbox.offer(frame("a4"), "a")
    assert drain(outbox) == ["a4", "b2", "direct"]
    assert outbox.counts.replaced == 4
    outbox.offer(frame("a5"), "a")  # what was taken is not replaced any more
    assert drain(outbox) == ["a5"]


async def test_conflation_replaces_a_frame_that_the_writer_was_just_handed(nursery):
    outbox = make(conflate(lambda payload: payload), max_messages=10)
    taken = []

    async def writer():
        while True:
            taken.append((await outbox.take()).payload)

    nursery.start_soon(writer)
    await wait_all_tasks_blocked()
    outbox.offer(frame("old"), "key")
    outbox.offer(frame("new"), "key")
    outbox.offer(frame("other"), None)
    await wait_all_tasks_blocked()
    assert taken == [b"new", b"other"]
    assert (outbox.messages, outbox.bytes, outbox.counts.replaced) == (0, 0, 1)
    nursery.cancel_scope.cancel()


async def test_lag_counts_from_the_oldest_queued_message(mock_clock):
    outbox = make(max_lag(5), max_messages=10)
    outbox.offer(frame("old"))
    mock_clock.jump(4)
    outbox.offer(frame("young"))
    mock_clock.jump(4)
    assert outbox.offer(frame("late")) is False
    outbox.take_nowait()  # now the oldest is 4 seconds old
    assert outbox.offer(frame("in time")) is True


POLICIES = {
    "disconnect": disconnect,
    "drop_oldest": drop_oldest,
    "drop_latest": drop_latest,
    "conflate": conflate(lambda payload: payload, drop_oldest),
    "max_lag": max_lag(1, drop_latest),
}
offers = st.tuples(st.integers(0, 12), st.sampled_from([None, "a", "b"]))


@given(st.sampled_from(sorted(POLICIES)), st.lists(offers | st.just("take") | st.just("discard"), max_size=40))
def test_the_bounds_hold_and_every_message_is_accounted_for(name, steps):
    async def main():
        outbox = make(POLICIES[name], max_messages=4, max_bytes=20)
        offered = taken = 0
        for step in steps:
            if step == "take":
                if outbox.messages:
                    outbox.take_nowait()
                    taken += 1
            elif step == "discard":
                outbox.discard()
            else:
                size, key = step
                offered += 1
                outbox.offer(Frame(b"x" * size, text=False), key)
            assert 0 <= outbox.messages <= 4
            assert 0 <= outbox.bytes <= 20
            assert offered == taken + outbox.messages + outbox.counts.undelivered
        sizes = [outbox.take_nowait().size for _ in range(outbox.messages)]
        assert outbox.bytes == 0
        assert sum(sizes) <= 20

    trio.run(main)


@given(st.lists(st.sampled_from(["offer", "send", "take"]), max_size=40))
def test_order_holds_whoever_waits(steps):
    """One task sends directly, another offers; each one's messages arrive in its own order, none twice."""

    async def main():
        outbox = make(drop_latest, max_messages=2)
        taken = []
        numbers = {"offer": 0, "send": 0}

        async def direct(receive):
            async for number in receive:
                await outbox.send(frame(f"send {number}"))

        async with trio.open_nursery() as nursery:
            to_direct, receive = trio.open_memory_channel(100)
            nursery.start_soon(direct, receive)
            for step in steps:
                if step == "take":
                    if outbox.messages:
                        taken.append(outbox.take_nowait().payload.decode())
                        await wait_all_tasks_blocked()
                    continue
                number = numbers[step] = numbers[step] + 1
                if step == "offer":
                    outbox.offer(frame(f"offer {number}"))
                else:
                    to_direct.send_nowait(number)
                    await wait_all_tasks_blocked()
            while outbox.messages:
                taken.append(outbox.take_nowait().payload.decode())
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        by_way = {way: [int(text.split()[1]) for text in taken if text.startswith(way)] for way in numbers}
        assert by_way["send"] == list(range(1, numbers["send"] + 1))  # all of them
        assert by_way["offer"] == sorted(set(by_way["offer"]))
        assert len(by_way["offer"]) == numbers["offer"] - outbox.counts.dropped_latest

    trio.run(main)
