"""How to call the supplied parts: validation, the offline queue, the secure channel."""

from collections.abc import Callable
from typing import Any

import attrs
import trio
from trio.lowlevel import checkpoint

from nexios_trio.websockets import InvalidMessage, OfflineQueue, SecureChannel, valid_messages, validator
from tests.checkpoints.stage import Recipe, Stage


@attrs.define
class Move:
    x: int


class Everybody(SecureChannel):
    async def verify_token(self, token: str) -> str:
        await checkpoint()
        return token


async def authenticated(s: Stage) -> SecureChannel:
    channel = Everybody(s.ws)
    await channel.authenticate("alice")
    return channel


async def offline_send(s: Stage) -> Callable[[], Any]:
    queue = OfflineQueue()
    async with queue.connected("alice", s.channel):
        pass
    return lambda: queue.send("alice", 1)


async def secure_text(s: Stage) -> Callable[[], Any]:
    channel = await authenticated(s)
    return lambda: channel.send_text("x")


async def secure_bytes(s: Stage) -> Callable[[], Any]:
    channel = await authenticated(s)
    return lambda: channel.send_bytes(b"x")


async def secure_json(s: Stage) -> Callable[[], Any]:
    channel = await authenticated(s)
    return lambda: channel.send_json(1)


async def secure_nowait(s: Stage) -> Callable[[], Any]:
    channel = await authenticated(s)
    return lambda: channel.send_nowait("x")


async def joinable(s: Stage) -> Callable[[], Any]:
    return (await authenticated(s)).check_joinable


async def revoked(s: Stage) -> Callable[[], Any]:
    return (await authenticated(s)).revoke


async def next_valid(s: Stage) -> Callable[[], Any]:
    s.wire.say('{"x": 1}')
    return lambda: valid_messages(s.ws, Move)


RECIPES: dict[str, Recipe] = {
    "InvalidMessage.reply": lambda s: InvalidMessage([]).reply(),
    "OfflineQueue.__init__": lambda s: OfflineQueue(),
    "OfflineQueue.connected": lambda s: OfflineQueue().connected("alice", s.channel),
    "OfflineQueue.send": offline_send,
    "OfflineQueue.send, nobody": lambda s: OfflineQueue().send("alice", 1),
    "OfflineQueue.statistics": lambda s: OfflineQueue().statistics(),
    "SecureChannel.authenticate": lambda s: Everybody(s.ws).authenticate("alice"),
    "SecureChannel.__init__": lambda s: Everybody(s.ws),
    "SecureChannel.cancel_on_revoke": lambda s: Everybody(s.ws).cancel_on_revoke(trio.CancelScope()),
    "SecureChannel.keep_on_revoke": lambda s: Everybody(s.ws).keep_on_revoke(trio.CancelScope()),
    "SecureChannel.push": lambda s: Everybody(s.ws).push("x"),
    "SecureChannel.check_joinable": joinable,
    "SecureChannel.revoke": revoked,
    "SecureChannel.send_bytes": secure_bytes,
    "SecureChannel.send_json": secure_json,
    "SecureChannel.send_nowait": secure_nowait,
    "SecureChannel.send_text": secure_text,
    "SecureChannel.verify_token": lambda s: Everybody(s.ws).verify_token("alice"),
    "WebSocketConsumer.on_invalid": lambda s: s.consumer.on_invalid(s.ws, InvalidMessage([])),
    "valid_messages": next_valid,
    "validator": lambda s: validator(Move),
}
