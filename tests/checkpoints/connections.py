"""How to call what deals with connections, channels and groups. After a comma: in which situation."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.lowlevel import checkpoint
from trio.testing import wait_all_tasks_blocked

from nexios_trio.core.message import Message, Position
from nexios_trio.exceptions import LifecycleError
from nexios_trio.groups.pending_joins import CANNOT_JOIN
from nexios_trio.websockets import (
    OLDEST,
    Channel,
    ChannelBox,
    ChannelGroup,
    ChannelRegistry,
    GroupsView,
    PresenceChanges,
    UserConnections,
    WebSocket,
    WebSocketConsumer,
    open_channel,
)
from tests.checkpoints.stage import Recipe, Stage


def heard(message: str | bytes, receive: Callable[[Stage], Awaitable[Any]]) -> Recipe:
    """Receive a message that is there already: nothing makes the function wait."""

    async def prepare(s: Stage) -> Callable[[], Awaitable[Any]]:
        s.wire.say(message)
        await wait_all_tasks_blocked()
        return lambda: receive(s)

    return prepare


def in_trios_own_thread(s: Stage) -> None:
    with pytest.raises(LifecycleError):
        s.box.from_thread(s.box.group_send)


async def known(s: Stage) -> Callable[[], Awaitable[Any]]:
    await s.registry.add(s.channel)
    return lambda: s.registry.remove(s.channel)


async def expired(s: Stage) -> Callable[[], Any]:
    s.channel.release()
    await checkpoint()
    return lambda: s.box.remove_channel_from_group(s.channel, "room")


async def with_history(s: Stage) -> Callable[[], Any]:
    await s.box.group_send("room", "kept", save_history=True)
    return s.box.show_history


async def presence(s: Stage) -> Callable[[], Any]:
    s.box.keep_presence("present.*")
    await s.box.add_channel_to_group(s.channel, "present.1")
    return lambda: s.box.presence("present.1")


async def watch_presence(s: Stage) -> Callable[[], Any]:
    await presence(s)
    return lambda: s.box.watch_presence("present.1")


async def update_presence(s: Stage) -> Callable[[], Any]:
    await presence(s)
    return lambda: s.box.update_presence(s.channel, "present.1", {"busy": True})


async def changes(s: Stage) -> Callable[[], Any]:
    await presence(s)
    return lambda: PresenceChanges(s.box.engine, "present.1")


async def next_change(s: Stage) -> Callable[[], Any]:
    made = (await changes(s))()
    return lambda: anext(made)


def plain(*_: Any) -> None:
    pass


SOCKETS: dict[str, Recipe] = {
    "WebSocket.__init__": lambda s: WebSocket(s.ws._session),
    "WebSocket.accept": lambda s: s.fresh.accept(),
    "WebSocket.deny": lambda s: s.fresh.deny(404),
    "WebSocket.deny, once over": lambda s: s.over.deny(404),
    "WebSocket.reject": lambda s: s.fresh.reject(),
    "WebSocket.reject, accepted": lambda s: s.ws.reject(),
    "WebSocket.reject, once over": lambda s: s.over.reject(),
    "WebSocket.close": lambda s: s.ws.close(),
    "WebSocket.close_nowait": lambda s: s.ws.close_nowait(),
    "WebSocket.close_nowait, not accepted": lambda s: s.fresh.close_nowait(),
    "WebSocket.close_nowait, once over": lambda s: s.over.close_nowait(),
    "WebSocket.send_nowait": lambda s: s.ws.send_nowait("x"),
    "WebSocket.close, not accepted": lambda s: s.fresh.close(),
    "WebSocket.close, once over": lambda s: s.over.close(),
    "ReceivingConnection.receive": heard("x", lambda s: s.ws.receive()),
    "ReceivingConnection.receive, once over": lambda s: s.over.receive(),
    "ReceivingConnection.receive_message": heard("x", lambda s: s.ws.receive_message()),
    "ReceivingConnection.receive_text": heard("x", lambda s: s.ws.receive_text()),
    "ReceivingConnection.receive_bytes": heard(b"x", lambda s: s.ws.receive_bytes()),
    "ReceivingConnection.receive_json": heard("1", lambda s: s.ws.receive_json()),
    "ReceivingConnection.iter_text": heard("x", lambda s: anext(s.ws.iter_text())),
    "ReceivingConnection.iter_bytes": heard(b"x", lambda s: anext(s.ws.iter_bytes())),
    "ReceivingConnection.iter_json": heard("1", lambda s: anext(s.ws.iter_json())),
    "WebSocket.send": lambda s: s.ws.send({"type": "websocket.send", "text": "x"}),
    "WebSocket.send_text": lambda s: s.ws.send_text("x"),
    "WebSocket.send_bytes": lambda s: s.ws.send_bytes(b"x"),
    "WebSocket.send_json": lambda s: s.ws.send_json(1),
    "ReceivingConnection.resume_user": lambda s: s.fresh.resume_user(OLDEST),
    "ReceivingConnection.is_connected": lambda s: s.ws.is_connected(),
    "WebSocket.expire_after": lambda s: s.ws.expire_after(5),
    "WebSocket.start_soon": lambda s: s.ws.start_soon(checkpoint),
}

CHANNELS: dict[str, Recipe] = {
    "open_channel": lambda s: open_channel(s.fresh),
    "open_channel, accepted": lambda s: open_channel(s.ws),
    "Channel.__init__": lambda s: Channel(s.ws),
    "Channel.accept": lambda s: Channel(s.fresh).accept(),
    "Channel.close": lambda s: s.channel.close(),
    "Channel.close_nowait": lambda s: s.channel.close_nowait(),
    "Channel.send_nowait": lambda s: s.channel.send_nowait("x"),
    "Channel.member": lambda s: s.channel.member("other"),
    "Channel.on_connect": lambda s: s.channel.on_connect(plain),
    "Channel.on_disconnect": lambda s: s.channel.on_disconnect(plain),
    "Channel.on_error": lambda s: s.channel.on_error(plain),
    "Channel.on_expire": lambda s: s.channel.on_expire(plain),
    "Channel.on_gap": lambda s: s.channel.on_gap(plain),
    "Channel.on_message": lambda s: s.channel.on_message(plain),
    "Channel.receive": heard("1", lambda s: s.channel.receive()),
    "Channel.receive_bytes": heard(b"1", lambda s: s.channel.receive_bytes()),
    "Channel.receive_json": heard("1", lambda s: s.channel.receive_json()),
    "Channel.receive_text": heard("1", lambda s: s.channel.receive_text()),
    "Channel.resume": lambda s: s.channel.resume("other", OLDEST),
    "Channel.send": lambda s: s.channel.send("x"),
    "Channel.send_bytes": lambda s: s.channel.send_bytes(b"x"),
    "Channel.send_json": lambda s: s.channel.send_json(1),
    "Channel.send_text": lambda s: s.channel.send_text("x"),
    "Channel.statistics": lambda s: s.channel.statistics(),
    "Channel.touch": lambda s: s.channel.touch(),
    "Channel.keep_alive": lambda s: s.channel.keep_alive(),
    "ConnectionBinding.cancel_on_revoke": lambda s: s.channel.cancel_on_revoke(trio.CancelScope()),
    "ConnectionBinding.keep_on_revoke": lambda s: s.channel.keep_on_revoke(trio.CancelScope()),
    "ConnectionBinding.fail_join": lambda s: s.channel.fail_join(CANNOT_JOIN),
    "ConnectionBinding.unsettled_posts": lambda s: s.channel.unsettled_posts(),
    "ConnectionBinding.catch_up": lambda s: s.channel.catch_up(),
    "ConnectionBinding.disconnect_calls": lambda s: s.channel.disconnect_calls(),
    "ConnectionBinding.check_joinable": lambda s: s.channel.check_joinable(),
    "ConnectionBinding.entered": lambda s: s.channel.entered(s.box),
    "ConnectionBinding.expire": lambda s: s.channel.expire(),
    "ConnectionBinding.leave_groups": lambda s: s.channel.leave_groups(),
    "ConnectionBinding.on_release": lambda s: s.channel.on_release(plain),
    "ConnectionBinding.push": lambda s: s.channel.push("x"),
    "ConnectionBinding.receiver": lambda s: s.channel.receiver(),
    "ConnectionBinding.release": lambda s: s.channel.release(),
    "ConnectionBinding.shut": lambda s: s.channel.shut(1001, ""),
}

GROUPS: dict[str, Recipe] = {
    "ChannelBox.__init__": lambda s: ChannelBox(),
    "ChannelBox.add_channel_to_group": lambda s: s.box.add_channel_to_group(s.channel, "other"),
    "ChannelBox.add_channel_to_group, twice": lambda s: s.box.add_channel_to_group(s.channel, "room"),
    "ChannelBox.remove_channel_from_group": lambda s: s.box.remove_channel_from_group(s.channel, "room"),
    "ChannelBox.remove_channel_from_group, no such group": lambda s: s.box.remove_channel_from_group(s.channel, "x"),
    "ChannelBox.remove_channel_from_group, once over": expired,
    "ChannelBox.join_nowait": lambda s: s.box.join_nowait(s.channel, "other"),
    "ChannelBox.leave_nowait": lambda s: s.box.leave_nowait(s.channel, "room"),
    "ChannelBox.member": lambda s: s.box.member(s.channel, "other"),
    "ChannelBox.member, at a position": lambda s: s.box.member(s.channel, "other", since=OLDEST),
    "ChannelBox.resume": lambda s: s.box.resume(s.channel, "other", OLDEST),
    "Publishing.group_send": lambda s: s.box.group_send("room", "x"),
    "Publishing.group_send, with history": lambda s: s.box.group_send("room", "x", save_history=True),
    "Publishing.group_send, no such group": lambda s: s.box.group_send("nobody", "x"),
    "UserConnections.__init__": lambda s: UserConnections(s.box, "ann"),
    "UserConnections.send": lambda s: s.user.send("x"),
    "UserConnections.send, nobody": lambda s: UserConnections(s.box, "bob").send("x"),
    "UserConnections.post": lambda s: s.user.post("x"),
    "UserConnections.connections": lambda s: s.user.connections(),
    "UserConnections.connections, here": lambda s: s.user.connections(scope="node"),
    "UserConnections.unsubscribe": lambda s: s.user.unsubscribe("room"),
    "UserConnections.disconnect": lambda s: s.user.disconnect("go"),
    "UserConnections.disconnect, nobody": lambda s: UserConnections(s.box, "bob").disconnect(),
    "WithUsers.keep_user_messages": lambda s: s.box.keep_user_messages(),
    "Scoped.send_to": lambda s: s.box.send_to(s.channel.uuid, "x"),
    "Scoped.send_to, nobody": lambda s: s.box.send_to("nobody", "x"),
    "Scoped.ask_others": lambda s: s.box.ask_others("size", group="room"),
    "Scoped.group_size": lambda s: s.box.group_size("room"),
    "Scoped.group_size, everywhere": lambda s: s.box.group_size("room", scope="all"),
    "Scoped.show_groups": lambda s: s.box.show_groups(),
    "ChannelBox.show_history": lambda s: s.box.show_history("room"),
    "ChannelBox.show_history, no such group": lambda s: s.box.show_history("nobody"),
    "ChannelBox.show_history, of all": with_history,
    "ChannelBox.flush_history": lambda s: s.box.flush_history("room"),
    "Scoped.flush_groups": lambda s: s.box.flush_groups(),
    "Scoped.close_all_connections": lambda s: s.box.close_all_connections(),
    "Scoped.close_all_connections, nobody there": lambda s: ChannelBox().close_all_connections(),
    "ChannelBox.statistics": lambda s: s.box.statistics(),
    "ConnectionBinding.come_back": lambda s: s.channel.come_back(),
    "ConnectionBinding.is_excluded": lambda s: s.channel.is_excluded(Message("x", 0.0)),
    "ConnectionBinding.missed": lambda s: s.channel.missed("room", None, None),
    "ConnectionBinding.push_group_message": lambda s: s.channel.push_group_message(Message("x", 0.0)),
    "ConnectionBinding.send_group_message": lambda s: s.channel.send_group_message(Message("x", 0.0)),
    "WithPresence.keep_presence": lambda s: s.box.keep_presence("present.*"),
    "WithPresence.presence": presence,
    "WithPresence.watch_presence": watch_presence,
    "WithPresence.update_presence": update_presence,
    "PresenceChanges.__init__": changes,
    "PresenceChanges.__anext__": next_change,
    "PresenceChanges.read": lambda s: PresenceChanges(s.box.engine, "present.1").read(),
    "PresenceChanges.hear": lambda s: PresenceChanges(s.box.engine, "present.1").hear(None),
    "Publishing.keep": lambda s: s.box.keep("chat.*"),
    "Publishing.post": lambda s: s.box.post("room", "x"),
    "Publishing.group_send, with a key": lambda s: s.box.group_send("room", "x", key="7"),
    "Memberships.users_of": lambda s: s.box.users_of([s.channel.uuid]),
    "FromThread.from_thread": in_trios_own_thread,
    "Publishing.bound_messages": lambda s: s.box.bound_messages(1000),
    "GroupsView.__init__": lambda s: GroupsView({}),
    "GroupsView.__await__": lambda s: s.box.show_groups(),
    "GroupsView.get": lambda s: s.box.show_groups().get("room"),
    "GroupsView.get, no such group": lambda s: s.box.show_groups().get("nobody"),
    "Memberships.catch_up": lambda s: s.box.catch_up(s.channel),
    "Memberships.channels": lambda s: s.box.channels(),
    "Memberships.find": lambda s: s.box.find(s.channel.uuid),
    "Memberships.forget": lambda s: s.box.forget(s.channel),
    "Memberships.check_room": lambda s: s.box.check_room(s.channel, "other"),
    "Memberships.join_watched": lambda s: s.box.join_watched(s.channel, "other"),
    "Memberships.leave_all": lambda s: s.box.leave_all(s.channel),
    "Memberships.leave_group": lambda s: s.box.leave_group(s.channel, "room"),
    "Memberships.unsettled_posts": lambda s: s.box.unsettled_posts(s.channel),
    "Memberships.renew_receiver": lambda s: s.box.renew_receiver(s.channel),
    "Memberships.set_overflow": lambda s: s.box.set_overflow("room", "drop_oldest"),
    "Memberships.size_of": lambda s: s.box.size_of("room"),
    "Memberships.is_member": lambda s: s.box.is_member(s.channel, "room"),
    "Position.parse": lambda s: Position.parse("a:1"),
    "Memberships.track": lambda s: s.box.track(s.channel),
    "Memberships.watch": lambda s: s.box.watch(s.channel),
    "ChannelGroup.__init__": lambda s: ChannelGroup("x"),
    "ChannelGroup.add": lambda s: s.group.add(s.channel),
    "ChannelGroup.channels": lambda s: s.group.channels(),
    "ChannelGroup.remove": lambda s: s.group.remove(s.channel),
    "ChannelGroup.send": lambda s: s.group.send("x"),
    "ChannelGroup.send, no such group": lambda s: ChannelGroup("nobody").send("x"),
    "ChannelGroup.send_bytes": lambda s: s.group.send_bytes(b"x"),
    "ChannelGroup.send_json": lambda s: s.group.send_json(1),
    "ChannelGroup.send_text": lambda s: s.group.send_text("x"),
    "ChannelRegistry.__init__": lambda s: ChannelRegistry(),
    "ChannelRegistry.add": lambda s: s.registry.add(s.channel),
    "ChannelRegistry.get": lambda s: s.registry.get("nobody"),
    "ChannelRegistry.get_all": lambda s: s.registry.get_all(),
    "ChannelRegistry.remove": known,
}

CONSUMERS: dict[str, Recipe] = {
    "WebSocketConsumer.__init__": lambda s: WebSocketConsumer(),
    "WebSocketConsumer.__call__": lambda s: s.consumer(s.over),
    "WebSocketConsumer.as_route": lambda s: WebSocketConsumer.as_route("/x"),
    "WebSocketConsumer.broadcast_nowait": lambda s: s.consumer.broadcast_nowait("x", "room"),
    "WebSocketConsumer.join_nowait": lambda s: s.consumer.join_nowait("other"),
    "WebSocketConsumer.leave_nowait": lambda s: s.consumer.leave_nowait("room"),
    "WebSocketConsumer.broadcast": lambda s: s.consumer.broadcast("x", "room"),
    "WebSocketConsumer.group": lambda s: s.consumer.group("room"),
    "WebSocketConsumer.join_group": lambda s: s.consumer.join_group("other"),
    "WebSocketConsumer.leave_group": lambda s: s.consumer.leave_group("room"),
    "WebSocketConsumer.on_connect": lambda s: s.consumer.on_connect(s.ws),
    "WebSocketConsumer.on_decode_error": lambda s: s.consumer.on_decode_error(s.ws, ValueError()),
    "WebSocketConsumer.on_disconnect": lambda s: s.consumer.on_disconnect(s.ws, 1000),
    "WebSocketConsumer.on_receive": lambda s: s.consumer.on_receive(s.ws, 1),
    "WebSocketConsumer.send_to": lambda s: s.consumer.send_to(s.channel.uuid, "x"),
}

RECIPES = {**SOCKETS, **CHANNELS, **GROUPS, **CONSUMERS}
