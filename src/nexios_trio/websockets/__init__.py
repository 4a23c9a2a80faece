"""The public API of connections, channels and groups."""

from ..channels.offline import OfflineQueue, OfflineStatistics
from ..channels.secure import AuthenticationError, SecureChannel
from ..connections.websocket import WebSocket, WebSocketDisconnect, WebSocketException, WebSocketState
from ..consumer import WebSocketConsumer, WebSocketEndpoint
from ..core.payloads import PayloadTypeEnum
from ..validation.messages import InvalidMessage, valid_messages, validator
from .channels import (
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
    open_channel,
)

__all__ = [
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
    "SecureChannel",
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
