"""The names of an engine's keys and channels at a Redis or Valkey server. `scripts` says what is in them."""

import secrets
from typing import Final

from ..presence import presence_group

PRESENCE_KEYS: Final = (b"n", b"i", b"o", b"e", b"u", b"c", b"f", b"x", b"v", b"z")

__all__ = ["LIFE_MS", "RedisKeys"]

LIFE_MS: Final = 7 * 24 * 3600 * 1000  # of what nobody touches


class RedisKeys:
    """Args:
    prefix: of all of them: boxes of one prefix share their groups.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = _encode(prefix) + b":"
        self.index = self.prefix + b"i"
        self.everybody = self.prefix + b"n"  # the channel of questions to all nodes
        self.node = secrets.token_bytes(8)  # this one, among those
        self.answers = self.answers_of(self.node)
        self.presence = self.presence_of(b"")
        self.presence_channels = self.channel(presence_group(""))  # the name of a group follows
        self.nonce = secrets.token_hex(3)  # a part of the names of epochs that this node begins

    def of_group(self, group: str) -> list[bytes]:
        """Return the names of its meta and its stream."""
        name = _encode(group)
        return [self.prefix + b"m:" + name, self.prefix + b"h:" + name]

    def presence_of(self, name: bytes) -> list[bytes]:
        """Return the names of all that `presence_scripts` keeps. The box's own has the name b""."""
        return [b"%bp:%b%b" % (self.prefix, name, key) for key in (b"t", *PRESENCE_KEYS)]

    def channel(self, group: str) -> bytes:
        return self.prefix + b"c:" + _encode(group)

    def answers_of(self, node: bytes) -> bytes:
        """Return the channel of answers to a node."""
        return self.prefix + b"n:" + node.hex().encode()

    def receipt(self, group: str, key: str) -> bytes:
        """Return the name of the receipt of a publish. The length makes it that of one group only."""
        name = _encode(group)
        return b"%bk:%d:%b:%b" % (self.prefix, len(name), name, _encode(key))


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
