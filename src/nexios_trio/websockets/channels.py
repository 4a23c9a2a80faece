"""Channels, groups and registries: the import path of the documents."""

from ..core.messages import PayloadTypeEnum
from .box import BoxStatistics, ChannelBox, GroupsView
from .channel import Channel, open_channel
from .registry import ChannelGroup, ChannelRegistry
from .statuses import ChannelAddStatusEnum, ChannelMessageDC, ChannelRemoveStatusEnum, GroupSendStatusEnum

__all__ = [
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
    "PayloadTypeEnum",
    "open_channel",
]
