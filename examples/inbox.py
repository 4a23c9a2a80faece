"""Messages to people: on all of their devices, and those that were away get what they have missed.

    $ nexios-trio run examples.inbox:app --workers 2
    $ python -m websockets "ws://127.0.0.1:8000/inbox?user=ann"     two of them, and one for bob
    > {"to": "ann", "text": "hello"}

Both of ann's have it. Close one, write more as bob, and open it again with `&since=` and the last position that it has
seen. A real application authenticates with a cookie or a token.
"""

from nexios_trio import OLDEST, NexiosApp, WebSocket, open_channel
from nexios_trio.middleware import AuthenticationMiddleware


def who(ws: WebSocket) -> str | None:
    return ws.query_params.get("user")


app = NexiosApp(middleware=[AuthenticationMiddleware(who)])
app.box.keep_user_messages(max_messages=1000, max_age=7 * 86_400)


@app.ws_route("/inbox")
async def inbox(ws: WebSocket) -> None:
    ws.resume_user(ws.query_params.get("since", OLDEST))
    async with open_channel(ws, positions=True) as channel:
        if ws.user_resumed and not ws.user_resumed.recovered:
            await channel.send("some messages are gone: load the page anew")
        async for letter in channel:
            match letter:
                case {"to": str(name), "text": str(text)} if name:
                    await app.user(name).send({"from": ws.user, "text": text})
                case {"sign out everywhere": True}:
                    await app.user(ws.user).disconnect("signed out")
