"""An application whose workers know who is present on all of them."""

import os

from nexios_trio import NexiosApp, open_channel

GRACE_SECONDS = 4.0

app = NexiosApp()


def info(channel):
    return os.getpid() if channel.websocket.user == "both" else None


app.box.keep_presence("room.*", grace=GRACE_SECONDS, lease=30, info=info)


@app.ws_route("/in/{user}")
async def member(ws, user):
    ws.scope["user"] = user
    async with open_channel(ws) as channel, channel.member("room.1"):
        await channel.send(os.getpid())
        async for _ in channel:
            pass


@app.ws_route("/watch")
async def watch(ws):
    async with open_channel(ws) as channel, app.box.watch_presence("room.1") as changes:
        await channel.send([os.getpid(), [user.id for user in changes.present]])
        async for change in changes:
            await channel.send([change.kind, change.user, change.version.offset])


@app.get("/present")
async def present(req, res):
    return res.json([[user.user, len(user.connections)] for user in await app.box.presence("room.1")])
