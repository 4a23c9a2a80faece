"""The two ways of writing the protocol, and which one a client speaks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs

from . import json_codec, protobuf_codec
from .requests import Command

__all__ = ["JSON", "PROTOBUF", "Codec", "choose_codec"]


@attrs.frozen
class Codec:
    """One way of writing the protocol.

    Args:
        subprotocol: what a client calls it in its handshake.
        is_text: WebSocket messages are text ones.
        ping: the empty message.
        decode_frame: (frame, class) -> its objects, one after the other. Raises: BadFrame.
        encode: writes one object, as a frame.
        join: makes one frame of several.
    """

    subprotocol: str
    is_text: bool
    ping: bytes
    decode_frame: Callable[..., Iterator[Any]]
    encode: Callable[[Any], bytes]
    join: Callable[[list[bytes]], bytes]

    def commands(self, frame: str | bytes) -> Iterator[Command]:
        """Read the commands of one frame, one after the other. Raises: BadFrame."""
        return self.decode_frame(frame, Command)


JSON: Final = Codec(
    "centrifuge-json", True, json_codec.PING, json_codec.decode_frame, json_codec.encode, json_codec.join
)
PROTOBUF: Final = Codec(
    "centrifuge-protobuf",
    False,
    protobuf_codec.PING,
    protobuf_codec.decode_frame,
    protobuf_codec.encode,
    protobuf_codec.join,
)


def choose_codec(offered: Sequence[str], format: str | None) -> tuple[Codec, str | None]:
    """Return how a client speaks, and the subprotocol to accept.

    Args:
        offered: the subprotocols of its handshake.
        format: `format` of its query; "protobuf" is for clients that cannot offer a subprotocol.
    """
    for codec in (PROTOBUF, JSON):
        if codec.subprotocol in offered:
            return codec, codec.subprotocol
    return (PROTOBUF if format == "protobuf" else JSON), None
