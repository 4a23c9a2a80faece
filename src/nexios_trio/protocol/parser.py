"""WebSocket frames from the wire (RFC 6455, section 5; RFC 7692 for compression). Bytes in, calls out; no I/O.

The parser keeps what is not yet a whole frame and calls its receiver for what is. Masking is undone by the C function
of the `websockets` library; text is decoded once, a fragmented text as its fragments come, so that bad UTF-8 is seen at
the first bad byte. The first mistake of the peer raises `Violation`, at the byte that shows it and however the bytes
were split; nothing may be fed after that.
"""

import codecs
import zlib
from collections.abc import Callable
from typing import Protocol, cast

from websockets.exceptions import ProtocolError
from websockets.frames import Close

from ..core.lifecycle import Cause, End, clip_reason

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the library's wheel
    from websockets.utils import apply_mask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV23 = 0x80, 0x40, 0x30
DEFLATE_TAIL = b"\x00\x00\xff\xff"
MAX_FINALS = 64  # final blocks of a compressed message; who flushes with them needs one for each flush


class Violation(Exception):
    """The peer broke the protocol, or a limit. `end` says what it is told."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.end = End.of(cause, reason)


class Receiver(Protocol):
    """Who gets what the parser finds. None of these may block."""

    @property
    def on_message(self) -> Callable[[str | bytes], None]: ...
    @property
    def is_full(self) -> bool:
        """No more compressed messages for now: a few bytes may become many. `feed(b"")` goes on."""
        ...

    def on_ping(self, payload: bytes) -> None: ...
    def on_pong(self, payload: bytes) -> None: ...
    def on_close(self, code: int, reason: str) -> None:
        """Take a close frame. What follows it in the bytes at hand is thrown away."""


class _Nobody:
    """Stands for a receiver that is gone."""

    is_full = False

    def on_message(self, message: str | bytes) -> None: ...
    def on_ping(self, payload: bytes) -> None: ...
    def on_pong(self, payload: bytes) -> None: ...
    def on_close(self, code: int, reason: str) -> None: ...


_NOBODY = _Nobody()


class FrameParser:
    """The frames of one client.

    Args:
        max_size: bytes of one message, after decompression.
        max_fragments: frames of one message.
        deflate: permessage-deflate was negotiated, without context takeover.
    """

    __slots__ = (
        "_ahead",
        "_buffer",
        "_decoder",
        "_deflate",
        "_finals",
        "_fragments",
        "_inflater",
        "_max_fragments",
        "_max_size",
        "_opcode",
        "_parts",
        "_receiver",
        "_size",
        "_small",
        "missing",
    )

    def __init__(self, receiver: Receiver, max_size: int, max_fragments: int, *, deflate: bool = False) -> None:
        self._receiver = receiver
        self._max_size = max_size
        self._max_fragments = max_fragments
        self._deflate = deflate
        self._small = min(125, max_size)  # bytes up to which a whole frame of text needs no check of its size
        self._buffer = bytearray()
        self.missing = 0  # bytes that have to come before there is anything to decide
        self._ahead = 0  # bytes still to come of a frame that `seek_close` skips
        # Of the fragmented message that is under way; `_opcode` is CONTINUATION, and the counts are 0, when none is.
        self._opcode = CONTINUATION
        self._parts: list[str] | list[bytes] = []
        self._size = 0
        self._fragments = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self._inflater: zlib._Decompress | None = None
        self._finals = 0

    def feed(self, data: bytes) -> None:
        """Parse what came. Raises: Violation."""
        if self._buffer:
            self._buffer += data
            self.missing -= len(data)
            if self.missing > 0:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        rest = self._parse(data)
        if rest < len(data):
            self._buffer += data[rest:]

    def seek_close(self, data: bytes) -> None:
        """In place of `feed`, once we have said goodbye: nothing but the peer's close frame is looked at, or kept.

        Raises: Violation, for that frame.
        """
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer.clear()
        at, size = self._ahead, len(data)
        while size - at >= 6:
            first, length, body = data[at], data[at + 1] & 0x7F, at + 6
            if length >= 126:
                body += 2 if length == 126 else 8
                if body > size:
                    break
                length = int.from_bytes(data[at + 2 : body - 4], "big")
            if first == FIN | CLOSE and length <= 125:
                if body + length > size:
                    break
                self._close(apply_mask(data[body : body + length], data[body - 4 : body]))
                return
            at = body + length
        self._buffer += data[at:]
        self.missing = self._ahead = max(at - size, 0)

    def release(self) -> None:
        """Let go of the receiver, which usually refers to the parser. What is fed after this, nobody hears."""
        self._receiver = _NOBODY

    def _parse(self, data: bytes) -> int:
        """Parse whole frames; the index behind the last. Sets `missing` for what follows it."""
        at, size = 0, len(data)
        receiver = self._receiver
        small = self._small
        while size - at >= 6:
            first, second = data[at], data[at + 1]
            length = second & 0x7F
            body = at + 6
            if length >= 126:
                body, length = self._long_header(data, at)
            elif second < 0x80 or length > small or body + length > size:
                self._check_header(first, second)
                self._check_size(first, length)
            end = body + length
            if end > size:
                self.missing = end - size
                return at
            payload = apply_mask(data[body:end], data[body - 4 : body]) if length else b""
            at = end
            if first == 0x81 and not self._opcode:
                try:
                    text = payload.decode()
                except UnicodeDecodeError:
                    raise Violation(Cause.INVALID_DATA, "the text is not UTF-8") from None
                receiver.on_message(text)
            elif first == 0x82 and not self._opcode:
                receiver.on_message(payload)
            elif first == 0x89:
                receiver.on_ping(payload)
            elif not first and self._opcode and self._inflater is None:
                self._continue(payload)
            else:
                self._frame(first, second, payload)
                if first == FIN | CLOSE:
                    return size
                if self._deflate and receiver.is_full:
                    self.missing = 0
                    return at
        self.missing = 2 - (size - at)
        if self.missing <= 0:
            self._check_header(data[at], data[at + 1])
            self.missing += 4
        return at

    def _long_header(self, data: bytes, at: int) -> tuple[int, int]:
        """Find where the payload starts and how long it is; (a place behind the data, 0) while that has not come."""
        first, second = data[at], data[at + 1]
        if first != 0x81 or second < 0x80 or self._opcode:
            self._check_header(first, second)
        if second & 0x7F == 126:
            body, length = at + 8, int.from_bytes(data[at + 2 : at + 4], "big")
        elif len(data) - at < 10:
            return at + 10, 0
        else:
            body, length = at + 14, int.from_bytes(data[at + 2 : at + 10], "big")
            if length >> 63:
                raise Violation(Cause.PROTOCOL_ERROR, "a frame's length has its highest bit set")
        if length < 126 or (second & 0x7F == 127 and length < 65536):
            raise Violation(Cause.PROTOCOL_ERROR, "a frame's length must take as few bytes as it can")
        if length > self._max_size or self._opcode:
            self._check_size(first, length)
        return body, length

    def _check_header(self, first: int, second: int) -> None:
        """Refuse a frame by its first two bytes."""
        opcode = first & 0x0F
        if second < 0x80:
            raise Violation(Cause.PROTOCOL_ERROR, "a client's frames must be masked")
        if first & RSV23 or (first & RSV1 and not (self._deflate and opcode in (TEXT, BINARY))):
            raise Violation(Cause.PROTOCOL_ERROR, "a reserved bit is set")
        if BINARY < opcode < CLOSE or opcode > PONG:
            raise Violation(Cause.PROTOCOL_ERROR, f"opcode {opcode} is reserved")
        if opcode >= CLOSE:
            if second & 0x7F > 125 or not first & FIN:
                raise Violation(Cause.PROTOCOL_ERROR, "control frames must be whole and of 125 bytes at most")
        elif opcode and self._opcode:
            raise Violation(Cause.PROTOCOL_ERROR, "a message began inside another")
        elif not opcode and not self._opcode:
            raise Violation(Cause.PROTOCOL_ERROR, "a continuation without a beginning")

    def _check_size(self, first: int, length: int) -> None:
        """Refuse a data frame by the length in its header."""
        if first & 0x08:
            return
        if self._fragments >= self._max_fragments:
            raise Violation(Cause.MESSAGE_TOO_BIG, f"a message may have {self._max_fragments} fragments")
        room = self._max_size - self._size
        if first & RSV1 or self._inflater is not None:
            room += room // 64 + 64  # what cannot be compressed gets a little longer
        if length > room:
            raise self._too_big()

    def _too_big(self) -> Violation:
        return Violation(Cause.MESSAGE_TOO_BIG, f"a message may have {self._max_size} bytes")

    def _frame(self, first: int, second: int, payload: bytes) -> None:
        self._check_header(first, second)
        opcode = first & 0x0F
        if opcode < CLOSE:
            self._data(first, opcode, payload)
        elif opcode == PING:
            self._receiver.on_ping(payload)
        elif opcode == PONG:
            self._receiver.on_pong(payload)
        else:
            self._close(payload)

    def _close(self, payload: bytes) -> None:
        if not payload:
            self._receiver.on_close(1005, "")
            return
        try:
            close = Close.parse(payload)
        except UnicodeDecodeError:
            raise Violation(Cause.INVALID_DATA, "the close reason is not UTF-8") from None
        except ProtocolError:
            raise Violation(Cause.PROTOCOL_ERROR, "the close frame is malformed") from None
        self._receiver.on_close(int(close.code), close.reason)

    def _continue(self, payload: bytes) -> None:
        """The short way for most fragments of a long message: their header needs no more checks."""
        size = self._size + len(payload)
        if self._fragments >= self._max_fragments or size > self._max_size:
            self._check_size(CONTINUATION, len(payload))
        self._fragments += 1
        self._size = size
        if self._decoder is None:
            self._parts.append(payload)  # type: ignore[arg-type]
        else:
            self._add(payload, is_last=False)

    def _data(self, first: int, opcode: int, payload: bytes) -> None:
        self._check_size(first, len(payload))
        if opcode:
            self._opcode = opcode
            self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None
            self._inflater = zlib.decompressobj(wbits=-15) if first & RSV1 else None
            self._finals = 0
        is_last = bool(first & FIN)
        if self._inflater is not None:
            payload = self._inflate(payload, is_last)
        self._fragments += 1
        self._size += len(payload)
        self._add(payload, is_last=is_last)

    def _inflate(self, payload: bytes, is_last: bool) -> bytes:
        inflater = self._inflater
        assert inflater is not None
        room = self._max_size - self._size + 1  # one more than allowed shows that there is too much
        data = payload + DEFLATE_TAIL if is_last else payload
        parts: list[bytes] = []
        while True:
            try:
                parts.append(inflater.decompress(data, room))
            except zlib.error:
                raise Violation(Cause.INVALID_DATA, "the compressed data is malformed") from None
            room -= len(parts[-1])
            if room <= 0:
                raise self._too_big()
            if not inflater.eof:
                return b"".join(parts)
            # Behind a final block there may be others (RFC 7692, 7.2.1), for which zlib begins anew.
            self._finals += 1
            if self._finals > MAX_FINALS:
                raise Violation(Cause.MESSAGE_TOO_BIG, f"a message may have {MAX_FINALS} final blocks")
            data = inflater.unused_data
            self._inflater = inflater = zlib.decompressobj(wbits=-15)

    def _add(self, payload: bytes, *, is_last: bool) -> None:
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
            self._size = self._fragments = 0
            self._decoder = self._inflater = None
            self._receiver.on_message(parts[0] if len(parts) == 1 else empty.join(parts))  # type: ignore[arg-type]


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A server's control frame; `payload` has 125 bytes at most."""
    return bytes((FIN | opcode, len(payload))) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; codes that only stand for "none was sent" (1005, 1006) give an empty one."""
    if code in (1005, 1006, 1015):
        return control_frame(CLOSE)
    return control_frame(CLOSE, code.to_bytes(2, "big") + clip_reason(reason).encode())


def messages_behind(rest: memoryview) -> int:
    """Count the messages that end in `rest`, the unsent end of some of our frames (or of an HTTP response: none)."""
    frames = cast(bytes, rest.obj)
    sent = len(frames) - len(rest)
    messages = at = 0
    while at < len(frames) and frames[at] & FIN:
        opcode, length, body = frames[at] & 0x0F, frames[at + 1], at + 2
        if length >= 126:
            body += 2 if length == 126 else 8
            length = int.from_bytes(frames[at + 2 : body], "big")
        at = body + length
        if at > sent and opcode < CLOSE:
            messages += 1
    return messages
