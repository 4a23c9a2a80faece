"""The table of a conversation: what is allowed when, and that nothing comes out of order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.exceptions import LifecycleError
from nexios_trio.realtime.protocol.codecs import JSON, PROTOBUF
from nexios_trio.realtime.protocol.codes import CloseCode, ErrorCode
from nexios_trio.realtime.protocol.data import Data
from nexios_trio.realtime.protocol.replies import ConnectResult, Message, Push, RPCResult, SubscribeResult
from nexios_trio.realtime.protocol.requests import Command, ConnectRequest, RPCRequest, SendRequest, SubscribeRequest
from nexios_trio.realtime.protocol.server_protocol import (
    TRANSITIONS,
    CommandKind,
    ServerProtocol,
    State,
    Violation,
)

CONNECT = Command(1, ConnectRequest())
SUBSCRIBE = Command(2, SubscribeRequest("a"))


def frame_of(*commands, codec=JSON):
    frame = codec.join([codec.encode(command) for command in commands])
    return frame.decode() if codec.is_text else frame


def connected(codec=JSON):
    protocol = ServerProtocol(codec)
    protocol.receive(frame_of(CONNECT, codec=codec))
    command = protocol.next_command()
    protocol.connected(command, ConnectResult("me"))
    assert protocol.next_command() is None
    return protocol


def violation_of(protocol, frame):
    with pytest.raises(Violation) as caught:
        protocol.receive(frame)
        while protocol.next_command() is not None:
            pass
    assert protocol.state is State.CLOSED
    assert protocol.next_command() is None
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])
def test_what_comes_behind_connect_waits_for_its_answer(codec):
    protocol = ServerProtocol(codec)
    protocol.receive(frame_of(CONNECT, SUBSCRIBE, codec=codec))
    assert protocol.next_command() == CONNECT
    assert protocol.next_command() is None
    assert protocol.connected(CONNECT, ConnectResult("me")) in (
        b'{"id":1,"connect":{"client":"me"}}',
        b"\x08\x08\x01\x2a\x04\x0a\x02me",
    )
    assert protocol.next_command() == SUBSCRIBE
    assert protocol.answer(SUBSCRIBE, SubscribeResult()) in (b'{"id":2,"subscribe":{}}', b"\x04\x08\x022\x00")
    assert protocol.next_command() is None


def test_nothing_behind_a_failed_connect_is_looked_at():
    protocol = ServerProtocol(JSON)
    protocol.receive(frame_of(CONNECT, SUBSCRIBE) + "\nrubbish")
    assert protocol.next_command() == CONNECT
    reply = protocol.failed(CONNECT, ErrorCode.TOKEN_EXPIRED.error())
    assert reply == b'{"id":1,"error":{"code":109,"message":"token expired"}}'
    assert protocol.next_command() is None
    protocol.receive("more rubbish")
    assert protocol.next_command() is None
    assert protocol.state is State.FAILED


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (frame_of(SUBSCRIBE), "a command before connect"),
        (frame_of(Command(0, SendRequest())), "a send command before connect"),
        ("{}", "a pong that nobody asked for"),
        ('{"id":5}', "a command before connect"),
        ('{"connect":{}}', "a command without an id"),
        ('{"id":1,"connect":7}', "connect: an object, not 7"),
    ],
)
def test_before_connect_there_is_nothing(frame, reason):
    code, said = violation_of(ServerProtocol(JSON), frame)
    assert code == CloseCode.BAD_REQUEST == 3501
    assert said == reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (frame_of(CONNECT), "connect comes once"),
        ("{}", "a pong that nobody asked for"),
        ('{"rpc":{"method":"m"}}', "a command without an id"),
        ('{"id":7,"subscribe":{"channel":1}}', "subscribe.channel: a text, not 1"),
    ],
)
def test_violations_after_connect(frame, reason):
    assert violation_of(connected(), frame) == (CloseCode.BAD_REQUEST, reason)


@pytest.mark.parametrize(
    ("codec", "frame", "reason"),
    [
        (JSON, b"{}", "centrifuge-json has text messages"),
        (PROTOBUF, "{}", "centrifuge-protobuf has binary messages"),
    ],
    ids=["json", "protobuf"],
)
def test_the_wrong_sort_of_message_is_the_wrong_encoding(codec, frame, reason):
    assert violation_of(connected(codec), frame) == (CloseCode.WRONG_ENCODING, reason)


def test_commands_before_a_violation_come_out():
    protocol = connected()
    protocol.receive(frame_of(SUBSCRIBE, CONNECT, SUBSCRIBE))
    assert protocol.next_command() == SUBSCRIBE
    with pytest.raises(Violation):
        protocol.next_command()
    assert protocol.next_command() is None


def test_one_pong_answers_a_ping():
    protocol = connected()
    assert protocol.ping() == b"{}"
    assert protocol.is_pong_due
    protocol.receive("{}")
    assert protocol.next_command() is None
    assert not protocol.is_pong_due
    assert violation_of(protocol, "{}")[1] == "a pong that nobody asked for"


def test_a_pong_between_two_commands_is_seen_before_the_second():
    protocol = connected()
    protocol.ping()
    protocol.receive("\n".join((frame_of(SUBSCRIBE), "{}", frame_of(SUBSCRIBE))))
    assert protocol.next_command() == SUBSCRIBE
    assert protocol.is_pong_due
    assert protocol.next_command() == SUBSCRIBE
    assert not protocol.is_pong_due


def test_a_ping_that_wants_no_pong():
    protocol = connected()
    protocol.ping(expect_pong=False)
    assert not protocol.is_pong_due


def test_a_send_command_needs_no_id():
    protocol = connected()
    protocol.receive('{"send":{"data":1}}')
    assert protocol.next_command() == Command(0, SendRequest(Data(1)))


def test_an_empty_command_with_an_id_comes_out():
    protocol = connected()
    protocol.receive('{"id":9,"what":{}}')
    assert protocol.next_command() == Command(9)


def test_answers_and_pushes_as_frames():
    protocol = connected()
    command = Command(3, RPCRequest(method="m"))
    assert protocol.answer(command, RPCResult(Data({"a": 1}))) == b'{"id":3,"rpc":{"data":{"a":1}}}'
    assert protocol.refuse(command, ErrorCode.INTERNAL.error()) == (
        b'{"id":3,"error":{"code":100,"message":"internal server error","temporary":true}}'
    )
    assert protocol.push(Push(event=Message(Data("hi")))) == b'{"push":{"message":{"data":"hi"}}}'


def test_mistakes_of_the_caller_raise():
    protocol = connected()
    with pytest.raises(LifecycleError, match="there is no connect command to answer"):
        protocol.connected(CONNECT, ConnectResult())
    protocol.receive(frame_of(SUBSCRIBE))
    with pytest.raises(LifecycleError, match="the frame before was not taken"):
        protocol.receive(frame_of(SUBSCRIBE))


def test_nothing_comes_out_after_close():
    protocol = connected()
    protocol.receive(frame_of(SUBSCRIBE))
    protocol.close()
    assert protocol.next_command() is None
    protocol.receive(frame_of(SUBSCRIBE))
    assert protocol.next_command() is None


def test_every_kind_has_its_row():
    assert set(TRANSITIONS) == set(CommandKind)
    assert all(after in (State.CONNECTING, State.CONNECTED) for row in TRANSITIONS.values() for after in row.values())


LINES = st.sampled_from(['{"id":1,"connect":{}}', '{"id":2,"rpc":{}}', '{"send":{}}', "{}", '{"rpc":{}}', "no"])
STEPS = st.lists(st.tuples(st.lists(LINES, min_size=1, max_size=3), st.booleans(), st.booleans()), max_size=8)


@given(STEPS)
def test_whatever_comes_connect_is_first_and_once(steps):
    """Nothing comes out before connect, behind a failed one, or behind what is wrong."""
    protocol, seen, closed, failed = ServerProtocol(JSON), [], False, False
    for lines, pings, accepts in steps:
        if pings and protocol.state is State.CONNECTED:
            protocol.ping()
        try:
            protocol.receive("\n".join(lines))
            while (command := protocol.next_command()) is not None:
                seen.append(command)
                assert not closed
                assert not failed
                if isinstance(command.request, ConnectRequest):
                    assert len(seen) == 1
                    failed = not accepts
                    answer = protocol.connected if accepts else protocol.failed
                    answer(command, ConnectResult() if accepts else ErrorCode.UNAUTHORIZED.error())
        except Violation:
            closed = True
    if seen:
        assert isinstance(seen[0].request, ConnectRequest)
