"""Frames that no policy may drop: they come out, all and in order, or are refused when they are offered."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from nexios_trio.core.message import Frame, KeptFrame
from nexios_trio.core.overflow import conflate, disconnect, drop_latest, drop_oldest, max_lag
from nexios_trio.transports.send_queue import DeliveryCounts, Outbox


def plain(data):
    return Frame(data.encode(), text=True)


def kept(data):
    return KeptFrame(data.encode(), text=True)


def make(policy, max_messages=3, max_bytes=100):
    return Outbox(max_messages, max_bytes, policy, DeliveryCounts())


def drain(outbox):
    taken = []
    while outbox.messages:
        taken.append(outbox.take_nowait().payload.decode())
    assert outbox.bytes == 0
    return taken


async def test_the_oldest_that_may_be_dropped_is():
    outbox = make(drop_oldest)
    for frame in (kept("reply"), plain("1"), kept("2"), plain("3"), plain("4")):
        outbox.offer(frame)
    assert outbox.counts.dropped_oldest == 2
    assert not outbox.counts.has_refused
    assert drain(outbox) == ["reply", "2", "4"]


async def test_where_all_is_kept_the_new_one_goes_and_a_kept_one_is_refused():
    outbox = make(drop_oldest)
    for name in "123":
        outbox.offer(kept(name))
    assert outbox.offer(plain("4"))
    assert not outbox.counts.has_refused
    assert outbox.offer(kept("5"))
    assert outbox.counts.has_refused
    assert outbox.counts.dropped_latest == 2
    assert drain(outbox) == ["1", "2", "3"]


async def test_there_is_room_again_when_kept_ones_are_taken():
    outbox = make(drop_oldest)
    for name in "123":
        outbox.offer(kept(name))
    outbox.offer(plain("4"))
    assert outbox.take_nowait().payload == b"1"
    assert outbox.offer(kept("5"))
    assert drain(outbox) == ["2", "3", "5"]


async def test_the_bounds_hold_while_kept_ones_are_set_aside():
    outbox = make(drop_oldest)
    for name in "123":
        outbox.offer(kept(name))
    for _ in range(5):
        outbox.offer(plain("x"))
        assert outbox.messages == 3


async def test_drop_latest_refuses_it():
    outbox = make(drop_latest, max_messages=1)
    outbox.offer(plain("1"))
    outbox.offer(kept("2"))
    assert outbox.counts.has_refused


async def test_it_is_not_replaced_nor_does_it_replace():
    outbox = make(conflate(lambda payload: "key"), max_messages=10)
    for frame in (plain("1"), kept("2"), kept("3"), plain("4")):
        outbox.offer(frame, "key")
    assert drain(outbox) == ["4", "2", "3"]


async def test_who_waits_for_room_comes_behind_those_set_aside(nursery):
    outbox = make(drop_oldest, max_messages=2)
    outbox.offer(kept("1"))
    outbox.offer(kept("2"))
    outbox.offer(plain("x"))
    nursery.start_soon(outbox.send, kept("3"))
    await wait_all_tasks_blocked()
    with assert_checkpoints():
        assert (await outbox.take()).payload == b"1"
    assert drain(outbox) == ["2", "3"]


async def test_discarding_counts_those_set_aside():
    outbox = make(drop_oldest)
    for name in "123":
        outbox.offer(kept(name))
    outbox.offer(plain("x"))
    outbox.discard()
    assert (outbox.messages, outbox.bytes, outbox.counts.lost) == (0, 0, 3)


def test_it_stays_one_when_it_is_compressed():
    frame = kept("x" * 1000)
    assert frame.deflated.is_kept
    assert not plain("x" * 1000).deflated.is_kept
    assert len(frame.deflated.wire) < 100


POLICIES = {
    policy.name: policy
    for policy in (disconnect, drop_oldest, drop_latest, max_lag(1.0, "drop_oldest"), conflate(len, "drop_oldest"))
}
STEPS = st.lists(
    st.tuples(st.sampled_from(["offer", "take"]), st.booleans(), st.integers(1, 50)), min_size=1, max_size=60
)


@pytest.mark.parametrize("name", POLICIES)
@given(STEPS)
def test_what_was_queued_comes_out_in_order(name, steps):
    """Kept frames: all that were taken over. The others: no two change places with a kept one."""

    async def run():
        outbox, queued, taken = make(POLICIES[name], 5, 120), [], []
        for number, (step, is_kept, size) in enumerate(steps):
            if step == "take" and outbox.messages:
                taken.append(outbox.take_nowait())
            elif step == "offer":
                cls = KeptFrame if is_kept else Frame
                frame = cls(b"%0*d" % (size, number), text=True)
                outbox.counts.has_refused = False
                is_over = not outbox.offer(frame, size)
                if is_kept and not outbox.counts.has_refused and not is_over:
                    queued.append(frame)
            assert outbox.messages <= 5
            assert outbox.bytes <= 120
        while outbox.messages:
            taken.append(outbox.take_nowait())
        assert [frame for frame in taken if frame.is_kept] == queued

    trio.run(run)
