"""What clients send."""

import attrs

from .data import Data
from .parts import StreamPosition
from .schema import boolean, data, int32, int64, message, message_map, one_of, present, string, strings, uint32, uint64


@attrs.define
class SubscribeRequest:
    """To get the publications of a channel."""

    channel: str = string(1)
    token: str = string(2)
    recover: bool = boolean(3)
    epoch: str = string(6)
    offset: int = uint64(7)
    data: Data | None = data(8)
    positioned: bool = boolean(9)
    recoverable: bool = boolean(10)
    join_leave: bool = boolean(11)
    delta: str = string(12)
    tf: bool = present(13)  # a filter by tags
    flag: int = int64(14)  # bits: see `SubscribeFlag`
    type: int = int32(15)  # 0: publications; others are maps and polls


@attrs.define
class ConnectRequest:
    """The first command of a connection."""

    token: str = string(1)
    data: Data | None = data(2)
    subs: dict[str, SubscribeRequest] = message_map(3, SubscribeRequest)
    name: str = string(4)
    version: str = string(5)
    headers: dict[str, str] = strings(6)


@attrs.define
class UnsubscribeRequest:
    channel: str = string(1)


@attrs.define
class PublishRequest:
    channel: str = string(1)
    data: Data | None = data(2)
    type: int = int32(3)  # 0: a publication


@attrs.define
class PresenceRequest:
    channel: str = string(1)


@attrs.define
class PresenceStatsRequest:
    channel: str = string(1)


@attrs.define
class HistoryRequest:
    channel: str = string(1)
    limit: int = int32(7)  # 0: only the position; below 0: all that one answer may have
    since: StreamPosition | None = message(8, StreamPosition)
    reverse: bool = boolean(9)


@attrs.define
class PingRequest:
    """Of older versions; in this one an empty command is a pong."""


@attrs.define
class SendRequest:
    """A message to the application, without an answer."""

    data: Data | None = data(1)


@attrs.define
class RPCRequest:
    data: Data | None = data(1)
    method: str = string(2)


@attrs.define
class RefreshRequest:
    token: str = string(1)


@attrs.define
class SubRefreshRequest:
    channel: str = string(1)
    token: str = string(2)
    type: int = int32(3)


Request = (
    ConnectRequest
    | SubscribeRequest
    | UnsubscribeRequest
    | PublishRequest
    | PresenceRequest
    | PresenceStatsRequest
    | HistoryRequest
    | PingRequest
    | SendRequest
    | RPCRequest
    | RefreshRequest
    | SubRefreshRequest
)


@attrs.define
class Command:
    """What a client sends. Without an id and a request: its answer to a ping."""

    id: int = uint32(1)
    request: Request | None = one_of(
        connect=(4, ConnectRequest),
        subscribe=(5, SubscribeRequest),
        unsubscribe=(6, UnsubscribeRequest),
        publish=(7, PublishRequest),
        presence=(8, PresenceRequest),
        presence_stats=(9, PresenceStatsRequest),
        history=(10, HistoryRequest),
        ping=(11, PingRequest),
        send=(12, SendRequest),
        rpc=(13, RPCRequest),
        refresh=(14, RefreshRequest),
        sub_refresh=(15, SubRefreshRequest),
    )
