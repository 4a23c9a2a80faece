"""Which groups keep something at a Redis or Valkey server, and how they forget it: a list for each part of the keys."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ...exceptions import EngineError
from .client import RedisClient
from .keys import RedisKeys

__all__ = ["GroupLists"]

GROUPS_AT_ONCE: Final = 200  # that one question is about


class GroupLists:
    """Owned by an engine."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def keeping(self, keys: RedisKeys) -> list[str]:
        """Return the names of groups that keep something. Checkpoint: always. Raises: EngineError."""
        found: list[str] = []

        async def read(index: bytes) -> None:
            groups = await self._names(index)
            for at in range(0, len(groups), GROUPS_AT_ONCE):
                some = groups[at : at + GROUPS_AT_ONCE]
                streams = [keys.of_group(group)[1] for group in some]
                found.extend(map(_decode, await self._client.call("groups", [index, *streams], *map(_encode, some))))

        await self._in_each(keys, read)
        return found

    async def flush(self, keys: RedisKeys, group: str | None) -> None:
        """Have one group forget, or all. Checkpoint: always. Raises: EngineError."""
        if group is not None:
            await self._forget(keys, group)
            return

        async def forget(index: bytes) -> None:
            for each in await self._names(index):
                await self._forget(keys, each)

        await self._in_each(keys, forget)

    async def _forget(self, keys: RedisKeys, group: str) -> None:
        await self._client.call("flush", [keys.index_of(group), *keys.of_group(group)], _encode(group))

    async def _names(self, index: bytes) -> list[str]:
        return [_decode(name) for name in await self._client.command("ZRANGE", index, 0, -1)]

    async def _in_each(self, keys: RedisKeys, do: Callable[[bytes], Awaitable[None]]) -> None:
        """Do it with every list, at once: what is asked is sent together. Raises: EngineError, the first."""
        problems: list[EngineError] = []

        async def try_it(index: bytes) -> None:
            try:
                await do(index)
            except EngineError as error:
                problems.append(error.with_traceback(None))

        async with trio.open_nursery() as nursery:
            for index in keys.indexes:
                nursery.start_soon(try_it, index)
        if problems:
            raise problems[0]


def _encode(group: str) -> bytes:
    return group.encode(errors="surrogatepass")


def _decode(name: bytes) -> str:
    return name.decode(errors="surrogatepass")
