"""One connection from its request to its end: every way out, what the peer sees of it, and that nothing stays behind."""

import gc
import json
import logging
import weakref

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio.config.settings import Settings
from nexios_trio.connections.runtime import Runtime
from nexios_trio.connections.serve import serve_connection
from nexios_trio.core.lifecycle import Cause
from nexios_trio.exceptions import HandshakeError
from nexios_trio.transports.asgi import AsgiTransport
from nexios_trio.websockets import Channel, ChannelBox, WebSocketDisconnect, WebSocketException, open_channel
from tests.wire import Wire, house, settle


def raising(error, *, accept=True):
    async def endpoint(ws):
        if accept:
            await ws.accept()
        raise error

    return endpoint


def failures(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


class Notes:
    """An endpoint in a group that notes how it ends."""

    def __init__(self, body=None):
        self.body = body
        self.ends = []
        self.members = []
        self.websocket = None

    async def __call__(self, ws):
        self.websocket = ws
        await ws.accept()
        channel = Channel(ws)

        @channel.on_disconnect
        async def note(channel):
            await trio.lowlevel.checkpoint()
            self.members.append(len(await ChannelBox.show_groups().get("room", {})))
            self.ends.append(ws.end)

        await ChannelBox.add_channel_to_group(channel, "room")
        if self.body is not None:
            await self.body(ws)
        while True:
            await ws.receive_text()

    @property
    def causes(self):
        return [end.cause if end is not None else None for end in self.ends]


# ---------------------------------------------------------------- the handler's outcome


async def test_regression_a_handler_that_returned_ended_with_1011():
    async def endpoint(ws):
        await ws.accept()

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.closes == [(1000, "")]


async def test_regression_a_handler_that_never_accepted_ended_with_500():
    async def endpoint(ws):
        pass

    async with house() as inside:
        wire = await inside.connect(endpoint)
        bare = await inside.connect(endpoint, http_response=False)
    assert (wire.status, wire.is_accepted) == (403, False)
    assert bare.closes == [(1008, "")]


@pytest.mark.parametrize("error", [WebSocketDisconnect(1001), ExceptionGroup("", [WebSocketDisconnect(1001)])])
async def test_regression_an_uncaught_disconnect_was_an_error(caplog, error):
    caplog.set_level(logging.DEBUG)
    async with house() as inside:
        wire = await inside.connect(raising(error))
    assert wire.closes == [(1000, "")]
    assert failures(caplog) == []


async def test_a_peer_that_leaves_is_a_debug_line(caplog):
    caplog.set_level(logging.DEBUG, "nexios_trio")
    async with house() as inside:
        wire = await inside.connect(Notes(), "/chat")
        wire.leave(4000)
    (record,) = [record for record in caplog.records if record.name == "nexios_trio.connection"]
    assert record.levelno == logging.DEBUG
    assert (record.cause, record.code, record.path) == ("peer_closed", 4000, "/chat")


async def test_regression_an_error_was_closed_twice(caplog):
    error = ZeroDivisionError("secret")
    async with house() as inside:
        wire = await inside.connect(raising(error), "/chat")
    assert wire.closes == [(1011, "")]  # and nothing of the text
    (record,) = failures(caplog)
    assert record.exc_info[1] is error
    assert record.getMessage() == "the handler of '/chat' failed"


@pytest.mark.parametrize(
    ("receive", "message", "end"),
    [
        ("receive_json", "{", (1003, "the message is not JSON")),
        ("receive_json", "[" * 500 + "]" * 500, (1003, "the message is not JSON")),
        ("receive_json", b"\xff", (1007, "the message is not UTF-8")),
        ("receive_text", b"a", (1003, "the message is of the wrong type")),
        ("receive_bytes", "a", (1003, "the message is of the wrong type")),
    ],
)
async def test_a_bad_message_that_nobody_catches_is_the_peers_fault(caplog, receive, message, end):
    """It would otherwise fill the log with failures that are none."""
    caplog.set_level(logging.INFO, "nexios_trio")

    async def endpoint(ws):
        async with open_channel(ws), trio.open_nursery() as nursery:
            nursery.start_soon(getattr(ws, receive))

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.say(message)
        await settle()
        assert wire.closes == [end]
    (record,) = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert (record.levelno, record.code, record.reason) == (logging.INFO, *end)


async def test_json_that_is_not_the_peers_is_the_handlers_fault(caplog):
    async with house() as inside:
        wire = await inside.connect(raising(json.JSONDecodeError("secret", "", 0)))
    assert wire.closes == [(1011, "")]
    assert len(failures(caplog)) == 1


async def test_an_error_after_the_peer_has_left_is_logged_and_nothing_is_sent(caplog):
    async def endpoint(ws):
        await ws.accept()
        await ws.receive()
        raise ZeroDivisionError

    async with house() as inside:
        wire = await inside.connect(endpoint)
        wire.leave()
    assert wire.closes == []
    assert len(failures(caplog)) == 1


async def test_an_error_before_accept_is_a_500(caplog):
    async with house() as inside:
        wire = await inside.connect(raising(ZeroDivisionError(), accept=False))
    assert wire.status == 500
    assert len(failures(caplog)) == 1


async def test_debug_shows_the_error_to_the_peer(caplog):
    async with house(debug=True) as inside:
        wire = await inside.connect(raising(ZeroDivisionError("by zero " * 30)))
    ((code, reason),) = wire.closes
    assert code == 1011
    assert reason.startswith("ZeroDivisionError: by zero")
    assert len(reason) == 123


async def test_a_group_of_one_error_is_unwrapped(caplog):
    error = ZeroDivisionError()
    async with house() as inside:
        await inside.connect(raising(ExceptionGroup("", [ExceptionGroup("", [error]), WebSocketDisconnect()])))
    (record,) = failures(caplog)
    assert record.exc_info[1] is error


async def test_several_errors_are_shown_together(caplog):
    group = ExceptionGroup("two", [ZeroDivisionError(), KeyError()])
    async with house() as inside:
        wire = await inside.connect(raising(group))
    assert wire.closes == [(1011, "")]
    (record,) = failures(caplog)
    assert record.exc_info[1].exceptions == group.exceptions


async def test_a_websocket_exception_in_a_nursery_closes_with_its_code():
    async def endpoint(ws):
        await ws.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_it)
            await ws.receive()

    async def raise_it():
        await trio.lowlevel.checkpoint()
        raise WebSocketException(4002, "slow down")

    async with house() as inside:
        wire = await inside.connect(endpoint)
    assert wire.closes == [(4002, "slow down")]


async def test_regression_a_websocket_exception_leaked_its_repr(caplog):
    async with house() as inside:
        wire = await inside.connect(raising(WebSocketException(4001, "ä" * 100)))
    assert wire.closes == [(4001, "ä" * 61)]  # 123 bytes at most, cut on a character
    assert failures(caplog) == []


@pytest.mark.parametrize("code", [1005, 1006, 42, "4000"])
async def test_a_websocket_exception_with_a_code_that_may_not_be_sent(caplog, code):
    async with house() as inside:
        wire = await inside.connect(raising(WebSocketException(code)))
    assert wire.closes == [(1011, "")]
    assert len(failures(caplog)) == 1


@pytest.mark.parametrize("in_group", [True, False])
async def test_a_handshake_error_is_an_http_answer(in_group):
    error = HandshakeError(426, "upgrade", ((b"x-why", b"old"),))
    async with house() as inside:
        wire = await inside.connect(raising(ExceptionGroup("", [error]) if in_group else error, accept=False))
        late = await inside.connect(raising(error))
    start, body = wire.events
    assert start["status"] == 426
    assert (b"x-why", b"old") in start["headers"]
    assert body["body"] == b"upgrade"
    assert late.closes == [(1008, "upgrade")]


# ---------------------------------------------------------------- tasks of the connection


async def test_an_error_in_a_task_ends_the_connection_as_one_in_the_handler_does(caplog):
    async def crash():
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async def body(ws):
        ws.start_soon(crash)

    notes = Notes(body)
    async with house() as inside:
        wire = await inside.connect(notes)
        assert wire.closes == [(1011, "")]
    assert notes.causes == [Cause.HANDLER_ERROR]
    (record,) = failures(caplog)
    assert record.exc_info[0] is ZeroDivisionError


async def test_errors_of_several_tasks_are_all_logged(caplog):
    async def crash(error):
        await wait_all_tasks_blocked()
        raise error

    async def body(ws):
        ws.start_soon(crash, ZeroDivisionError())
        ws.start_soon(crash, KeyError())
        try:
            await trio.sleep_forever()
        finally:
            raise IndexError

    async with house() as inside:
        await inside.connect(Notes(body))
        await settle()
    (record,) = failures(caplog)
    kinds = {type(error) for error in record.exc_info[1].exceptions}
    assert IndexError in kinds
    assert len(kinds) >= 2


async def test_a_task_that_finds_the_peer_gone_ends_alone(autojump_clock):
    async def heartbeat(ws):
        while True:
            await ws.send_text("beat")
            await trio.sleep(1)

    finished = []

    async def endpoint(ws):
        await ws.accept()
        ws.start_soon(heartbeat, ws)
        await ws.receive()
        await trio.sleep(10)  # such as saving what the peer has written
        finished.append(True)

    async with house() as inside:
        wire = inside.begin(endpoint)
        await trio.sleep(2.5)
        wire.leave()
    assert finished == [True]


async def test_a_task_may_end_the_connection_by_a_disconnect_of_its_own():
    async def leave():
        raise WebSocketDisconnect

    async def body(ws):
        ws.start_soon(leave)

    async with house() as inside:
        wire = await inside.connect(Notes(body))
        assert wire.closes == [(1000, "")]


async def test_tasks_of_a_large_number_do_not_stay():
    async def endpoint(ws):
        await ws.accept()
        for _ in range(100):
            ws.start_soon(trio.sleep_forever)
        await ws.receive()

    async with house() as inside:
        before = trio.lowlevel.current_statistics().tasks_living
        wire = await inside.connect(endpoint)
        assert trio.lowlevel.current_statistics().tasks_living > before + 100
        wire.leave()
        await settle()
        assert trio.lowlevel.current_statistics().tasks_living == before


# ---------------------------------------------------------------- leaving


async def test_the_leaver_is_still_a_member_when_it_is_told_of_the_end():
    notes = [Notes(), Notes()]
    async with house() as inside:
        wires = [await inside.connect(one) for one in notes]
        wires[0].leave()
        await settle()
        assert notes[0].members == [2]
        wires[1].leave()
        await settle()
        assert notes[1].members == [1]
        assert inside.box.statistics().groups == 0


async def test_a_peer_that_vanishes_is_no_member_when_the_handler_has_run_out(autojump_clock):
    """A handler that does not look has its grace, then it is cancelled."""

    async def deaf(ws):
        await trio.sleep_forever()

    notes = Notes(deaf)
    async with house(disconnect_grace=7) as inside:
        wire = inside.begin(notes)
        await trio.sleep(1)
        start = trio.current_time()
        wire.leave(1006)
        await trio.sleep(6)
        assert inside.box.size_of("room") == 1
        await trio.sleep(2)
        assert inside.box.size_of("room") == 0
        assert wire.is_done
    assert notes.causes == [Cause.PEER_LOST]
    assert trio.current_time() - start == 8


async def test_a_grace_of_zero_cancels_at_once_and_one_of_inf_never(autojump_clock):
    async def deaf(ws):
        await ws.accept()
        await trio.sleep(1000)

    for grace, seconds in ((0, 1), (float("inf"), 1000)):
        async with house(disconnect_grace=grace) as inside:
            wire = inside.begin(deaf)
            await trio.sleep(1)
            start = trio.current_time()
            wire.leave()
            await trio.sleep(1)
            assert wire.is_done == (grace == 0)
        assert trio.current_time() - start == pytest.approx(seconds, abs=1)


async def test_a_peer_that_leaves_during_accept_has_its_grace_too(autojump_clock):
    async def deaf(ws):
        await ws.accept()
        await trio.sleep_forever()

    async with house(disconnect_grace=5) as inside:
        wire = inside.begin(deaf)
        wire.stall()
        await trio.sleep(1)
        wire.leave()
        await trio.sleep(1)
        wire.flow()
        await trio.sleep(10)
        assert wire.is_done


async def test_a_handler_that_never_accepts_is_cancelled_in_time(autojump_clock, caplog):
    async def never(ws):
        await trio.sleep_forever()

    async with house(accept_timeout=10) as inside:
        start = trio.current_time()
        wire = inside.begin(never, "/slow")
        await trio.sleep(9.9)
        assert wire.events == []
        await trio.sleep(0.2)
        assert wire.status == 503
        assert wire.is_done
        assert trio.current_time() - start == pytest.approx(10.1)
    assert [record.getMessage() for record in caplog.records] == ["the handler of '/slow' did not accept within 10 s"]


async def test_a_handler_that_accepts_in_time_may_go_on(autojump_clock):
    async with house(accept_timeout=10) as inside:
        wire = inside.begin(Notes())
        await trio.sleep(100)
        assert not wire.is_done


async def test_a_handler_that_refuses_and_goes_on_is_cancelled_in_the_end(autojump_clock):
    async def endpoint(ws):
        await ws.deny(403)
        await trio.sleep_forever()

    async with house(accept_timeout=10, disconnect_grace=5) as inside:
        wire = inside.begin(endpoint)
        await trio.sleep(6)
        assert wire.is_done


# ---------------------------------------------------------------- dropped by us


async def test_a_stuck_member_is_evicted_at_once_and_others_are_unaffected(autojump_clock):
    """Its writer sits in a send that nothing can interrupt."""
    stuck, well = Notes(), Notes()
    async with house(outbox_messages=3) as inside:
        stuck_wire, wire = await inside.connect(stuck), await inside.connect(well)
        stuck_wire.stall()
        for number in range(6):
            await inside.box.group_send("room", number)
            await settle()
            assert inside.box.size_of("room") == (2 if number < 4 else 1)
        assert wire.json == list(range(6))
        assert stuck.causes == [Cause.OVERFLOW]
        assert stuck.members == [1]  # it had left already
        assert not stuck_wire.is_done  # the server's send holds its task, and nothing else
        assert inside.box.statistics().channels == 1
        await inside.box.group_send("room", "after")
        await settle()
        assert wire.json == ["after"]
        stuck_wire.flow()
        await settle()
        assert stuck_wire.json == [0]
        assert stuck_wire.closes == [(1013, "too slow")]
        assert stuck_wire.is_done
        # one was on its way, three were queued, one was too many; the sixth it was no longer meant to get
        assert inside.box.statistics().undelivered == 4


async def test_a_stuck_member_of_a_large_group_is_evicted_during_the_flush(autojump_clock):
    stuck, others = Notes(), [Notes() for _ in range(40)]
    async with house(outbox_messages=20) as inside:
        stuck_wire = await inside.connect(stuck)
        wires = [await inside.connect(one) for one in others]
        stuck_wire.stall()
        for _ in range(3):
            for number in range(8):
                await inside.box.group_send("room", number)
            await settle()
        assert inside.box.size_of("room") == 40
        assert stuck.causes == [Cause.OVERFLOW]
        assert all(wire.json == [*range(8)] * 3 for wire in wires)


async def test_a_handler_that_does_not_notice_its_eviction_is_cancelled(autojump_clock):
    async def deaf(ws):
        await trio.sleep_forever()

    notes = Notes(deaf)
    async with house(outbox_messages=1, disconnect_grace=5) as inside:
        wire = await inside.connect(notes)
        wire.stall()
        for number in range(3):
            await inside.box.group_send("room", number)
            await settle()
        assert inside.box.size_of("room") == 0
        assert notes.ends == []
        await trio.sleep(6)
        assert notes.causes == [Cause.OVERFLOW]
        wire.flow()


async def test_a_write_that_takes_too_long_drops_the_peer(autojump_clock):
    notes = Notes()
    async with house(write_timeout=5) as inside:
        wire = await inside.connect(notes)
        wire.stall()
        await inside.box.group_send("room", 1)
        await trio.sleep(4)
        assert inside.box.size_of("room") == 1
        await trio.sleep(2)
        assert inside.box.size_of("room") == 0
        assert notes.causes == [Cause.WRITE_TIMEOUT]
        wire.flow()


async def test_who_was_dropped_cannot_join_again():
    seen = []

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        try:
            await ws.receive_text()
        except WebSocketDisconnect:
            with pytest.raises(WebSocketDisconnect) as caught:
                await ChannelBox.add_channel_to_group(channel, "room")
            seen.append(caught.value.code)

    async with house(outbox_messages=1) as inside:
        wire = await inside.connect(endpoint)
        wire.stall()
        for number in range(3):
            await inside.box.group_send("room", number)
            await settle()
    assert seen == [1013]


async def test_two_channels_of_a_dropped_connection_leave_during_one_flush():
    async def endpoint(ws):
        await ws.accept()
        for kind in ("json", "text", "bytes"):
            await ChannelBox.add_channel_to_group(Channel(ws, kind), "room")
        await ws.receive()

    async with house(outbox_messages=1) as inside:
        wire = await inside.connect(endpoint)
        wire.stall()
        await inside.box.group_send("room", "x")
        await settle()
        assert inside.box.size_of("room") == 0


# ---------------------------------------------------------------- cancelled from outside


async def test_shutdown_cancels_the_handler_and_says_1012():
    notes = Notes()
    async with house() as inside:
        wire = await inside.connect(notes)
        inside.shut_down()
        await settle()
        assert wire.closes == [(1012, "")]
        assert wire.is_done
    assert notes.causes == [Cause.SERVER_SHUTDOWN]
    assert notes.members == [1]


async def test_shutdown_before_accept_is_a_503():
    async def slow(ws):
        await trio.sleep_forever()

    async with house() as inside:
        wire = await inside.connect(slow)
        inside.shut_down()
    assert wire.status == 503


async def test_shutdown_is_bounded_when_nobody_cooperates(autojump_clock):
    async def body(ws):
        @ws.state.channel.on_disconnect
        async def never(channel):
            await trio.sleep_forever()

        await ws.receive()

    async def endpoint(ws):
        await ws.accept()
        ws.state.channel = Channel(ws)
        await ws.send_text("stuck")
        await body(ws)

    async with house(write_timeout=4, close_timeout=3, cleanup_timeout=2) as inside:
        wire = inside.begin(endpoint)
        await settle()
        wire.stall(shielded=False)
        wire.events.clear()
        start = trio.current_time()
        inside.shut_down()
    assert trio.current_time() - start <= 4 + 3 + 2 + 3


async def test_an_error_during_shutdown_is_logged(caplog):
    async def body(ws):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await ws.receive()
            finally:
                raise ZeroDivisionError

    notes = Notes(body)
    async with house() as inside:
        wire = await inside.connect(notes)
        inside.shut_down()
    (record,) = failures(caplog)
    assert record.exc_info[0] is ZeroDivisionError
    assert len(wire.closes) == 1
    assert len(notes.ends) == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("in_task", [True, False])
async def test_an_interrupt_goes_on_after_the_cleanup(interrupt, in_task):
    async def stop():
        raise interrupt

    async def body(ws):
        if in_task:
            ws.start_soon(stop)
        else:
            raise interrupt

    notes = Notes(body)
    runtime = Runtime(Settings())
    wire = Wire()
    with pytest.raises(BaseExceptionGroup) as caught:
        await serve_connection(
            AsgiTransport(wire.scope, wire.receive, wire.send, runtime.settings), notes, runtime, None
        )
    assert caught.group_contains(interrupt)
    assert wire.closes == [(1012, "")]
    assert notes.causes == [Cause.SERVER_SHUTDOWN]
    assert runtime.box.statistics().channels == 0


async def test_a_cancelled_connection_lets_the_cancellation_through():
    async def endpoint(ws):
        await ws.accept()
        await trio.sleep_forever()

    runtime = Runtime(Settings())
    wire = Wire()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            transport = AsgiTransport(wire.scope, wire.receive, wire.send, runtime.settings)
            nursery.start_soon(serve_connection, transport, endpoint, runtime)
            await settle()
            scope.cancel()
    assert scope.cancelled_caught
    assert wire.closes == [(1012, "")]


async def test_cancelling_at_every_step_leaves_nothing_behind():
    """A handler with everything in it, cancelled after each number of scheduler passes."""

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws, expires=100)
        ws.start_soon(trio.sleep_forever)
        async with ChannelBox.member(channel, "a"):
            await ChannelBox.add_channel_to_group(channel, "b")
            await ChannelBox.group_send("a", 1, save_history=True)
            await channel.send(2)
            await ws.receive_text()
            await ws.close(4000)

    for steps in range(40):
        runtime = Runtime(Settings())
        async with trio.open_nursery() as outer:
            outer.start_soon(run, runtime)
            wire = Wire()
            wire.say("go")
            async with trio.open_nursery() as nursery:
                transport = AsgiTransport(wire.scope, wire.receive, wire.send, runtime.settings)
                nursery.start_soon(serve_connection, transport, endpoint, runtime)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            statistics = runtime.box.statistics()
            assert (statistics.channels, statistics.groups) == (0, 0), steps
            assert [message for message in wire.messages if message not in ("1", "2")] == []
            assert len(wire.closes) + (wire.status is not None) == 1, steps
            outer.cancel_scope.cancel()


async def run(runtime):
    async with runtime.running():
        await trio.sleep_forever()


async def test_a_server_that_fails_at_the_goodbye_does_not_keep_the_channel(caplog):
    notes = Notes()
    async with house() as inside:
        wire = await inside.connect(notes)
        wire.fault = RuntimeError("unexpected state")
        inside.shut_down()
    assert len(notes.ends) == 1
    assert len(failures(caplog)) == 1


async def test_a_connection_is_freed_without_the_collector():
    """Its parts do not refer to each other in circles when it is over."""
    freed = []

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws, expires=100)
        channel.on_message(lambda channel, message: None)
        freed.extend(map(weakref.ref, (ws, channel, ws._session.transport)))
        async with channel.member("room"):
            await channel.receive()

    gc.collect()
    gc.disable()
    try:
        async with house() as inside:
            wire = await inside.connect(endpoint)
            wire.say("1")
            await wire.done.wait()
            await settle()
        assert [reference() for reference in freed] == [None] * 3
    finally:
        gc.enable()
