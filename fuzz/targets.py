"""The parsers under attack. Each target takes any bytes, and raises only where a promise is broken."""

import json
from collections.abc import Callable
from typing import Final

from nexios_trio.core.json import decode_json, encode_json, is_deeper
from nexios_trio.core.message import Message
from nexios_trio.protocol.frames import Violation
from nexios_trio.protocol.parser import FrameParser
from nexios_trio.realtime.protocol.codecs import JSON, PROTOBUF
from nexios_trio.realtime.protocol.replies import ConnectResult
from nexios_trio.realtime.protocol.requests import ConnectRequest
from nexios_trio.realtime.protocol.server_protocol import ServerProtocol, State
from nexios_trio.realtime.protocol.server_protocol import Violation as ProtocolViolation
from nexios_trio.routing.paths import BadPath, request_path
from nexios_trio.server.ordinary_head import read_ordinary_head
from nexios_trio.server.request_head import HEAD_END, BadUpgrade, is_upgrade, parse_upgrade, read_upgrade

__all__ = ["TARGETS"]

MAX_SIZE: Final = 2048
MAX_FRAGMENTS: Final = 16
MAX_DEPTH: Final = 32
PIECES: Final = (1, 2, 3, 7, 64)  # ways to cut the same bytes


class Heard:
    """What a parser tells of one client, each message checked against its bounds."""

    is_full = False

    def __init__(self) -> None:
        self.events: list[object] = []
        self.is_closed = False

    def on_message(self, message: str | bytes) -> None:
        size = len(message.encode() if isinstance(message, str) else message)
        assert size <= MAX_SIZE, "a message beyond the limit"
        self.events.append(message)

    def on_ping(self, payload: bytes) -> None:
        self._on_control("ping", payload)

    def on_pong(self, payload: bytes) -> None:
        self._on_control("pong", payload)

    def on_close(self, code: int, reason: str) -> None:
        assert code == 1005 or 1000 <= code < 5000
        self.events.append((code, reason))
        self.is_closed = True

    def _on_control(self, what: str, payload: bytes) -> None:
        assert len(payload) <= 125
        self.events.append((what, payload))


def _parse(data: bytes, piece: int, *, deflate: bool) -> list[object]:
    heard = Heard()
    parser = FrameParser(heard, MAX_SIZE, MAX_FRAGMENTS, deflate=deflate)
    try:
        for start in range(0, len(data), piece):
            parser.feed(data[start : start + piece])
            if heard.is_closed:  # what follows a close frame has no meaning
                break
    except Violation as violation:
        heard.events.append(violation.end.cause)
    return heard.events


def frames(data: bytes) -> None:
    """The same events however the bytes are cut; messages within their bounds; no error but a violation."""
    deflate = bool(data[:1] and data[0] & 1)
    whole = _parse(data[1:], max(1, len(data)), deflate=deflate)
    for piece in PIECES:
        assert _parse(data[1:], piece, deflate=deflate) == whole, f"other events in pieces of {piece}"


def requests(data: bytes) -> None:
    """A head is an upgrade in order, or refused with a whole HTTP response; its path is one, or refused.

    What is read in one pass is what the whole parser reads.
    """
    head = data + HEAD_END if HEAD_END not in data else data[: data.index(HEAD_END) + len(HEAD_END)]
    ordinary = read_ordinary_head(head)
    if not is_upgrade(head):
        assert ordinary is None, "a handshake that is none"
        return
    assert ordinary is None or ordinary == parse_upgrade(head)
    try:
        upgrade = read_upgrade(head, compression=True)
    except BadUpgrade as error:
        refused(error.response)
        return
    assert upgrade is not None
    answer = upgrade.answer(upgrade.subprotocols[0] if upgrade.subprotocols else None, ())
    assert answer.count(HEAD_END) == 1, "a split response"
    assert answer.endswith(HEAD_END)
    try:
        path = request_path(upgrade.scope())
    except BadPath:
        return
    assert path.startswith("/")
    assert ".." not in path.split("/")
    assert not any(control in path for control in "\r\n\x1b")


def refused(response: bytes) -> None:
    """It is a whole one."""
    assert response.startswith(b"HTTP/1.1 ")
    assert HEAD_END in response


def payloads(data: bytes) -> None:
    """JSON decodes to something finite and shallow, that can be sent on and read again, or is a decode error."""
    try:
        value = decode_json(data, MAX_DEPTH)
    except json.JSONDecodeError:
        return
    assert not is_deeper(value, MAX_DEPTH)
    sent = encode_json(value)
    assert encode_json(decode_json(sent, MAX_DEPTH)) == sent
    message = Message(value, 0.0)
    for kind in (0, 1, 2):
        assert message.frame(kind).wire
    assert encode_json(message.payload) == sent


def commands(data: bytes) -> None:
    """Frames of the realtime protocol are commands, or a violation; what was read can be written, and read again."""
    codec = PROTOBUF if data[:1] and data[0] & 1 else JSON
    protocol = ServerProtocol(codec)
    try:
        protocol.receive(data[1:] if codec is PROTOBUF else data[1:].decode(errors="replace"))
        while (command := protocol.next_command()) is not None:
            assert protocol.state in (State.CONNECTING, State.CONNECTED)
            assert list(PROTOBUF.commands(PROTOBUF.encode(command))) == [command], "another command"
            [as_json] = JSON.commands(JSON.encode(command))  # with data that are no JSON as base64
            assert list(JSON.commands(JSON.encode(as_json))) == [as_json], "another command"
            if isinstance(command.request, ConnectRequest):
                protocol.connected(command, ConnectResult())
                protocol.ping()
    except ProtocolViolation as violation:
        refused_for_good(protocol, violation)


def refused_for_good(protocol: ServerProtocol, violation: ProtocolViolation) -> None:
    """The client does not come back by itself, and nothing more comes out."""
    assert 3500 <= violation.code < 4000
    assert protocol.next_command() is None


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "commands": commands,
    "frames": frames,
    "payloads": payloads,
    "requests": requests,
}
