"""What several of the protocol's objects are made of.

Only the fields that this server reads or writes: both codecs skip what is not here. The numbers are those of the
protocol's definition in protobuf.
"""

import attrs

from .data import Data
from .schema import boolean, data, message, string, strings, uint32, uint64

__all__ = ["ClientInfo", "Error", "Publication", "StreamPosition"]


@attrs.define
class Error:
    """Why a command was refused."""

    code: int = uint32(1)
    message: str = string(2)
    temporary: bool = boolean(3)  # the client tries again by itself


@attrs.define
class ClientInfo:
    """A connection, as others see it."""

    user: str = string(1)
    client: str = string(2)
    conn_info: Data | None = data(3)
    chan_info: Data | None = data(4)


@attrs.define
class Publication:
    """A message of a channel."""

    data: Data | None = data(4)
    info: ClientInfo | None = message(5, ClientInfo)  # of who published it
    offset: int = uint64(6)
    tags: dict[str, str] = strings(7)


@attrs.define
class StreamPosition:
    """A place in a channel's history."""

    offset: int = uint64(1)
    epoch: str = string(2)
