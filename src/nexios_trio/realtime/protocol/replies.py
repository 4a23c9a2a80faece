"""What clients are answered, and told unasked."""

import attrs

from .data import Data
from .parts import ClientInfo, Error, Publication
from .schema import boolean, data, message, message_map, messages, one_of, string, uint32, uint64


@attrs.define
class SubscribeResult:
    """That a subscription holds, and from where on."""

    expires: bool = boolean(1)
    ttl: int = uint32(2)  # seconds
    recoverable: bool = boolean(3)
    epoch: str = string(6)
    publications: list[Publication] = messages(7, Publication)
    recovered: bool = boolean(8)
    offset: int = uint64(9)
    positioned: bool = boolean(10)
    data: Data | None = data(11)
    was_recovering: bool = boolean(12)


@attrs.define
class ConnectResult:
    client: str = string(1)
    version: str = string(2)
    expires: bool = boolean(3)
    ttl: int = uint32(4)  # seconds
    data: Data | None = data(5)
    subs: dict[str, SubscribeResult] = message_map(6, SubscribeResult)
    ping: int = uint32(7)  # seconds between two pings
    pong: bool = boolean(8)  # the client is to answer them


@attrs.define
class UnsubscribeResult:
    pass


@attrs.define
class PublishResult:
    pass


@attrs.define
class PresenceResult:
    presence: dict[str, ClientInfo] = message_map(1, ClientInfo)  # by the ids of connections


@attrs.define
class PresenceStatsResult:
    num_clients: int = uint32(1)
    num_users: int = uint32(2)


@attrs.define
class HistoryResult:
    publications: list[Publication] = messages(1, Publication)
    epoch: str = string(2)
    offset: int = uint64(3)


@attrs.define
class PingResult:
    pass


@attrs.define
class RPCResult:
    data: Data | None = data(1)


@attrs.define
class RefreshResult:
    client: str = string(1)
    version: str = string(2)
    expires: bool = boolean(3)
    ttl: int = uint32(4)  # seconds


@attrs.define
class SubRefreshResult:
    expires: bool = boolean(1)
    ttl: int = uint32(2)  # seconds


@attrs.define
class Join:
    info: ClientInfo | None = message(1, ClientInfo)


@attrs.define
class Leave:
    info: ClientInfo | None = message(1, ClientInfo)


@attrs.define
class Unsubscribe:
    """The server has ended a subscription."""

    code: int = uint32(2)
    reason: str = string(3)


@attrs.define
class Subscribe:
    """The server has begun one."""

    recoverable: bool = boolean(1)
    epoch: str = string(4)
    offset: int = uint64(5)
    positioned: bool = boolean(6)
    data: Data | None = data(7)


@attrs.define
class Message:
    """From the application, to this connection alone."""

    data: Data | None = data(1)


@attrs.define
class Disconnect:
    code: int = uint32(1)
    reason: str = string(2)


@attrs.define
class Refresh:
    expires: bool = boolean(1)
    ttl: int = uint32(2)  # seconds


@attrs.define
class Push:
    """What the server says unasked."""

    channel: str = string(2)
    event: Publication | Join | Leave | Unsubscribe | Message | Subscribe | Disconnect | Refresh | None = one_of(
        pub=(4, Publication),
        join=(5, Join),
        leave=(6, Leave),
        unsubscribe=(7, Unsubscribe),
        message=(8, Message),
        subscribe=(9, Subscribe),
        disconnect=(11, Disconnect),
        refresh=(12, Refresh),
    )


Result = (
    ConnectResult
    | SubscribeResult
    | UnsubscribeResult
    | PublishResult
    | PresenceResult
    | PresenceStatsResult
    | HistoryResult
    | PingResult
    | RPCResult
    | RefreshResult
    | SubRefreshResult
)


@attrs.define
class Reply:
    """What a server sends. Without an id and anything else: a ping."""

    id: int = uint32(1)
    body: Error | Push | Result | None = one_of(
        error=(2, Error),
        push=(4, Push),
        connect=(5, ConnectResult),
        subscribe=(6, SubscribeResult),
        unsubscribe=(7, UnsubscribeResult),
        publish=(8, PublishResult),
        presence=(9, PresenceResult),
        presence_stats=(10, PresenceStatsResult),
        history=(11, HistoryResult),
        ping=(12, PingResult),
        rpc=(13, RPCResult),
        refresh=(14, RefreshResult),
        sub_refresh=(15, SubRefreshResult),
    )
