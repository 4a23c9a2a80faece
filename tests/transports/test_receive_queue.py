"""The inbox: order, bounds, the end behind the messages, and that cancelling loses nothing."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.transports.receive_queue import Inbox

END = End(1001, "bye", Cause.PEER_CLOSED)


class Reader:
    """A reader that notes when it may go on."""

    def __init__(self, max_messages=3, max_bytes=100):
        self.went_on = 0
        self.inbox = Inbox(max_messages, max_bytes, self.go_on)

    def go_on(self):
        self.went_on += 1


@pytest.fixture
def reader():
    return Reader()


async def test_messages_come_in_order_and_the_end_comes_last(reader):
    inbox = reader.inbox
    with assert_no_checkpoints():
        inbox.put("one")
        inbox.put(b"two")
        inbox.finish(END)
    for expected in ("one", b"two", END, END):  # the end stays
        with assert_checkpoints():
            assert await inbox.get() == expected


async def test_the_first_end_stays_and_what_comes_later_is_thrown_away(reader):
    reader.inbox.finish(END)
    reader.inbox.finish(End.of(Cause.PEER_LOST))
    reader.inbox.put("late")
    assert await reader.inbox.get() is END
    assert len(reader.inbox) == 0


@pytest.mark.parametrize("item", ["text", END])
async def test_a_waiting_handler_is_woken(reader, nursery, item):
    got = []

    async def handler():
        got.append(await reader.inbox.get())

    nursery.start_soon(handler)
    await wait_all_tasks_blocked()
    if isinstance(item, End):
        reader.inbox.finish(item)
    else:
        reader.inbox.put(item)
    await wait_all_tasks_blocked()
    assert got == [item]


async def test_a_second_receiver_is_refused(reader, nursery):
    nursery.start_soon(reader.inbox.get)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError, match="another task is already receiving"):
        await reader.inbox.get()
    reader.inbox.put("for the first")
    await wait_all_tasks_blocked()
    assert len(reader.inbox) == 0


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_cancelling_takes_nothing(reader, is_waiting):
    inbox = reader.inbox
    if not is_waiting:
        inbox.put("kept")
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.get()
    assert scope.cancelled_caught
    if is_waiting:
        inbox.put("kept")
    assert await inbox.get() == "kept"  # and it is not busy


async def test_a_message_that_meets_a_cancellation_is_kept_or_delivered(reader, nursery):
    """The handler is woken with a message and cancelled in the same pass."""
    got = []

    async def handler(task_status):
        with trio.CancelScope() as scope:
            task_status.started(scope)
            got.append(await reader.inbox.get())

    scope = await nursery.start(handler)
    await wait_all_tasks_blocked()
    reader.inbox.put("once")
    scope.cancel()
    await wait_all_tasks_blocked()
    reader.inbox.finish(END)
    got.append(await reader.inbox.get())
    assert [item for item in got if item != END] == ["once"]


async def test_it_is_full_at_its_bound_of_messages_and_tells_of_room(reader):
    inbox = reader.inbox
    for text in ("a", "b", "c"):
        assert not inbox.full
        inbox.put(text)
    assert inbox.full
    assert reader.went_on == 0
    await inbox.get()
    assert not inbox.full
    assert reader.went_on == 1
    await inbox.get()
    assert reader.went_on == 1  # told once


async def test_it_is_full_at_its_bound_of_bytes():
    reader = Reader(max_messages=100, max_bytes=10)
    reader.inbox.put("12345")
    assert not reader.inbox.full
    reader.inbox.put("67890")
    assert reader.inbox.full
    await reader.inbox.get()
    assert (reader.inbox.full, reader.went_on) == (False, 1)


async def test_the_end_lets_the_reader_go_on(reader):
    for text in ("a", "b", "c"):
        reader.inbox.put(text)
    reader.inbox.finish(END)
    assert reader.went_on == 1


async def test_a_killed_connection_has_nothing_to_read(reader, nursery):
    inbox = reader.inbox
    for text in ("a", "b", "c"):
        inbox.put(text)
    got = []

    async def handler():
        got.append(await inbox.get())

    nursery.start_soon(handler)  # finds messages, and yields before it takes one
    inbox.finish(END)
    inbox.discard()
    assert (len(inbox), inbox.full) == (0, False)
    await wait_all_tasks_blocked()
    assert got == [END]


@given(st.lists(st.text(max_size=5) | st.none(), max_size=30))
def test_whatever_the_order_of_puts_and_gets(steps):
    """None is a get; text is a put, unless the inbox is full."""

    async def main():
        reader = Reader(max_messages=4, max_bytes=12)
        model = []
        for step in steps:
            is_full = len(model) >= 4 or sum(map(len, model)) >= 12
            assert reader.inbox.full == is_full
            if step is None:
                if model:
                    assert await reader.inbox.get() == model.pop(0)
            elif not is_full:
                reader.inbox.put(step)
                model.append(step)
        assert len(reader.inbox) == len(model)

    trio.run(main)
