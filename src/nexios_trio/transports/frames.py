"""WebSocket frames from the wire (RFC 6455, section 5; RFC 7692 for compression). Bytes in, calls out; no I/O.

The parser keeps what is not yet a whole frame and calls its receiver for what is. Masking is undone by the C function
of the `websockets` library; text is decoded once, a fragmented text as its fragments come, so that bad UTF-8 is seen at
the first bad byte. The first mistake of the peer raises `Violation`; nothing may be fed after that.
"""

import codecs
import zlib
from collections.abc import Callable
from typing import Protocol

from websockets.frames import Close

from ..core.lifecycle import Cause, End

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the library's wheel
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV23 = 0x80, 0x40, 0x30
DEFLATE_TAIL = b"\x00\x00\xff\xff"


class Violation(Exception):
    """The peer broke the protocol, or a limit. `end` says what it is told."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.end = End.of(cause, reason)


class Receiver(Protocol):
    """Who gets what the parser finds. None of these may block."""

    @property
    def on_message(self) -> Callable[[str | bytes], None]: ...
    def on_ping(self, payload: bytes) -> None: ...
    def on_pong(self, payload: bytes) -> None: ...
    def on_close(self, code: int, reason: str) -> None: ...


class FrameParser:
    """The frames of one client.

    Args:
        max_size: bytes of one message, after decompression.
        max_fragments: frames of one message.
        deflate: permessage-deflate was negotiated, without context takeover.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_deflate",
        "_fragments",
        "_inflater",
        "_max_fragments",
        "_max_size",
        "_missing",
        "_opcode",
        "_parts",
        "_receiver",
        "_size",
    )

    def __init__(self, receiver: Receiver, max_size: int, max_fragments: int, *, deflate: bool = False) -> None:
        self._receiver = receiver
        self._max_size = max_size
        self._max_fragments = max_fragments
        self._deflate = deflate
        self._buffer = bytearray()
        self._missing = 0  # bytes that must come before there is anything to parse
        # Of the fragmented message that is under way; `_opcode` is CONTINUATION when none is.
        self._opcode = CONTINUATION
        self._parts: list[str] | list[bytes] = []
        self._size = 0
        self._fragments = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self._inflater: zlib._Decompress | None = None

    def feed(self, data: bytes) -> None:
        """Parse what came. Raises: Violation."""
        if self._buffer:
            self._buffer += data
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        rest = self._parse(data)
        if rest < len(data):
            self._buffer += data[rest:]

    def _parse(self, data: bytes) -> int:
        """Parse whole frames; the index behind the last. Sets `_missing` for what follows it."""
        at, size = 0, len(data)
        receiver = self._receiver
        while size - at >= 6:
            first, second = data[at], data[at + 1]
            length = second & 0x7F
            body = at + 6
            if length >= 126:
                body, length = self._long_header(data, at, length)
                if body > size:
                    self._missing = body - size
                    return at
            end = body + length
            if second < 0x80 or end > size or length > 125:
                self._check_early(first, second)
                self._check_size(length)
            if end > size:
                self._missing = end - size
                return at
            payload = apply_mask(data[body:end], data[body - 4 : body])
            at = end
            if first == 0x81 and not self._opcode:
                try:
                    text = payload.decode()
                except UnicodeDecodeError:
                    raise Violation(Cause.INVALID_DATA, "the text is not UTF-8") from None
                receiver.on_message(text)
            else:
                self._frame(first, payload)
        if size - at >= 2:
            self._check_early(data[at], data[at + 1])
        self._missing = 6 - (size - at)
        return at

    def _long_header(self, data: bytes, at: int, length: int) -> tuple[int, int]:
        """Where the payload starts and how long it is; a start behind the data when the header is not here yet."""
        if length == 126:
            return at + 8, int.from_bytes(data[at + 2 : at + 4], "big")
        if len(data) - at < 10:
            return at + 14, 0
        length = int.from_bytes(data[at + 2 : at + 10], "big")
        if length >> 63:
            raise Violation(Cause.PROTOCOL_ERROR, "a frame's length has its highest bit set")
        return at + 14, length

    def _check_early(self, first: int, second: int) -> None:
        """Refuse a frame by its first two bytes, before the rest has come."""
        if second < 0x80:
            raise Violation(Cause.PROTOCOL_ERROR, "a client's frames must be masked")
        if first & 0x0F >= 8 and (second & 0x7F > 125 or not first & FIN):
            raise Violation(Cause.PROTOCOL_ERROR, "control frames must be whole and of 125 bytes at most")
        self._check_bits(first)

    def _check_size(self, length: int) -> None:
        if self._size + length > self._max_size:
            raise Violation(Cause.MESSAGE_TOO_BIG, f"a message may have {self._max_size} bytes")

    def _check_bits(self, first: int) -> None:
        if first & RSV23 or (first & RSV1 and not (self._deflate and first & 0x0F in (TEXT, BINARY))):
            raise Violation(Cause.PROTOCOL_ERROR, "a reserved bit is set")

    def _frame(self, first: int, payload: bytes) -> None:
        self._check_bits(first)
        opcode = first & 0x0F
        if opcode >= 8:
            self._control(first, opcode, payload)
        elif opcode > BINARY:
            raise Violation(Cause.PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        else:
            self._data(first, opcode, payload)

    def _control(self, first: int, opcode: int, payload: bytes) -> None:
        if not first & FIN or len(payload) > 125:
            raise Violation(Cause.PROTOCOL_ERROR, "control frames must be whole and of 125 bytes at most")
        if opcode == PING:
            self._receiver.on_ping(payload)
        elif opcode == PONG:
            self._receiver.on_pong(payload)
        elif opcode == CLOSE:
            self._close(payload)
        else:
            raise Violation(Cause.PROTOCOL_ERROR, f"opcode {opcode} is reserved")

    def _close(self, payload: bytes) -> None:
        if not payload:
            self._receiver.on_close(1005, "")
            return
        try:
            close = Close.parse(payload)
            close.check()
        except UnicodeDecodeError:
            raise Violation(Cause.INVALID_DATA, "the close reason is not UTF-8") from None
        except Exception:
            raise Violation(Cause.PROTOCOL_ERROR, "the close frame is malformed") from None
        self._receiver.on_close(close.code, close.reason)

    def _data(self, first: int, opcode: int, payload: bytes) -> None:
        if opcode:
            if self._opcode:
                raise Violation(Cause.PROTOCOL_ERROR, "a message began inside another")
            self._begin(first, opcode)
        elif not self._opcode:
            raise Violation(Cause.PROTOCOL_ERROR, "a continuation without a beginning")
        self._fragments += 1
        if self._fragments > self._max_fragments:
            raise Violation(Cause.MESSAGE_TOO_BIG, f"a message may have {self._max_fragments} fragments")
        is_last = bool(first & FIN)
        if self._inflater is not None:
            payload = self._inflate(payload, is_last)
        self._check_size(len(payload))
        self._size += len(payload)
        self._add(payload, is_last)

    def _begin(self, first: int, opcode: int) -> None:
        self._opcode = opcode
        self._parts = []
        self._size = self._fragments = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None
        self._inflater = zlib.decompressobj(wbits=-15) if first & RSV1 else None

    def _inflate(self, payload: bytes, is_last: bool) -> bytes:
        assert self._inflater is not None
        room = self._max_size - self._size + 1  # one more than allowed shows that there is too much
        try:
            inflated = self._inflater.decompress(payload + DEFLATE_TAIL if is_last else payload, room)
        except zlib.error:
            raise Violation(Cause.INVALID_DATA, "the compressed data is malformed") from None
        if len(inflated) >= room:
            raise Violation(Cause.MESSAGE_TOO_BIG, f"a message may have {self._max_size} bytes")
        return inflated

    def _add(self, payload: bytes, is_last: bool) -> None:
        if self._decoder is None:
            self._parts.append(payload)  # type: ignore[arg-type]
        else:
            try:
                self._parts.append(self._decoder.decode(payload, is_last))  # type: ignore[arg-type]
            except UnicodeDecodeError:
                raise Violation(Cause.INVALID_DATA, "the text is not UTF-8") from None
        if is_last:
            parts, self._parts = self._parts, []
            empty = "" if self._opcode == TEXT else b""
            self._opcode = CONTINUATION
            self._size = 0
            self._decoder = self._inflater = None
            self._receiver.on_message(parts[0] if len(parts) == 1 else empty.join(parts))  # type: ignore[arg-type]


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A server's control frame; `payload` has 125 bytes at most."""
    return bytes((FIN | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; codes that only stand for "none was sent" (1005, 1006) give an empty one."""
    if code in (1005, 1006, 1015):
        return control_frame(CLOSE)
    return control_frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])
