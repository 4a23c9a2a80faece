"""The names of an engine's keys and channels at a Redis or Valkey server. `scripts` says what is in them.

In a Cluster a script reaches only what is in one slot. There, every group is in one of many parts, by its name, and the
names of what belongs to a part begin with the same tag in braces, which puts them into one slot.
"""

import copy
import secrets
from binascii import crc_hqx
from typing import Final

from ..presence import presence_group

PRESENCE_KEYS: Final = (b"n", b"i", b"o", b"e", b"u", b"c", b"f", b"x", b"v", b"z")

__all__ = ["LIFE_MS", "PARTS", "RedisKeys", "slot_of"]

LIFE_MS: Final = 7 * 24 * 3600 * 1000  # of what nobody touches


PARTS: Final = 1024  # of a Cluster
SLOTS: Final = 16384


def slot_of(key: bytes) -> int:
    """Return the slot of a Cluster in which a key, or a channel, is."""
    begin = key.find(b"{") + 1
    end = key.find(b"}", begin)
    return crc_hqx(key[begin:end] if 0 < begin < end else key, 0) % SLOTS


class RedisKeys:
    """Args:
    prefix: of all of them: boxes of one prefix share their groups.
    parts: into how many the groups are divided; 0 where there is no Cluster.
    """

    def __init__(self, prefix: str, parts: int = 0) -> None:
        self.parts = parts
        self.prefix = _encode(prefix) + b":"
        self._starts = [self.prefix]  # of the names of each part
        if parts:
            self.prefix = self.prefix.replace(b"{", b"(").replace(b"}", b")")
            self._starts = [b"%b{%x}" % (self.prefix, part) for part in range(parts)]
        self.indexes = [start + b"i" for start in self._starts]
        self.kept = self._starts[0] + b"r"  # what groups keep, in `kept`'s words
        self.everybody = self._starts[0] + b"n"  # the channel of questions to all nodes
        self.node = secrets.token_bytes(8)  # this one, among those
        self.answers = self.answers_of(self.node)
        self.presence = self.presence_of(b"")
        self.presence_channels = self.channel(presence_group(""))  # the name of a group follows
        self.nonce = secrets.token_hex(3)  # a part of the names of epochs that this node begins

    def of_group(self, group: str) -> list[bytes]:
        """Return the names of its meta and its stream."""
        name = _encode(group)
        start = self._start_of(name)
        return [start + b"m:" + name, start + b"h:" + name]

    def index_of(self, group: str) -> bytes:
        """Return the name of the list of groups in which it is, where it keeps something."""
        return self._start_of(_encode(group)) + b"i"

    def presence_of(self, name: bytes) -> list[bytes]:
        """Return the names of all that `presence_scripts` keeps. The box's own has the name b""."""
        return [b"%bp:%b%b" % (self._starts[0], name, key) for key in (b"t", *PRESENCE_KEYS)]

    def channel(self, group: str) -> bytes:
        name = _encode(group)
        return self._start_of(name) + b"c:" + name

    def answers_of(self, node: bytes) -> bytes:
        """Return the channel of answers to a node."""
        return self._starts[0] + b"n:" + node.hex().encode()

    def receipt(self, group: str, key: str) -> bytes:
        """Return the name of the receipt of a publish. The length makes it that of one group only."""
        name = _encode(group)
        return b"%bk:%d:%b:%b" % (self._start_of(name), len(name), name, _encode(key))

    def part(self, number: int) -> "RedisKeys":
        """Return keys of which all are in that part."""
        keys = copy.copy(self)
        keys._starts = self._starts[number : number + 1]
        keys.indexes = self.indexes[number : number + 1]
        keys.presence, keys.presence_channels = keys.presence_of(b""), keys.channel(presence_group(""))
        return keys

    def _start_of(self, name: bytes) -> bytes:
        starts = self._starts
        if len(starts) == 1 or name.startswith(_PRESENCE):  # all presence is in one part
            return starts[0]
        return starts[crc_hqx(name, 0) % len(starts)]


_PRESENCE: Final = presence_group("").encode()


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
