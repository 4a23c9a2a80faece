"""Channels, groups and registries: the import path of the documents."""

from ..channels.channel import Channel, open_channel
from ..channels.registry import ChannelGroup, ChannelRegistry
from ..core.message import PayloadTypeEnum
from ..groups.box import BoxStatistics, ChannelBox, GroupsView
from ..groups.results import ChannelAddStatusEnum, ChannelMessageDC, ChannelRemoveStatusEnum, GroupSendStatusEnum

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
