"""Channels, groups, history, registries. A connection is a channel that is told, as JSON, what to do."""

from typing import Any
from uuid import UUID

import trio

from nexios_trio.routing import Router
from nexios_trio.websockets import Channel, ChannelBox, ChannelGroup, ChannelRegistry, WebSocket
from tests.contract.routes.reports import board, outcome

router = Router(prefix="/groups")
registry = ChannelRegistry()


class Shouting(Channel):
    """What is sent to it, its client gets in capitals."""

    async def send(self, payload: Any) -> None:
        await super().send(str(payload).upper())


@router.ws_route("/channel/{kind}")
async def channel(ws: WebSocket, kind: str) -> None:
    """Obeys [name, argument, ...] and answers with ["done", outcome]; what groups send comes by itself."""
    await ws.accept()
    cls = Shouting if kind == "shouting" else Channel
    one = cls(ws, payload_type="text" if kind == "shouting" else kind)
    await one.send_json(str(one.uuid))
    async for name, *arguments in ws.iter_json():
        await one.send_json(["done", await outcome(COMMANDS[name](one, *arguments))])


async def join(one: Channel, group: str) -> str:
    return (await ChannelBox.add_channel_to_group(one, group)).name


async def leave(one: Channel, group: str) -> str:
    return (await ChannelBox.remove_channel_from_group(one, group)).name


async def send(one: Channel, group: str, payload: Any, save_history: bool = False) -> str:
    return (await ChannelBox.group_send(group, payload, save_history)).name


async def send_bytes(one: Channel, group: str) -> str:
    return (await ChannelBox.group_send(group, b"\x00\xff")).name


async def send_nan(one: Channel, group: str) -> str:
    return (await ChannelBox.group_send(group, [float("nan")])).name


async def send_to_others(one: Channel, group: str, payload: Any) -> str:
    return (await ChannelBox.group_send(group, payload, exclude=one)).name


async def send_to(one: Channel, channel_id: str, payload: Any) -> bool:
    return await ChannelBox.send_to(channel_id, payload)


async def send_to_uuid(one: Channel, channel_id: str, payload: Any) -> bool:
    return await ChannelBox.send_to(UUID(channel_id), payload)


async def history(one: Channel, group: str) -> list[Any]:
    return [message.payload for message in await ChannelBox.show_history(group)]


async def ids_in_history(one: Channel, group: str) -> list[Any]:
    messages = await ChannelBox.show_history(group)
    created = [message.created for message in messages]
    return [len({message.uuid for message in messages}), created == sorted(created)]


async def histories(one: Channel, *groups: str) -> list[Any]:
    every = await ChannelBox.show_history()
    return [[message.payload for message in every.get(group, [])] for group in groups]


async def flush_history(one: Channel, group: str | None = None) -> None:
    await ChannelBox.flush_history(group)


async def flush_groups(one: Channel) -> None:
    await ChannelBox.flush_groups()


async def size(one: Channel, group: str) -> list[int]:
    """By each way to ask."""
    every = await ChannelBox.show_groups()
    named = await ChannelBox.show_groups().get(group, {})
    absent = await ChannelBox.show_groups().get(group)
    handle = ChannelGroup(group)
    sizes = (every.get(group, {}), named, absent or {}, await handle.channels(), handle)
    return [len(members) for members in sizes]


async def by_handle(one: Channel, group: str, payload: Any) -> list[str]:
    handle = ChannelGroup(group)
    added = await handle.add(one)
    await handle.send(payload)
    await handle.send_json([payload])
    await handle.send_text("text")
    await handle.send_bytes(b"bytes")
    removed = await handle.remove(one)
    return [added.name, removed.name]


async def register(one: Channel) -> bool:
    await registry.add(one)
    return await registry.get(str(one.uuid)) is one and await registry.get(one.uuid) is one


async def is_registered(one: Channel, channel_id: str) -> bool:
    found = await registry.get(channel_id)
    assert (found in await registry.get_all()) is (found is not None)
    return found is not None


async def close_all(one: Channel) -> None:
    await ChannelBox.close_all_connections()


COMMANDS = {
    function.__name__: function
    for function in (
        *(join, leave, send, send_bytes, send_nan, send_to_others, send_to, send_to_uuid),
        *(history, ids_in_history, histories, flush_history, flush_groups),
        *(size, by_handle, register, is_registered, close_all),
    )
}


# Expiry. In another process time is real: it is cut short once everything stands.


def expire_soon(one: Channel) -> float:
    one.expires = 0.02
    one.touch()
    assert one.expires_at is not None
    return one.expires_at


@router.ws_route("/expiring/{group}")
async def expiring(ws: WebSocket, group: str) -> None:
    await ws.accept()
    one = Channel(ws, expires=3600)
    await ChannelBox.add_channel_to_group(one, group)
    await one.send(await one._is_expired())
    await trio.sleep_until(expire_soon(one))
    status = await ChannelBox.group_send(group, "not for the dead")
    await one.send([one.expired, status.name, await ChannelBox._clean_expired() >= 0])


@router.ws_route("/expiring-closed")
async def expiring_closed(ws: WebSocket) -> None:
    await ws.accept()
    expire_soon(Channel(ws, expires=3600, close_on_expire=True))
    await ws.receive()


# Events


@router.ws_route("/observed/{key}")
async def observed(ws: WebSocket, key: str) -> None:
    one = Channel(ws)

    @one.on_connect
    async def connected(channel: Channel) -> None:
        await channel.send("connected")
        raise LookupError("an error in an event's handler goes no further")

    @one.on_message
    def came(channel: Channel, message: Any) -> None:
        board.post(key, ["message", message])

    @one.on_error
    async def failed(channel: Channel, error: Exception) -> None:
        board.post(key, ["error", isinstance(error, ValueError)])

    @one.on_disconnect
    async def disconnected(channel: Channel) -> None:
        await trio.lowlevel.checkpoint()
        board.post(key, ["disconnect", channel.connected])

    await one.accept()
    while one.connected:
        await outcome(one.receive())
