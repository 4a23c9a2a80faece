"""The public API of connections, channels and groups."""

from ..core.messages import PayloadTypeEnum
from .base import WebSocket, WebSocketDisconnect, WebSocketException, WebSocketState
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
from .consumers import WebSocketConsumer, WebSocketEndpoint
from .offline import OfflineQueue, OfflineStatistics
from .secure import AuthenticationError, SecureChannel
from .validation import InvalidMessage, valid_messages, validator

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
