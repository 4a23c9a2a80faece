"""Both codecs: what goes in comes out, the same in both, whatever else is in between; and what is refused, by name."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexios_trio.exceptions import PayloadError
from nexios_trio.realtime.protocol import protobuf_codec
from nexios_trio.realtime.protocol.codecs import JSON, PROTOBUF, choose_codec
from nexios_trio.realtime.protocol.data import MAX_DATA_DEPTH, Data
from nexios_trio.realtime.protocol.parts import Error, Publication
from nexios_trio.realtime.protocol.replies import Message, Push, Reply, RPCResult, SubscribeResult
from nexios_trio.realtime.protocol.requests import Command, ConnectRequest, RPCRequest, SendRequest, SubscribeRequest
from nexios_trio.realtime.protocol.schema import BadFrame
from tests.realtime.protocol.objects import COMMANDS, REPLIES, TEXT, VALUES

both = pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])


def read(codec, frame, cls=Command):
    return list(codec.decode_frame(frame, cls))


@given(st.lists(COMMANDS, min_size=1, max_size=4))
def test_commands_are_the_same_in_both(commands):
    for codec in (JSON, PROTOBUF):
        assert read(codec, codec.join([codec.encode(command) for command in commands])) == commands


@given(st.lists(REPLIES, min_size=1, max_size=4))
def test_replies_are_the_same_in_both(replies):
    for codec in (JSON, PROTOBUF):
        assert read(codec, codec.join([codec.encode(reply) for reply in replies]), Reply) == replies


@given(REPLIES)
def test_json_is_json_on_one_line(reply):
    frame = JSON.encode(reply)
    assert b"\n" not in frame
    assert isinstance(json.loads(frame), dict)


@given(COMMANDS, st.dictionaries(TEXT.map("x-".__add__), VALUES, max_size=3))
def test_unknown_json_members_are_skipped(command, unknown):
    known = json.loads(JSON.encode(command))
    assert read(JSON, json.dumps({**unknown, **known})) == [command]


@given(COMMANDS, st.integers(1000, 2**29 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=20))
def test_unknown_protobuf_fields_are_skipped(command, number, value, content):
    varint = protobuf_codec.varint
    [*_] = body = PROTOBUF.encode(command)
    _, start = protobuf_codec._read_varint(bytes(body), 0, len(body))
    more = b"".join(
        (
            *(varint(number << 3), varint(value)),
            *(varint(number << 3 | 1), b"12345678"),
            *(varint(number << 3 | 2), varint(len(content)), content),
            *(varint(number << 3 | 5), b"1234"),
        )
    )
    message = more + bytes(body[start:])
    assert read(PROTOBUF, varint(len(message)) + message) == [command]


@given(COMMANDS, st.data())
def test_a_cut_off_frame_is_refused_or_means_less(command, data):
    """Whatever is cut off, no error but `BadFrame` comes of it, and protobuf always sees it."""
    for codec in (JSON, PROTOBUF):
        frame = codec.encode(command)
        end = data.draw(st.integers(0, len(frame) - 1))
        with pytest.raises(BadFrame):
            read(codec, frame[:end])


@given(st.binary(max_size=200))
def test_garbage_is_read_or_refused(frame):
    for codec in (JSON, PROTOBUF):
        commands = []
        with suppress(BadFrame):
            commands.extend(codec.commands(frame))
        for again in (JSON, PROTOBUF):
            assert [read(again, again.encode(command))[0].id for command in commands] == [c.id for c in commands]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "an empty frame: accepted are JSON objects, one a line"),
        ("\n", "no JSON: .*"),
        ("{}\n\n{}", "no JSON: .*"),
        ("[]", "command: an object, not a list"),
        ("7", "command: an object, not 7"),
        ('{"id":"1"}', "id: a whole number from 0 to 4294967295, not a text"),
        ('{"id":-1}', "id: a whole number from 0 to 4294967295, not -1"),
        ('{"id":4294967296}', "id: a whole number from 0 to 4294967295, not 4294967296"),
        ('{"id":1.5}', "id: a whole number .*, not 1.5"),
        ('{"id":true}', "id: a whole number .*, not true or false"),
        ('{"id":1,"connect":"x"}', "connect: an object, not a text"),
        ('{"id":1,"connect":{"token":1}}', "connect.token: a text, not 1"),
        ('{"id":1,"connect":{"headers":{"a":1}}}', "connect.headers.a: a text, not 1"),
        ('{"id":1,"connect":{"subs":{"a":{"recover":"yes"}}}}', "connect.subs.a.recover: true or false, not a text"),
        ('{"id":1,"subscribe":{"tf":[]}}', "subscribe.tf: an object, not a list"),
        ('{"id":1,"rpc":{"data":NaN}}', "no JSON: .*"),
        ('{"id":1', "no JSON: .*"),
        ('{"id":1,"rpc":{"data":' + "[" * 80 + "]" * 80 + "}}", "no JSON: more than 68 levels deep"),
    ],
)
def test_bad_json_is_refused_by_name(line, problem):
    with pytest.raises(BadFrame, match=f"^{problem}$"):
        read(JSON, line)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (b"", "an empty frame: accepted are messages, each with its length before it"),
        (b"\x05\x08", "a message of 5 bytes is cut off after 1"),
        (b"\x80", "a number is cut off"),
        (b"\xff" * 10 + b"\x01", "a number has more than 64 bits"),
        (b"\xff" * 9 + b"\x7f", "a number has more than 64 bits"),
        (b"\x02\x00\x01", "field 0: accepted are 1 to 536870911"),
        (b"\x01\x0b", "field 1 is of wire type 3: accepted are 0, 1, 2 and 5"),
        (b"\x03\x22\x05\x0a", "field 4: 5 bytes are cut off after 1"),
        (b"\x02\x79\x00", "field 15: 8 bytes are cut off after 1"),
        (b"\x05\x22\x03\x0a\x01\xff", "token: a text that is not UTF-8"),
        (b"\x08\x22\x06\x1a\x04\x0a\x02\xc3\x28", "subs: a text that is not UTF-8"),
    ],
)
def test_bad_protobuf_is_refused_by_name(frame, problem):
    with pytest.raises(BadFrame, match=f"^{problem}$"):
        read(PROTOBUF, frame)


def test_those_before_a_bad_one_are_given():
    commands = JSON.commands('{"id":1,"send":{}}\nwhat')
    assert next(commands) == Command(1, SendRequest())
    with pytest.raises(BadFrame):
        next(commands)


def test_a_line_end_behind_the_last_object_is_accepted():
    assert read(JSON, '{"id":1,"send":{}}\n') == [Command(1, SendRequest())]


def test_the_first_request_of_a_command_counts():
    command = Command(1, SubscribeRequest("a"))
    assert read(JSON, '{"rpc":{"method":"m"},"id":1,"subscribe":{"channel":"a"}}') == [command]
    rpc, subscribe = (PROTOBUF.encode(Command(0, request))[1:] for request in (RPCRequest(), command.request))
    body = b"\x08\x01" + rpc + subscribe
    assert read(PROTOBUF, bytes((len(body),)) + body) == [command]


def test_null_is_as_good_as_nothing_except_as_data():
    assert read(JSON, '{"id":1,"connect":{"token":null,"subs":null,"data":null},"rpc":null}') == [
        Command(1, ConnectRequest(data=Data(None)))
    ]


@pytest.mark.parametrize(("codec", "ping"), [(JSON, b"{}"), (PROTOBUF, b"\0")], ids=["json", "protobuf"])
def test_an_empty_message_is_a_ping(codec, ping):
    assert codec.encode(Reply()) == codec.ping == ping
    assert read(codec, ping) == [Command()]


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (Reply(1, Error(103, "permission denied")), '{"id":1,"error":{"code":103,"message":"permission denied"}}'),
        (Reply(2, RPCResult()), '{"id":2,"rpc":{}}'),
        (Reply(3, RPCResult(Data([1]))), '{"id":3,"rpc":{"data":[1]}}'),
        (Reply(0, Push("c", Message(Data("x")))), '{"push":{"channel":"c","message":{"data":"x"}}}'),
        (
            Reply(4, SubscribeResult(recoverable=True, epoch="e", publications=[Publication(Data(1), offset=9)])),
            '{"id":4,"subscribe":{"recoverable":true,"epoch":"e","publications":[{"offset":9,"data":1}]}}',
        ),
    ],
    ids=["error", "empty result", "result", "push", "publications"],
)
def test_json_as_clients_know_it(reply, line):
    assert json.loads(JSON.encode(reply)) == json.loads(line)


# ---------------------------------------------------------------- the application's data


def test_data_of_protobuf_clients_reach_json_clients():
    pretty = Data(raw=b'{\r\n "a": "x\\ny"\n}')
    assert json.loads(JSON.encode(Reply(1, RPCResult(pretty))))["rpc"]["data"] == {"a": "x\ny"}
    assert b"\n" not in JSON.encode(Reply(1, RPCResult(pretty)))


def test_bytes_that_are_no_json_reach_json_clients_as_base64():
    assert JSON.encode(Reply(1, RPCResult(Data(raw=b"\x00\xff")))) == b'{"id":1,"rpc":{"data":"AP8="}}'
    assert PROTOBUF.encode(Reply(1, RPCResult(Data(raw=b"\x00\xff"))))[-2:] == b"\x00\xff"


def test_integers_beyond_64_bits_stay_exact():
    [command] = read(JSON, '{"id":1,"rpc":{"data":123456789012345678901234567890}}')
    assert command.request.data.value == 123456789012345678901234567890
    assert b'"data":123456789012345678901234567890}' in JSON.encode(Reply(1, RPCResult(command.request.data)))


@both
def test_data_that_json_cannot_carry_are_refused(codec):
    with pytest.raises(PayloadError, match="JSON has no nan"):
        codec.encode(Reply(1, RPCResult(Data(float("nan")))))


@both
def test_texts_that_utf_8_cannot_carry_are_refused(codec):
    with pytest.raises(PayloadError):
        codec.encode(Reply(1, Error(400, "\ud800")))


def test_data_compare_by_what_they_mean():
    assert Data(raw=b"[1, 2]") == Data([1, 2])
    assert Data(raw=b"\xff") == Data(raw=b"\xff") != Data(raw=b"\xfe")
    assert Data(1) != Data(True)
    assert Data(raw=b"\xff") != Data("\xff")
    assert repr(Data("x" * 100)) == f"Data('{'x' * 76}...)"
    with pytest.raises(TypeError):
        hash(Data(1))


def test_data_may_be_as_deep_as_it_says():
    deep = "[" * MAX_DATA_DEPTH + "]" * MAX_DATA_DEPTH
    [command] = read(JSON, f'{{"id":1,"rpc":{{"data":{deep}}}}}')
    assert command.request.data == Data(raw=deep.encode())


@pytest.mark.parametrize(
    ("offered", "query", "codec", "accepted"),
    [
        ((), None, JSON, None),
        ((), "json", JSON, None),
        ((), "protobuf", PROTOBUF, None),
        (("centrifuge-json",), None, JSON, "centrifuge-json"),
        (("centrifuge-protobuf",), None, PROTOBUF, "centrifuge-protobuf"),
        (("chat", "centrifuge-json", "centrifuge-protobuf"), None, PROTOBUF, "centrifuge-protobuf"),
        (("centrifuge-json",), "protobuf", JSON, "centrifuge-json"),
        (("chat",), None, JSON, None),
    ],
)
def test_the_handshake_chooses(offered, query, codec, accepted):
    assert choose_codec(offered, query) == (codec, accepted)
