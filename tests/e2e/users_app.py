"""What the tests of users with several workers serve: whoever gives a name is that user, and gets what was missed."""

import os

from nexios_trio import OLDEST, NexiosApp
from nexios_trio.middleware import AuthenticationMiddleware
from nexios_trio.websockets import WebSocket, open_channel


def who(ws: WebSocket) -> str | None:
    return ws.query_params.get("user")


async def device(ws: WebSocket) -> None:
    """Say which worker this is, after what was missed."""
    ws.resume_user(ws.query_params.get("since", OLDEST))
    async with open_channel(ws, positions=True) as channel:
        assert ws.user_resumed is not None
        await channel.send({"pid": os.getpid(), "recovered": ws.user_resumed.recovered})
        async for _ in channel:
            pass


async def desk(ws: WebSocket) -> None:
    """Send each text to the user that it names; "!" in place of a text disconnects that user."""
    await ws.accept()
    async for name, text in ws.iter_json():
        user = ws.app.user(name)
        await ws.send_json(await (user.disconnect("signed out", 4003) if text == "!" else user.send(text)))


def make() -> NexiosApp:
    made = NexiosApp(middleware=[AuthenticationMiddleware(who)])
    made.box.keep_user_messages()
    made.add_ws_route("/device", device)
    made.add_ws_route("/desk", desk)
    return made


app = make()
