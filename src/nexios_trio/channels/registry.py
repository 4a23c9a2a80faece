"""Handles on channels: a group by its name, and registries of one's own."""

from typing import Any
from uuid import UUID

from trio.lowlevel import checkpoint

from ..core.names import check_group_name
from ..groups.box import current_box
from ..groups.memberships import as_uuid
from ..groups.results import ChannelAddStatusEnum, ChannelRemoveStatusEnum, GroupSendStatusEnum
from .channel import Channel


class ChannelGroup:
    """A handle on the group `name` of the current application's box: two handles of one name share members.

    Every coroutine method is a checkpoint.
    """

    def __init__(self, name: str) -> None:
        self.name = check_group_name(name)

    def __repr__(self) -> str:
        return f"<ChannelGroup {self.name}>"

    async def add(self, channel: Channel) -> ChannelAddStatusEnum:
        """See `ChannelBox.add_channel_to_group`."""
        return await current_box().add_channel_to_group(channel, self.name)

    async def remove(self, channel: Channel) -> ChannelRemoveStatusEnum:
        """See `ChannelBox.remove_channel_from_group`."""
        return await current_box().remove_channel_from_group(channel, self.name)

    async def send(self, payload: Any, *, save_history: bool = False, exclude: Any = None) -> GroupSendStatusEnum:
        """See `ChannelBox.group_send`."""
        return await current_box().group_send(self.name, payload, save_history, exclude)

    async def send_json(self, data: Any) -> GroupSendStatusEnum:
        """Send what JSON can carry. Raises: TypeError for bytes."""
        if isinstance(data, bytes | bytearray | memoryview):
            raise TypeError("send_json takes what JSON can carry, not bytes; see send_bytes")
        return await self.send(data)

    async def send_text(self, text: str) -> GroupSendStatusEnum:
        """Send a str; a channel of payload type "json" gets it as a JSON string."""
        if not isinstance(text, str):
            raise TypeError(f"send_text takes a str, not {type(text).__name__}")
        return await self.send(text)

    async def send_bytes(self, data: bytes) -> GroupSendStatusEnum:
        """Send bytes; every channel gets a binary frame."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"send_bytes takes bytes, not {type(data).__name__}")
        return await self.send(data)

    async def channels(self) -> list[Channel]:
        """The members, in joining order."""
        return list(await current_box().show_groups().get(self.name, {}))

    def __len__(self) -> int:
        return current_box().size_of(self.name)


class ChannelRegistry:
    """Channels by id. Independent of groups and of other registries; a channel leaves it when its connection ends.

    Every method is a checkpoint.
    """

    def __init__(self) -> None:
        self._channels: dict[UUID, Channel] = {}

    def __len__(self) -> int:
        return len(self._channels)

    async def add(self, channel: Channel) -> None:
        """Know `channel`. Raises: TypeError for anything else; WebSocketDisconnect when the connection is over."""
        if not isinstance(channel, Channel):
            raise TypeError(f"a registry holds Channel objects, not {type(channel).__name__}")
        await checkpoint()
        channel.check_joinable()
        self._channels[channel.uuid] = channel
        channel.on_release(self._forget)

    async def remove(self, channel: Channel) -> None:
        """Forget `channel`; a no-op if it is not known."""
        self._forget(channel)
        await checkpoint()

    async def get(self, channel_id: UUID | str) -> Channel | None:
        """The channel with this id, or None."""
        await checkpoint()
        return self._channels.get(as_uuid(channel_id))

    async def get_all(self) -> list[Channel]:
        """All channels, in the order of their coming."""
        await checkpoint()
        return list(self._channels.values())

    def _forget(self, channel: Channel) -> None:
        self._channels.pop(channel.uuid, None)
