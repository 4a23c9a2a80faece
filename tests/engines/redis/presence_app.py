"""An application on several nodes that know who is present on all of them, and notice soon that one is dead."""

from nexios_trio import NexiosApp, open_channel

app = NexiosApp()
app.box.keep_presence("room.*", grace=0.3, lease=1.5)


@app.ws_route("/in/{user}")
async def member(ws, user):
    ws.scope["user"] = user
    async with open_channel(ws) as channel, channel.member("room.1"):
        await channel.send("in")
        async for _ in channel:
            pass


@app.ws_route("/watch")
async def watch(ws):
    async with open_channel(ws) as channel, app.box.watch_presence("room.1") as changes:
        await channel.send([user.id for user in changes.present])
        async for change in changes:
            await channel.send([change.kind, change.user, change.version.offset])
