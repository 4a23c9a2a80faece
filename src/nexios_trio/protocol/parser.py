"""WebSocket frames from the wire (RFC 6455, section 5; RFC 7692 for compression). Bytes in, calls out; no I/O.

The parser keeps what is not yet a whole frame and calls its handler for what is. Masking is undone by the C function
of the `websockets` library; text is decoded once, a fragmented text as its fragments come, so that bad UTF-8 is seen at
the first bad byte. The first mistake of the peer raises `Violation`, at the byte that shows it and however the bytes
were split; nothing may be fed after that.
"""

from websockets.exceptions import ProtocolError
from websockets.frames import Close

from ..core.lifecycle import Cause
from .fragments import FrameHandler, MessageAssembler
from .frames import BINARY, CLOSE, FIN, MAX_CONTROL_BYTES, PING, PONG, RSV1, RSV23, TEXT, Violation

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the library's wheel
    from websockets.utils import apply_mask


class FrameParser(MessageAssembler):
    """The frames of one client.

    Args:
        max_size: bytes of one message, after decompression.
        max_fragments: frames of one message.
        deflate: permessage-deflate was negotiated, without context takeover.
    """

    __slots__ = ("_ahead", "_buffer", "_deflate", "_small", "missing")

    def __init__(self, handler: FrameHandler, max_size: int, max_fragments: int, *, deflate: bool = False) -> None:
        super().__init__(handler, max_size, max_fragments)
        self._deflate = deflate
        self._small = min(MAX_CONTROL_BYTES, max_size)  # up to which a whole frame of text needs no check of its size
        self._buffer: bytes | bytearray = b""  # a bytearray while a part of a frame is in it
        self.missing = 0  # bytes that have to come before there is anything to decide
        self._ahead = 0  # bytes still to come of a frame that `seek_close` skips

    def feed(self, data: bytes) -> None:
        """Parse what came. Raises: Violation."""
        if self._buffer:
            self._buffer += data
            self.missing -= len(data)
            if self.missing > 0:
                return
            data = bytes(self._buffer)
            self._buffer = b""
        rest = self._parse(data)
        if rest < len(data):
            self._buffer = bytearray(data[rest:])

    def seek_close(self, data: bytes) -> None:
        """In place of `feed`, once we have said goodbye: nothing but the peer's close frame is looked at, or kept.

        Raises: Violation, for that frame.
        """
        if self._buffer:
            data = bytes(self._buffer) + data
            self._buffer = b""
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
        self._buffer = bytearray(data[at:])
        self.missing = self._ahead = max(at - size, 0)

    def _parse(self, data: bytes) -> int:
        """Parse whole frames; the index behind the last. Sets `missing` for what follows it."""
        at, size = 0, len(data)
        handler = self._handler
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
                handler.on_message(text)
            elif first == 0x82 and not self._opcode:
                handler.on_message(payload)
            elif first == 0x89:
                handler.on_ping(payload)
            elif not first and self._opcode and self._inflater is None:
                self._continue(payload)
            else:
                self._frame(first, second, payload)
                if first == FIN | CLOSE:
                    return size
                if self._deflate and handler.is_full:
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

    def _frame(self, first: int, second: int, payload: bytes) -> None:
        self._check_header(first, second)
        opcode = first & 0x0F
        if opcode < CLOSE:
            self._data(first, opcode, payload)
        elif opcode == PING:
            self._handler.on_ping(payload)
        elif opcode == PONG:
            self._handler.on_pong(payload)
        else:
            self._close(payload)

    def _close(self, payload: bytes) -> None:
        if not payload:
            self._handler.on_close(1005, "")
            return
        try:
            close = Close.parse(payload)
        except UnicodeDecodeError:
            raise Violation(Cause.INVALID_DATA, "the close reason is not UTF-8") from None
        except ProtocolError:
            raise Violation(Cause.PROTOCOL_ERROR, "the close frame is malformed") from None
        self._handler.on_close(int(close.code), close.reason)
