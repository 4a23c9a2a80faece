"""Channels, groups and registries: the import path of the documents."""

from ..channels.channel import Channel
from ..channels.open_channel import open_channel
from ..channels.registry import ChannelGroup, ChannelRegistry
from ..core.payloads import PayloadTypeEnum
from ..groups.box import ChannelBox
from ..groups.presence_changes import PresenceChange, PresenceChanges, PresentConnection, PresentUser
from ..groups.results import (
    OLDEST,
    BoxStatistics,
    ChannelAddStatusEnum,
    ChannelMessageDC,
    ChannelRemoveStatusEnum,
    GroupSendStatusEnum,
    Resumed,
)
from ..groups.views import GroupsView

__all__ = [
    "OLDEST",
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
    "PresenceChange",
    "PresenceChanges",
    "PresentConnection",
    "PresentUser",
    "Resumed",
    "open_channel",
]
