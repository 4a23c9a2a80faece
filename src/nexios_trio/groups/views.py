"""What `ChannelBox.show_groups` gives: the groups, to be awaited."""

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, NoReturn, TypeVar, overload
from uuid import UUID

from trio.lowlevel import checkpoint

from ..core.names import is_reserved
from ..pubsub.group import Group

T = TypeVar("T")


class GroupsView:
    """The groups at the time it is awaited: `await view` or `await view.get(name, default)`."""

    def __init__(
        self,
        groups: Mapping[str, Group[Any]],
        ask_others: Callable[[], Awaitable[list[dict[str, list[str]]]]] | None = None,
    ) -> None:
        self._groups = groups
        self._ask_others = ask_others

    def __await__(self) -> "Generator[Any, Any, dict[str, dict[Any, UUID]]]":
        return self._all().__await__()

    async def _all(self) -> dict[str, dict[Any, UUID]]:
        if self._ask_others is None:
            await checkpoint()
            return self._here()
        others = await self._ask_others()
        found = self._here()
        for name, ids in [(name, ids) for other in others for name, ids in other.items()]:
            found.setdefault(name, {}).update((uuid, uuid) for uuid in map(UUID, ids))
        return found

    @overload
    async def get(self, name: str) -> dict[Any, UUID] | None: ...
    @overload
    async def get(self, name: str, default: dict[Any, UUID]) -> dict[Any, UUID]: ...
    @overload
    async def get(self, name: str, default: T) -> dict[Any, UUID] | T: ...
    async def get(self, name: str, default: Any = None) -> Any:
        """Return one group's channels, or `default` if there is no such group."""
        if self._ask_others is not None:
            return (await self._all()).get(name, default)
        await checkpoint()
        group = None if is_reserved(name) else self._groups.get(name)
        return default if group is None else _members_of(group)

    def _here(self) -> dict[str, dict[Any, UUID]]:
        return {name: _members_of(group) for name, group in self._groups.items() if not is_reserved(name)}

    def _not_awaited(self, *_: object) -> NoReturn:
        raise TypeError("show_groups() is awaited before it is looked into: (await show_groups())[name]")

    __getitem__ = __iter__ = __contains__ = __len__ = __bool__ = _not_awaited


def _members_of(group: Group[Any]) -> dict[Any, UUID]:
    return {channel: channel.uuid for channel in group.members}
