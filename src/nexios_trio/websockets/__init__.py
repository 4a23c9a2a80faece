"""The public API of connections, channels and groups."""

from ..channels.offline import OfflineQueue, OfflineStatistics
from ..channels.secure import AuthenticationError, SecureChannel
from ..connections.websocket import WebSocket, WebSocketDisconnect, WebSocketException, WebSocketState
from ..consumer import WebSocketConsumer, WebSocketEndpoint
from ..core.payloads import PayloadTypeEnum
from ..groups.user_connections import UserConnection, UserConnections
from ..validation.messages import InvalidMessage, valid_messages, validator
from .channels import (
    OLDEST,
    BoxStatistics,
    Channel,
    ChannelAddStatusEnum,
    ChannelBox,
    ChannelGroup,
    ChannelMessageDC,
    ChannelRegistry,
    ChannelRemoveStatusEnum,
    GroupSendStatusEnum,
    GroupsView,
    PresenceChange,
    PresenceChanges,
    PresentConnection,
    PresentUser,
    Resumed,
    open_channel,
)

__all__ = [
    "OLDEST",
    "AuthenticationError",
    "BoxStatistics",
    "Channel",
    "ChannelAddStatusEnum",
    "ChannelBox",
    "ChannelGroup",
    "ChannelMessageDC",
    "ChannelRegistry",
    "ChannelRemoveStatusEnum",
    "GroupSendStatusEnum",
    "GroupsView",
    "InvalidMessage",
    "OfflineQueue",
    "OfflineStatistics",
    "PayloadTypeEnum",
    "PresenceChange",
    "PresenceChanges",
    "PresentConnection",
    "PresentUser",
    "Resumed",
    "SecureChannel",
    "UserConnection",
    "UserConnections",
    "WebSocket",
    "WebSocketConsumer",
    "WebSocketDisconnect",
    "WebSocketEndpoint",
    "WebSocketException",
    "WebSocketState",
    "open_channel",
    "valid_messages",
    "validator",
]
