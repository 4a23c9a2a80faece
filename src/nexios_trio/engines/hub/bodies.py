"""What is in the bodies of the frames between a worker and the hub."""

import json
import struct
from functools import lru_cache
from math import inf
from typing import Final

import attrs

from ...core.message import Message, Position
from ...core.message_codec import UnreadableMessage, decode_message
from ...pubsub.history import HistoryLimits
from ..base import HistoryPage
from ..presence import PresenceEdit, PresencePage, PresentClient, Renewal
from ..saved_page import SavedPage

__all__ = [
    "UNREADABLE",
    "pack_answer",
    "pack_keep",
    "pack_page",
    "pack_position",
    "pack_presence",
    "pack_query",
    "pack_renewal",
    "pack_text",
    "pack_texts",
    "unpack_answer",
    "unpack_keep",
    "unpack_page",
    "unpack_position",
    "unpack_presence",
    "unpack_query",
    "unpack_renewal",
    "unpack_text",
    "unpack_texts",
]

_POSITION: Final = struct.Struct(">QB")  # offset, size of the epoch's name, which follows
_NO_OFFSET: Final = 0xFFFF_FFFF_FFFF_FFFF
_LENGTH: Final = struct.Struct(">H")
_QUERY: Final = struct.Struct(">qq")  # limit, max_bytes; -1 for none
_PAGE: Final = struct.Struct(">BI")  # flags, how many messages
_SIZE: Final = struct.Struct(">I")
_ANSWER: Final = struct.Struct(">HB")
COMPLETE, HAS_MORE = 1, 2

# What reading a body raises that is not as it is written here.
UNREADABLE: Final = (struct.error, ValueError, IndexError, TypeError)


def pack_position(position: Position | None) -> bytes:
    """Return a position as bytes, or that there is none."""
    if position is None:
        return _POSITION.pack(_NO_OFFSET, 0)
    epoch = position.epoch.encode()
    return _POSITION.pack(position.offset, len(epoch)) + epoch


def unpack_position(data: bytes, at: int = 0) -> tuple[Position | None, int]:
    """Return the position that is there, and where it ends."""
    offset, size = _POSITION.unpack_from(data, at)
    start = at + _POSITION.size
    if offset == _NO_OFFSET:
        return None, start
    return Position(offset, data[start : start + size].decode()), start + size


@lru_cache(maxsize=256)
def pack_keep(limits: HistoryLimits) -> bytes:
    """Return limits as bytes."""
    return pack_text(json.dumps(attrs.asdict(limits)))


def unpack_keep(data: bytes, at: int) -> tuple[HistoryLimits, int]:
    """Return the limits that are there, and where they end."""
    text, end = unpack_text(data, at)
    return _limits(text), end


@lru_cache(maxsize=256)
def _limits(text: str) -> HistoryLimits:
    known = {field.name for field in attrs.fields(HistoryLimits)}
    return HistoryLimits(**{name: value for name, value in json.loads(text).items() if name in known})


def pack_text(text: str) -> bytes:
    """Return a text as bytes, its length first."""
    data = text.encode()
    return _LENGTH.pack(len(data)) + data


def unpack_text(data: bytes, at: int = 0) -> tuple[str, int]:
    """Return the text that is there, and where it ends."""
    (size,) = _LENGTH.unpack_from(data, at)
    start = at + _LENGTH.size
    return data[start : start + size].decode(), start + size


def pack_texts(texts: list[str]) -> bytes:
    """Return texts as bytes."""
    return b"".join(map(pack_text, texts))


def unpack_texts(data: bytes) -> list[str]:
    """Return all texts that are there."""
    texts: list[str] = []
    at = 0
    while at < len(data):
        text, at = unpack_text(data, at)
        texts.append(text)
    return texts


def pack_query(since: Position | None, limit: int | None, max_bytes: int | None) -> bytes:
    """Return what is asked of a history, as bytes."""
    limits = (-1 if bound is None else bound for bound in (limit, max_bytes))
    return b"".join((_QUERY.pack(*limits), pack_position(since)))


def unpack_query(data: bytes) -> tuple[Position | None, int | None, int | None]:
    """Return `since`, `limit` and `max_bytes`."""
    limit, max_bytes = _QUERY.unpack_from(data)
    since, _ = unpack_position(data, _QUERY.size)
    return since, None if limit < 0 else limit, None if max_bytes < 0 else max_bytes


def pack_page(page: SavedPage) -> list[bytes]:
    """Return a page as pieces of bytes."""
    flags = (COMPLETE if page.complete else 0) | (HAS_MORE if page.has_more else 0)
    pieces = [_PAGE.pack(flags, len(page.messages)), pack_position(page.top)]
    for message in page.messages:
        pieces += [pack_position(message.position), _SIZE.pack(len(message.data)), message.data]
    return pieces


def unpack_page(data: bytes) -> HistoryPage:
    """Return the page that these bytes are; a message that cannot be read is missing from it."""
    flags, count = _PAGE.unpack_from(data)
    top, at = unpack_position(data, _PAGE.size)
    if top is None:
        raise ValueError("a page without a top")
    messages: list[Message] = []
    is_complete = bool(flags & COMPLETE)
    for _ in range(count):
        position, at = unpack_position(data, at)
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        try:
            messages.append(decode_message(data[at : at + size], position))
        except UnreadableMessage:
            is_complete = False
        at += size
    return HistoryPage(tuple(messages), is_complete, top, bool(flags & HAS_MORE))


def pack_answer(remaining: int, answer: bytes | None) -> tuple[bytes, bytes]:
    """Return how many answers are to come, and one, if this is one."""
    return _ANSWER.pack(remaining, answer is not None), answer or b""


def unpack_answer(data: bytes) -> tuple[int, bytes | None]:
    """Return how many answers are to come, and one, if this is one."""
    remaining, is_one = _ANSWER.unpack_from(data)
    return remaining, data[_ANSWER.size :] if is_one else None


def pack_renewal(renewal: Renewal) -> bytes:
    """Return what a node says, as bytes: JSON; a lease of None never ends."""
    edits = [(e.group, e.client, e.is_present, e.user, e.info, e.grace) for e in renewal.edits]
    lease = None if renewal.lease == inf else renewal.lease
    return json.dumps((renewal.node, renewal.number, lease, renewal.is_first, edits)).encode()


def unpack_renewal(data: bytes) -> Renewal:
    """Return what a node says."""
    node, number, lease, is_first, edits = json.loads(data)
    told = tuple([PresenceEdit(*edit) for edit in edits])
    return Renewal(node, number, inf if lease is None else lease, told, is_first)


def pack_presence(page: PresencePage) -> tuple[bytes, bytes]:
    """Return who is present, as bytes."""
    clients = [(each.client, each.user, each.info) for each in page.clients]
    return pack_position(page.version), json.dumps(clients).encode()


def unpack_presence(data: bytes) -> PresencePage:
    """Return who is present."""
    version, at = unpack_position(data)
    if version is None:
        raise ValueError("a page without a version")
    return PresencePage(version, tuple([PresentClient(*each) for each in json.loads(data[at:])]))
