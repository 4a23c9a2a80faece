"""Channels, groups and registries: the import path of the documents."""

from ..channels.channel import Channel, open_channel
from ..channels.registry import ChannelGroup, ChannelRegistry
from ..core.payloads import PayloadTypeEnum
from ..groups.box import ChannelBox
from ..groups.results import (
    BoxStatistics,
    ChannelAddStatusEnum,
    ChannelMessageDC,
    ChannelRemoveStatusEnum,
    GroupSendStatusEnum,
)
from ..groups.views import GroupsView

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
