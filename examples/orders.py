"""Orders as they come, for whoever watches; the shop, another program, publishes them: examples.orders_shop.

$ export NEXIOS_API_KEY=$(python -c 'import secrets; print(secrets.token_urlsafe(32))')
$ nexios-trio run examples.orders:app
$ python -m websockets ws://127.0.0.1:8000/orders
"""

import os

from nexios_trio import NexiosApp
from nexios_trio.websockets import WebSocket, open_channel

app = NexiosApp()
app.mount_api("/api", key=os.environ["NEXIOS_API_KEY"].split(","))  # several, while a new one takes over


@app.ws_route("/orders")
async def orders(ws: WebSocket) -> None:
    async with open_channel(ws) as channel, channel.member("orders"):
        async for _ in channel:
            await channel.send({"error": "watchers only listen"})
