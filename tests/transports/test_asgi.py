"""Plain ASGI: what the server hears, whatever it does to us."""

import logging
from contextlib import asynccontextmanager

import h11
import pytest
import trio
import wsproto.utilities
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from nexios_trio.config.settings import Settings
from nexios_trio.core.lifecycle import Cause, End, Phase
from nexios_trio.core.message import Batch, Message, binary_frame, text_frame
from nexios_trio.core.overflow import conflate
from nexios_trio.exceptions import LifecycleError, MessageTooBig, WebSocketDisconnect
from nexios_trio.transports.asgi import AsgiTransport
from nexios_trio.transports.timers import Timers
from tests.transports.support import membership
from tests.wire import Wire

OVERFLOW = (1013, "too slow")


@asynccontextmanager
async def opened(wire, *, accepted=True, **settings):
    transport = AsgiTransport(wire.scope, wire.receive, wire.send, Settings(**settings))
    transport.ends = []
    transport.on_end = transport.ends.append
    timers = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        async with transport.open(timers):
            if accepted:
                await transport.accept(None, [])
            yield transport
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- the handshake


async def test_accept_answers_with_what_it_is_given():
    wire = Wire()
    async with opened(wire, accepted=False) as transport:
        with assert_checkpoints():
            assert await transport.accept("chat", [(b"x-a", b"1")]) is transport
        assert transport.is_open
    assert wire.events == [{"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1")]}]


async def test_nothing_is_sent_before_accept():
    wire = Wire()
    async with opened(wire, accepted=False) as transport:
        with pytest.raises(LifecycleError, match=r"accept\(\)"):
            await transport.send(text_frame("early"))
        transport.offer(text_frame("from a group"))
        await wait_all_tasks_blocked()
        assert wire.events == []
        await transport.accept(None, [])
        await wait_all_tasks_blocked()
        assert wire.messages == ["from a group"]


async def test_accept_after_the_peer_has_left():
    wire = Wire()
    async with opened(wire, accepted=False) as transport:
        wire.leave(1001, "changed my mind")
        await wait_all_tasks_blocked()
        with assert_checkpoints(), pytest.raises(WebSocketDisconnect) as caught:
            await transport.accept(None, [])
    assert (caught.value.code, caught.value.reason) == (1001, "changed my mind")
    assert wire.events == []


@pytest.mark.parametrize("fault", [OSError("gone"), trio.BrokenResourceError(), trio.ClosedResourceError()])
async def test_accept_when_the_server_says_that_the_peer_is_gone(fault):
    wire = Wire()
    wire.fault = fault
    async with opened(wire, accepted=False) as transport:
        with pytest.raises(WebSocketDisconnect):
            await transport.accept(None, [])
        assert transport.ends == [End.of(Cause.PEER_LOST)]


async def test_a_cancelled_accept_ends_the_connection(autojump_clock):
    wire = Wire()
    wire.stall(shielded=False)
    async with opened(wire, accepted=False) as transport:
        transport.offer(text_frame("never sent before the handshake"))
        with trio.move_on_after(1):
            await transport.accept(None, [])
        wire.flow()
        await wait_all_tasks_blocked()
        assert wire.closes == [(1001, "")]  # right after an answer, and right without one
        assert wire.messages == []


async def test_denial_is_an_http_response():
    wire = Wire()
    async with opened(wire, accepted=False) as transport:
        with assert_checkpoints():
            await transport.deny(401, [(b"x-a", b"1")], b"who are you?", "no")
        assert transport.ends == [End(1006, "no", Cause.DENIED)]
        with assert_checkpoints():
            await transport.deny(403, [], b"")  # once
    assert wire.events == [
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"1")]},
        {"type": "websocket.http.response.body", "body": b"who are you?"},
    ]


@pytest.mark.parametrize(("status", "code"), [(404, 4404), (403, 1008), (500, 1008)])
async def test_denial_without_the_extension_is_a_close(status, code):
    wire = Wire(http_response=False)
    async with opened(wire, accepted=False) as transport:
        await transport.deny(status, [], b"", "why")
    assert wire.events == [{"type": "websocket.close", "code": code, "reason": "why"}]


async def test_the_scope_need_not_have_extensions():
    wire = Wire()
    wire.scope["extensions"] = None
    async with opened(wire, accepted=False) as transport:
        await transport.deny(403, [], b"")
    assert wire.closes == [(1008, "")]


async def test_denial_after_accept_is_a_mistake():
    wire = Wire()
    async with opened(wire) as transport:
        with pytest.raises(LifecycleError):
            await transport.deny(403, [], b"")
        assert transport.is_open


async def test_denial_loses_what_groups_sent_and_counts_it():
    wire = Wire()
    async with opened(wire, accepted=False) as transport:
        transport.offer(text_frame("1"))
        await transport.deny(403, [], b"")
        transport.offer(text_frame("2"))
        assert transport.statistics().lost == 2


# ---------------------------------------------------------------- reading


async def test_a_frame_has_one_type_whatever_keys_the_server_sends():
    wire = Wire()
    async with opened(wire) as transport:
        wire.say("text", b"bytes", "", b"")
        assert [await transport.inbox.get() for _ in range(4)] == ["text", b"bytes", "", b""]


@pytest.mark.parametrize(
    ("code", "reason", "end"),
    [
        (1001, "bye", End(1001, "bye", Cause.PEER_CLOSED)),
        (1006, "", End(1006, "", Cause.PEER_LOST)),
        (None, "", End(1005, "", Cause.PEER_CLOSED)),
        (4000, None, End(4000, "", Cause.PEER_CLOSED)),
    ],
)
async def test_the_peers_end_comes_behind_its_messages(code, reason, end):
    wire = Wire()
    async with opened(wire) as transport:
        wire.say("last words")
        wire.leave(code, reason)
        assert await transport.inbox.get() == "last words"
        assert await transport.inbox.get() == end
        assert transport.ends == [end]
    assert wire.closes == []


async def test_reading_stops_when_the_inbox_is_full_and_goes_on():
    wire = Wire()
    async with opened(wire, inbox_messages=2) as transport:
        wire.say("1", "2", "3", "4")
        await wait_all_tasks_blocked()
        assert len(transport.inbox) == 2
        assert [await transport.inbox.get() for _ in range(4)] == ["1", "2", "3", "4"]


async def test_a_peer_whose_messages_nobody_receives_counts_as_silent(autojump_clock):
    """While we do not listen, the server cannot tell us that it is gone."""
    wire = Wire()
    async with opened(wire, inbox_messages=2, ping_interval=20.0, ping_timeout=60.0) as transport:
        wire.say("1", "2", "3")
        begun = trio.current_time()
        while transport.is_open:
            await trio.sleep(1.0)
        assert 60.0 <= trio.current_time() - begun <= 62.0
        assert transport.end.cause is Cause.HEARTBEAT_TIMEOUT
        wire.say("4", "5")
        await wait_all_tasks_blocked()
        assert len(transport.inbox) == 0  # and the server's queue is empty


async def test_the_reader_reads_on_while_a_write_is_stuck(autojump_clock):
    """Or a server whose queue is full would never notice that the peer is gone, and the write would be stuck for ever."""
    wire = Wire()

    async def leaves_when_heard_out():
        await trio.sleep(20.0)
        wire.say("still", "talking")
        await wait_all_tasks_blocked()
        assert wire.unread == 0
        wire.flow()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaves_when_heard_out)
        async with opened(wire, write_timeout=10.0) as transport:
            wire.stall()
            await transport.send(text_frame("nobody reads this"))
            await trio.sleep(11.0)
            assert transport.end.cause is Cause.WRITE_TIMEOUT


async def test_an_own_close_is_seen_by_a_reader_that_waits_for_room():
    wire = Wire()
    async with opened(wire, inbox_messages=1) as transport:
        wire.say("1", "2", "3")
        await wait_all_tasks_blocked()
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        wire.leave()
        await wait_all_tasks_blocked()
        assert transport.lifecycle.phase is Phase.CLOSED


@pytest.mark.parametrize("message", ["x" * 11, b"x" * 11, "ä" * 6])
async def test_a_message_over_the_limit_in_bytes_ends_the_connection(message):
    wire = Wire()
    async with opened(wire, max_message_size=10) as transport:
        wire.say("1234567890", message, "after")
        assert await transport.inbox.get() == "1234567890"
        assert await transport.inbox.get() == End(1009, "a message may have 10 bytes", Cause.MESSAGE_TOO_BIG)
        await wait_all_tasks_blocked()
        assert wire.closes == [(1009, "a message may have 10 bytes")]


@pytest.mark.parametrize("failing", ["receive", "send"])
async def test_a_server_that_fails_is_a_lost_peer_and_is_logged(caplog, failing):
    wire = Wire()
    async with opened(wire) as transport:
        if failing == "send":
            wire.fault = RuntimeError("unexpected state")
            await transport.send(text_frame("x"))
        else:
            wire.tell({"no": "type"})
        assert await transport.inbox.get() == End.of(Cause.PEER_LOST)
    assert [record.getMessage() for record in caplog.records] == [f"the server's {failing} failed"]


# ---------------------------------------------------------------- writing


async def test_direct_and_group_messages_arrive_in_one_order():
    wire = Wire()
    async with opened(wire) as transport:
        with assert_checkpoints():
            await transport.send(text_frame("1"))
        with assert_no_checkpoints():
            transport.offer(text_frame("2"))
            transport.offer_batch(membership(), Batch((Message(3, 0.0), Message(b"4", 0.0))))
        await transport.send(binary_frame(b"5"))
        await wait_all_tasks_blocked()
        assert wire.messages == ["1", "2", "3", b"4", b"5"]


async def test_regression_one_event_was_shared_between_connections():
    """What stands between us and one peer may change its event."""
    first, second = Wire(), Wire()
    frame = text_frame("hello")
    async with opened(first) as one, opened(second) as two:
        one.offer(frame)
        await wait_all_tasks_blocked()
        first.events[-1]["text"] = "changed"
        two.offer(frame)
        await wait_all_tasks_blocked()
        assert second.messages == ["hello"]


async def test_a_message_that_never_fits():
    wire = Wire()
    async with opened(wire, outbox_bytes=10) as transport:
        with assert_checkpoints(), pytest.raises(MessageTooBig):
            await transport.send(text_frame("x" * 11))
        assert transport.is_open


async def test_regression_a_loop_of_sends_after_the_end_froze_the_worker():
    wire = Wire()
    async with opened(wire) as transport:
        wire.leave()
        await wait_all_tasks_blocked()
        for _ in range(3):
            with assert_checkpoints(), pytest.raises(WebSocketDisconnect):
                await transport.send(text_frame("x"))


@pytest.mark.parametrize(
    "fault",
    [
        OSError("gone"),
        trio.BrokenResourceError(),
        trio.BusyResourceError(),
        h11.LocalProtocolError("Can't send data when our state is ERROR"),
        wsproto.utilities.LocalProtocolError("Connection is in state CLOSED"),
    ],
)
async def test_a_peer_that_is_found_gone_while_writing(fault, caplog):
    wire = Wire()
    async with opened(wire) as transport:
        wire.fault = fault
        await transport.send(text_frame("1"))
        assert await transport.inbox.get() == End.of(Cause.PEER_LOST)
        assert transport.ends == [End.of(Cause.PEER_LOST)]
    assert caplog.records == []


async def test_regression_a_close_while_hypercorn_closes_was_logged_as_an_error(caplog):
    wire = Wire()
    async with opened(wire) as transport:
        wire.fault = trio.BusyResourceError("another task is currently sending data on this SocketStream")
        await transport.close(End.of(Cause.HANDLER_RETURNED))
    assert caplog.records == []


async def test_a_sender_that_waits_for_room_is_told_of_the_end(nursery):
    wire = Wire()
    async with opened(wire, outbox_messages=1) as transport:
        wire.stall()
        errors = []

        async def sender():
            try:
                while True:
                    await transport.send(text_frame("x"))
            except WebSocketDisconnect as error:
                errors.append(error)

        nursery.start_soon(sender)
        await wait_all_tasks_blocked()
        wire.leave(1001)
        await wait_all_tasks_blocked()
        wire.flow()
        [error] = errors
        assert error.code == 1001
        assert error.__context__ is None  # whose traceback would lead whoever keeps the error to the transport


async def test_overflow_evicts_with_a_goodbye():
    wire = Wire()
    async with opened(wire, outbox_messages=2) as transport:
        wire.stall()
        for number in range(5):
            transport.offer(text_frame(str(number)))
            await wait_all_tasks_blocked()
        assert transport.ends == [End(*OVERFLOW, Cause.OVERFLOW)]
        wire.say("unread")
        assert await transport.inbox.get() == transport.ends[0]
        wire.flow()
        await wait_all_tasks_blocked()
        assert wire.messages == ["0"]  # it was on its way
        assert wire.closes == [OVERFLOW]
        assert transport.statistics().undelivered == 4


async def test_a_batch_offered_to_a_peer_that_overflows_in_between_is_counted():
    wire = Wire()
    async with opened(wire, outbox_messages=1) as transport:
        wire.stall()
        transport.offer(text_frame("on its way"))
        await wait_all_tasks_blocked()
        transport.offer_batch(membership(), Batch(tuple(Message(number, 0.0) for number in range(4))))
        assert transport.statistics().lost == 4
        wire.flow()


async def test_a_batch_is_conflated_by_the_key_of_its_payloads():
    wire = Wire()
    async with opened(wire, overflow=conflate(lambda payload: payload["k"])) as transport:
        wire.stall()
        transport.offer(text_frame("on its way"))
        await wait_all_tasks_blocked()
        transport.offer_batch(membership(), Batch(tuple(Message({"k": n % 2, "n": n}, 0.0) for n in range(6))))
        assert transport.statistics().replaced == 4
        wire.flow()
        await wait_all_tasks_blocked()
        assert wire.messages == ["on its way", '{"k":0,"n":4}', '{"k":1,"n":5}']


async def test_statistics_show_what_is_queued():
    wire = Wire()
    async with opened(wire) as transport:
        wire.stall()
        for text in ("on its way", "12", "345"):
            transport.offer(text_frame(text))
            await wait_all_tasks_blocked()
        statistics = transport.statistics()
        assert (statistics.queued_messages, statistics.queued_bytes, statistics.undelivered) == (2, 5, 0)
        wire.flow()


# ---------------------------------------------------------------- ending


async def test_close_sends_what_is_queued_first():
    wire = Wire()
    async with opened(wire) as transport:
        for text in ("1", "2"):
            transport.offer(text_frame(text))
        with assert_checkpoints():
            await transport.close(End(4000, "done", Cause.LOCAL_CLOSE))
        assert wire.messages == ["1", "2"]
        assert wire.closes == [(4000, "done")]
        with assert_checkpoints():
            await transport.close(End(4001, "again", Cause.LOCAL_CLOSE))
        transport.offer(text_frame("late"))
    assert wire.closes == [(4000, "done")]
    assert transport.counts.lost == 1


async def test_close_before_accept_refuses():
    wire = Wire()
    async with opened(wire, accepted=False) as transport:
        await transport.close(End.of(Cause.LOCAL_CLOSE))
    assert wire.closes == [(1000, "")]


async def test_close_of_a_peer_that_does_not_read_is_bounded(autojump_clock):
    wire = Wire()
    async with opened(wire, write_timeout=5) as transport:
        wire.stall()
        for text in ("1", "2"):
            await transport.send(text_frame(text))
        start = trio.current_time()
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        assert trio.current_time() - start == 5
        assert transport.counts.lost == 1
        wire.flow()


@pytest.mark.parametrize("reads_again", [True, False])
async def test_a_cancelled_close_goes_on_until_the_block_is_left(autojump_clock, reads_again):
    wire = Wire()
    async with opened(wire, write_timeout=50, close_timeout=5) as transport:
        wire.stall(shielded=False)
        for text in ("1", "2"):
            await transport.send(text_frame(text))
        with trio.move_on_after(1):
            await transport.close(End.of(Cause.LOCAL_CLOSE))
        assert not transport.is_open
        if reads_again:
            wire.flow()
        start = trio.current_time()
    assert wire.messages == (["1", "2"] if reads_again else [])
    assert wire.closes == ([(1000, "")] if reads_again else [])
    assert trio.current_time() - start == (0 if reads_again else 5)


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_evict_says_goodbye(is_accepted):
    wire = Wire()
    async with opened(wire, accepted=is_accepted) as transport:
        with assert_no_checkpoints():
            transport.evict(End(1001, "expired", Cause.EXPIRED))
            transport.evict(End(1013, "again", Cause.OVERFLOW))
        await wait_all_tasks_blocked()
        assert wire.closes == [(1001, "expired")]  # before accept, the server makes a 403 of it
        assert transport.ends == [End(1001, "expired", Cause.EXPIRED)]


async def test_kill_says_nothing():
    wire = Wire()
    async with opened(wire) as transport:
        with assert_no_checkpoints():
            transport.kill(End.of(Cause.ABORTED))
        assert await transport.inbox.get() == End.of(Cause.ABORTED)
    assert wire.closes == []


async def test_a_write_that_takes_too_long_kills_the_connection(autojump_clock):
    wire = Wire()
    async with opened(wire, write_timeout=5) as transport:
        for text in ("1", "2"):
            await transport.send(text_frame(text))
            await trio.sleep(4)  # each write in time, together more than the deadline
        assert transport.is_open
        wire.stall()
        start = trio.current_time()
        await transport.send(text_frame("3"))
        end = await transport.inbox.get()
        assert end.cause is Cause.WRITE_TIMEOUT
        assert trio.current_time() - start == 5
        wire.flow()


async def test_leaving_the_block_waits_for_the_goodbye_only_so_long(autojump_clock):
    wire = Wire()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        async with opened(wire, close_timeout=3, write_timeout=60) as transport:
            wire.stall()
            transport.offer(text_frame("stuck"))
            await wait_all_tasks_blocked()
            transport.evict(End(*OVERFLOW, Cause.OVERFLOW))
            nursery.start_soon(flow_later, wire, 10)
        assert trio.current_time() - start == 10  # the server's own send cannot be cut short
    assert wire.closes == []


async def flow_later(wire, seconds):
    await trio.sleep(seconds)
    wire.flow()


async def test_an_error_in_the_block_goes_on(caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ExceptionGroup) as caught:
        async with opened(Wire()):
            raise ZeroDivisionError
    assert caught.group_contains(ZeroDivisionError)


# ---------------------------------------------------------------- peers that read slowly


async def test_leaving_the_block_waits_for_the_peer_s_answer(autojump_clock):
    """A server that is told that its application is done closes at once: with something unread, by a reset."""
    wire = Wire()
    wire.answers_close = False
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        async with opened(wire, close_timeout=5) as transport:
            await transport.close(End.of(Cause.LOCAL_CLOSE))
            nursery.start_soon(leave_later, wire, 2)
        assert trio.current_time() - start == 2


async def leave_later(wire, seconds):
    await trio.sleep(seconds)
    wire.leave(1000)


async def test_and_no_longer_than_the_close_timeout(autojump_clock):
    wire = Wire()
    wire.answers_close = False
    start = trio.current_time()
    async with opened(wire, close_timeout=5) as transport:
        await transport.close(End.of(Cause.LOCAL_CLOSE))
    assert trio.current_time() - start == 5


async def test_but_not_when_it_is_cancelled(autojump_clock):
    wire = Wire()
    wire.answers_close = False
    start = trio.current_time()
    with trio.CancelScope() as scope:
        async with opened(wire, close_timeout=5) as transport:
            transport.evict(End.of(Cause.SERVER_SHUTDOWN))
            await wait_all_tasks_blocked()
            scope.cancel()
    assert trio.current_time() == start
    assert wire.closes == [(1012, "")]


async def test_a_long_message_may_take_as_long_as_the_least_rate_allows(autojump_clock):
    wire = Wire()
    async with opened(wire, write_timeout=5, min_read_rate=1000) as transport:
        wire.stall()
        await transport.send(binary_frame(bytes(60_000)))
        await trio.sleep(59)
        assert transport.is_open
        await trio.sleep(2)
        reason = "a message of 60000 bytes was not taken in 60 s"
        assert transport.end == End(1013, reason, Cause.WRITE_TIMEOUT)
        wire.flow()


async def test_messages_that_trickle_are_not_read(autojump_clock, nursery):
    """Each in time, but together they are fewer bytes than the least that counts as reading."""
    wire = Wire()
    async with opened(wire, write_timeout=5, min_read_rate=1000) as transport:
        wire.stall()
        nursery.start_soon(trickle, wire, 4)
        for _ in range(100):
            await transport.send(text_frame("x" * 100))
        await trio.sleep(60)
        assert transport.end.cause is Cause.WRITE_TIMEOUT
        nursery.cancel_scope.cancel()
        wire.flow()


async def trickle(wire, seconds):
    """Let one message pass every so many seconds."""
    while True:
        await trio.sleep(seconds)
        wire.flow()
        wire.stall()


async def test_close_waits_for_who_takes_one_message_after_the_other(autojump_clock, nursery):
    wire = Wire()
    async with opened(wire, write_timeout=5, close_timeout=3, min_read_rate=1000) as transport:
        wire.stall()
        nursery.start_soon(trickle, wire, 4)
        for _ in range(20):
            await transport.send(text_frame("x" * 4000))
        await transport.close(End.of(Cause.LOCAL_CLOSE))
        nursery.cancel_scope.cancel()
        wire.flow()
    assert len(wire.messages) == 20
    assert wire.closes == [(1000, "")]
