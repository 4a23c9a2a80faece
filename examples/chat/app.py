"""A chat: rooms with history, who is there, who is typing, and a live list of all rooms.

Serve it with `python -m examples.chat`, or with `hypercorn --worker-class trio examples.chat.app:app`.
"""

import hashlib
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import trio

from examples.chat.page import Page
from nexios_trio import (
    Channel,
    ChannelBox,
    NexiosApp,
    Position,
    PresenceChange,
    PresenceChanges,
    PresentUser,
    Resumed,
    WebSocket,
    WebSocketException,
    open_channel,
)
from nexios_trio.exceptions import EngineError
from nexios_trio.http import Request, Response

MAX_LENGTH = 2000  # characters of one message
MAX_ID_LENGTH = 64  # characters
SHOWN_HISTORY = 50  # messages and events that a newcomer is shown; of those that are kept for who comes back
SHOWN_PEOPLE = 200
REFUSED = 4400  # close code: come back with another name or room, not with the same

app = NexiosApp(title="Chat", box=ChannelBox(history_limit=500, history_overflow="trim"))
app.box.keep_presence("chat.*", grace=2, info=lambda channel: {"username": channel.websocket.user.name})


@dataclass(frozen=True)
class User:
    """One person in one room: whoever has the same tab, over whichever of its connections."""

    name: str
    room: str
    id: str

    @property
    def group(self) -> str:
        return f"chat.{self.room}"

    async def tell(self, kind: str, *, keep: bool = True, id: str | None = None, **more: Any) -> None:
        """Tell everybody in the room what this user does, and keep it for those who come later.

        With an id it is told once, however often it is tried.
        """
        who = {"user_id": self.id, "username": self.name, "room_id": self.room}
        event = {"type": kind, "id": id or uuid4().hex, "timestamp": time.time(), **who, **more}
        await ChannelBox.group_send(self.group, event, save_history=keep, transient=not keep, key=id)


class Presence:
    """Who is where. A room is listed while somebody is in it."""

    def __init__(self) -> None:
        self.rooms: dict[str, list[User]] = {}
        self.changed = trio.Event()  # set by a change; whoever has read the list puts a new one here

    @asynccontextmanager
    async def of(self, user: User) -> AsyncIterator[list[User]]:
        """The user is listed in the room for as long as the block runs, however it ends."""
        room = self.rooms.setdefault(user.room, [])
        room.append(user)
        self.changed.set()
        try:
            await user.tell("system", action="join", users=len(room), message=f"{user.name} has joined the room")
            yield room
        finally:
            room.remove(user)
            if not room:
                del self.rooms[user.room]
            self.changed.set()
            with trio.move_on_after(1, shield=True):  # the others hear of it even if we are being cancelled
                await user.tell("system", action="leave", users=len(room), message=f"{user.name} has left the room")

    def listing(self) -> list[dict[str, Any]]:
        return [{"room_id": room_id, "users": len(users)} for room_id, users in sorted(self.rooms.items())]


presence = Presence()

# ---- One room ----


@app.ws_route("/ws/chat/{room_id}")
async def chat(ws: WebSocket, room_id: str) -> None:
    """With `?since=` the client gets positions, and comes back with its last one for what it has missed."""
    since = ws.query_params.get("since")
    async with open_channel(
        ws, payload_type="json", positions=since is not None, expires=3600, close_on_expire=True
    ) as channel:
        user = User(
            checked_name(ws.query_params.get("username", "")),
            checked_room(room_id),
            person_of(ws.query_params.get("tab", "")),
        )
        ws.user = user
        async with (
            channel.member(user.group, since=checked_position(since)) as joined,
            presence.of(user),
            app.box.watch_presence(user.group) as changes,
            trio.open_nursery() as nursery,
        ):
            people = changes.present
            resumed = isinstance(joined, Resumed) and joined.recovered
            # It has joined: nothing is missed, and what is sent just now may come in the history and once more.
            history = [message.payload for message in await ChannelBox.show_history(user.group)]
            welcome = {"type": "welcome", "user_id": user.id, "users": len(people), "resumed": resumed}
            shown = [show(person) for person in people[:SHOWN_PEOPLE]]
            await channel.send({**welcome, "people": shown, "history": [] if resumed else history[-SHOWN_HISTORY:]})
            nursery.start_soon(follow_people, channel, changes)
            while True:  # until the peer leaves: then `receive` raises, and the blocks clean up
                data = await receive(ws)
                try:
                    await react(user, data)
                except ValueError as error:  # the message is at fault, not the connection
                    about = data.get("id") if isinstance(data, dict) else None
                    await channel.send({"type": "error", "message": str(error), "id": about})
                channel.touch()  # it expires after an hour without a word


def show(person: PresentUser | PresenceChange) -> dict[str, str]:
    return {"user_id": person.id, "username": person.info["username"]}


async def follow_people(channel: Channel, changes: PresenceChanges) -> None:
    """Tell one client who comes and goes, on all nodes."""
    async for change in changes:
        users = len(changes.present)
        await channel.send({"type": "people", "change": change.kind, "users": users, "person": show(change)})


async def receive(ws: WebSocket) -> Any:
    try:
        return await ws.receive_json()
    except json.JSONDecodeError as error:  # text that is not JSON is something to say
        return {"type": "message", "content": error.doc}


async def react(user: User, data: Any) -> None:
    match data:
        case {"type": "message", "content": str(content)} if content.strip() and len(content) <= MAX_LENGTH:
            await user.tell("message", id=checked_id(data.get("id")), content=content)
        case {"type": "message"}:
            raise ValueError(f"the content of a message is text of 1 to {MAX_LENGTH} characters")
        case {"type": "typing", "is_typing": bool(is_typing)}:
            await user.tell("typing", keep=False, is_typing=is_typing)
        case _:
            raise ValueError('send {"type": "message", "content": text} or {"type": "typing", "is_typing": bool}')


def checked_id(id: Any) -> str | None:
    if id is not None and not (isinstance(id, str) and 0 < len(id) <= MAX_ID_LENGTH):
        raise ValueError(f"the id of a message, if it has one, is text of 1 to {MAX_ID_LENGTH} characters")
    return id


def checked_position(since: str | None) -> Position | None:
    try:
        return Position.parse(since) if since else None
    except ValueError as error:
        raise WebSocketException(REFUSED, str(error)) from None


def person_of(tab: str) -> str:
    """Return the id that others see, of whoever knows what the page has made up for its tab."""
    return hashlib.sha256((tab or uuid4().hex).encode()).hexdigest()[:32]


def checked_name(name: str) -> str:
    name = " ".join(name.split()) or f"Anonymous-{uuid4().hex[:4]}"
    if len(name) > 32 or not name.isprintable():
        raise WebSocketException(REFUSED, "A name has at most 32 printable characters.")
    return name


def checked_room(room_id: str) -> str:
    if not re.fullmatch("[a-z0-9-]{1,32}", room_id):
        raise WebSocketException(REFUSED, "The name of a room has 1 to 32 characters of a-z, 0-9 and -.")
    return room_id


# ---- All rooms ----


@app.get("/api/chat/rooms")
async def list_rooms(req: Request, res: Response) -> dict[str, Any]:
    return {"rooms": presence.listing()}


@app.ws_route("/ws/lobby")
async def lobby(ws: WebSocket) -> None:
    async with open_channel(ws, payload_type="json") as channel, channel.member("lobby"):
        presence.changed.set()  # so that the newcomer gets the list too
        async for _ in ws:
            pass  # nothing to say here; the loop ends when the visitor leaves


@app.on_startup
async def start() -> None:
    app.start_soon(publish_rooms)


async def publish_rooms() -> None:
    """Send the lobby the list whenever it changed, at most ten times a second."""
    while True:
        await presence.changed.wait()
        presence.changed = trio.Event()
        try:
            await ChannelBox.group_send("lobby", {"type": "rooms", "rooms": presence.listing()})
        except EngineError:  # its server is away: with this task the application would end
            presence.changed.set()
        await trio.sleep(0.1)


# ---- The page: static files, for what nothing else answers ----

app.mount("/", Page())
