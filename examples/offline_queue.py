"""Messages for somebody who is just reconnecting: a train in a tunnel, a page that reloads.

    $ nexios-trio run examples.offline_queue:app
    $ python -m websockets ws://127.0.0.1:8000/mail/ann     and another one for bob
    > {"to": "bob", "text": "hello"}

Close bob's, write to bob as ann, and open bob's again within two minutes: what was written is there, in order.
A real application takes the name from who is authenticated, not from the path.
"""

from nexios_trio import NexiosApp, WebSocket, open_channel
from nexios_trio.websockets import OfflineQueue

app = NexiosApp()
mail = OfflineQueue(max_messages=100, max_age=120)


@app.ws_route("/mail/{name}")
async def mailbox(ws: WebSocket, name: str) -> None:
    async with open_channel(ws) as channel, mail.connected(name, channel):
        async for letter in channel:
            to, text = letter.get("to"), letter.get("text")
            if not await mail.send(to, {"from": name, "text": text}):
                await channel.send({"error": f"{to} was not here in the last two minutes"})
