"""What a worker and the hub in its parent say to each other: frames on a pair of sockets.

    size        4 bytes     of the rest
    kind        1 byte
    number      4 bytes     of the request, which its answer repeats; 0 for none
    box         2 bytes     which box of the worker's, by the number that the hub has given it
    name size   1 byte
    name        UTF-8       the group's
    body        the rest

What bodies hold is in `bodies`. Each line is ordered, in both directions. Messages pass as they are encoded
(`core.message_codec`), and the hub does not look into them.

A worker may be of a newer release than the hub, since workers are replaced without their parent. So a worker's first
frame is OPEN, which says its version, and is built the same way in every version; the hub refuses one that it does not
speak. Whoever changes what is written here or in `bodies` raises `HUB_VERSION`, and records its bytes in
`tests/engines/hub/test_protocol.py`. Within one version nothing is guessed: a request of an unknown kind, with unknown
flags or an unreadable body is REFUSED; an answer that is not the expected one is none (`EngineError`); a message that
cannot be read is a gap; what nobody has asked for and nobody knows is nothing.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = [
    "DELIVER",
    "HAS_KEEP",
    "HAS_KEY",
    "HELD",
    "HUB_VERSION",
    "IS_TRANSIENT",
    "POST_FLAGS",
    "WATCHED",
    "Frame",
    "FrameReader",
    "Kind",
    "UnreadableFrame",
    "frame",
]

HUB_VERSION: Final = 2
_SIZE: Final = struct.Struct(">I")
_HEADER: Final = struct.Struct(">IBIHB")
_HEAD: Final = struct.Struct(">BIHB")

IS_TRANSIENT, HAS_KEEP, HAS_KEY = 1, 2, 4  # flags of POST
POST_FLAGS: Final = IS_TRANSIENT | HAS_KEEP | HAS_KEY
DELIVER, WATCHED = 1, 2  # flags of POSTED: the message is to be delivered here now; somebody watches the group
HELD: Final = 1  # flag of RENEWED: the lease held, and holds anew


class Kind(IntEnum):
    """What a frame says, and what its body holds."""

    # From a worker
    OPEN = 1  # version, name of the box -> OPENED, REFUSED
    CLOSE = 2
    POST = 3  # flags, limits if there are, a key if there is one, the message -> POSTED
    WATCH = 4  # -> WATCHED
    UNWATCH = 5
    HISTORY = 6  # a query -> PAGE
    GROUPS = 7  # -> NAMES
    FLUSH = 8  # without a name: every group -> FLUSHED
    ASK = 9  # a request -> ANSWERED, one for each other worker, or one for none
    ANSWER = 10  # the answer to ASKED
    RENEW = 11  # a renewal -> RENEWED
    PRESENCE = 12  # -> PRESENT
    # From the hub
    OPENED = 32
    REFUSED = 33  # why; in place of any answer
    MESSAGE = 34  # its position, the message
    POSTED = 35  # flags, the position
    WATCHED = 36  # the position after which messages come
    GAP = 37  # two positions
    PAGE = 38  # a page
    NAMES = 39  # of groups
    FLUSHED = 40
    ASKED = 41  # a request -> ANSWER
    ANSWERED = 42  # how many answers are still to come, whether this is one, the answer
    RENEWED = 43  # flags
    PRESENT = 44  # the version, and who is present


class Frame(NamedTuple):
    kind: int
    number: int
    box: int
    group: str
    body: bytes


def frame(kind: Kind, number: int = 0, box: int = 0, group: str = "", *body: bytes) -> bytes:
    """Return a frame as bytes."""
    name = group.encode()
    size = _HEAD.size + len(name) + sum(map(len, body))
    return b"".join((_HEADER.pack(size, kind, number, box, len(name)), name, *body))


class UnreadableFrame(ValueError):
    """Where a frame ought to begin there is something else: nothing behind it can be read either."""


class FrameReader:
    """Frames from bytes as they come."""

    __slots__ = ("_needed", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of a frame that is not whole
        self._size = 0  # of the pieces
        self._needed = 0  # so many bytes before it is worth looking again

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are whole now. To be exhausted. Raises: UnreadableFrame."""
        if self._pieces:
            self._pieces.append(data)
            self._size += len(data)
            if self._size < self._needed:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        at, end, self._needed = 0, len(data), 0
        while end - at >= _HEADER.size:
            size, kind, number, box, name_size = _HEADER.unpack_from(data, at)
            after = at + _SIZE.size + size
            if after > end:
                self._needed = after - at
                break
            start = at + _HEADER.size
            body = start + name_size
            if body > after:
                raise UnreadableFrame(f"{size} bytes with a name of {name_size}")
            try:
                name = data[start:body].decode()
            except UnicodeDecodeError as error:
                raise UnreadableFrame(f"a name that is no UTF-8: {error}") from None
            yield Frame(kind, number, box, name, data[body:after])
            at = after
        if at < end:
            self._pieces.append(data[at:])
        self._size = end - at
