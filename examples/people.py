"""Who is here: a room whose page shows who is in it, on all workers, and who is busy.

    $ nexios-trio run examples.people:app --workers 2
    $ python -m websockets "ws://127.0.0.1:8000/ws/rooms/lobby?token=ann"
    {"busy": true}

Open it twice with one token: Ann is there once. Close both: she leaves five seconds later, unless she is back before.
"""

from typing import Any

import trio

from nexios_trio import Channel, NexiosApp, PresentUser, WebSocket, open_channel
from nexios_trio.websockets.middleware import AuthenticationMiddleware


async def find_user(ws: WebSocket) -> str | None:
    """Take the token for the name. Yours asks who has the token."""
    return ws.query_params.get("token")


def info(channel: Channel) -> dict[str, Any]:
    return {"name": channel.websocket.user.title(), "busy": False}


app = NexiosApp()
app.box.keep_presence("room.*", grace=5, info=info)


def shown(person: PresentUser) -> dict[str, Any]:
    return {"id": person.id, **person.info}


@app.ws_route("/ws/rooms/{room:slug}", middleware=[AuthenticationMiddleware(find_user)])
async def enter(ws: WebSocket, room: str) -> None:
    group = f"room.{room}"
    async with open_channel(ws) as channel, channel.member(group), trio.open_nursery() as nursery:
        nursery.start_soon(show_people, channel, group)
        async for message in channel:
            if isinstance(message, dict) and "busy" in message:
                app.box.update_presence(channel, group, {**info(channel), "busy": bool(message["busy"])})
        nursery.cancel_scope.cancel()


async def show_people(channel: Channel, group: str) -> None:
    async with app.box.watch_presence(group) as changes:
        await channel.send({"people": [shown(person) for person in changes.present]})
        async for change in changes:
            await channel.send({change.kind: {"id": change.id, **change.info}})


@app.get("/api/rooms/{room}")
async def people(req: Any, res: Any, room: str) -> Any:
    return res.json([shown(person) for person in await app.box.presence(f"room.{room}")])
