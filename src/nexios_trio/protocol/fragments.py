"""The message that is under way: its fragments, decompressed and decoded as they come, and its limits. No I/O."""

import codecs
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..core.lifecycle import Cause
from .frames import CONTINUATION, FIN, RSV1, TEXT, Violation

DEFLATE_TAIL: Final = b"\x00\x00\xff\xff"
MAX_FINAL_BLOCKS: Final = 64  # of a compressed message; who flushes with them needs one for each flush


class FrameHandler(Protocol):
    """Gets what the parser finds. None of these may block."""

    @property
    def on_message(self) -> Callable[[str | bytes], None]:
        """Take a message. A connection of ours has its `Inbox.put` here (`Reader.__init__`)."""
        ...

    @property
    def is_full(self) -> bool:
        """No more compressed messages for now: a few bytes may become many. `feed(b"")` goes on."""
        ...

    def on_ping(self, payload: bytes) -> None: ...
    def on_pong(self, payload: bytes) -> None: ...
    def on_close(self, code: int, reason: str) -> None:
        """Take a close frame. What follows it in the bytes at hand is thrown away."""


class _Nobody:
    """Stand for a handler that is gone."""

    is_full = False

    def on_message(self, message: str | bytes) -> None: ...
    def on_ping(self, payload: bytes) -> None: ...
    def on_pong(self, payload: bytes) -> None: ...
    def on_close(self, code: int, reason: str) -> None: ...


_NOBODY = _Nobody()
_NO_PARTS: Any = ()  # while no message is under way


class MessageAssembler:
    """The parser's lower half: puts fragments together. Not an object of its own, since every frame passes here.

    Args:
        max_size: bytes of one message, after decompression.
        max_fragments: frames of one message.
    """

    __slots__ = (
        "_decoder",
        "_finals",
        "_fragments",
        "_handler",
        "_inflater",
        "_max_fragments",
        "_max_size",
        "_opcode",
        "_parts",
        "_size",
    )

    def __init__(self, handler: FrameHandler, max_size: int, max_fragments: int) -> None:
        self._handler = handler
        self._max_size = max_size
        self._max_fragments = max_fragments
        # `_opcode` is CONTINUATION, and the counts are 0, while no fragmented message is under way.
        self._opcode = CONTINUATION
        self._parts: list[str] | list[bytes] = _NO_PARTS  # a message's own from its first frame on
        self._size = 0
        self._fragments = 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self._inflater: zlib._Decompress | None = None
        self._finals = 0

    def release(self) -> None:
        """Let go of the handler, which usually refers to the parser. What is fed after this, nobody hears."""
        self._handler = _NOBODY

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
            self._parts = []
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
            if self._finals > MAX_FINAL_BLOCKS:
                raise Violation(Cause.MESSAGE_TOO_BIG, f"a message may have {MAX_FINAL_BLOCKS} final blocks")
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
            parts, self._parts = self._parts, _NO_PARTS
            empty = "" if self._opcode == TEXT else b""
            self._opcode = CONTINUATION
            self._size = self._fragments = 0
            self._decoder = self._inflater = None
            self._handler.on_message(parts[0] if len(parts) == 1 else empty.join(parts))  # type: ignore[arg-type]
