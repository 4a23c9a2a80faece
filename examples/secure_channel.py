"""A secure channel: it receives from anybody, and sends to nobody who has not shown a token.

    $ TOKEN=open-sesame nexios-trio run examples.secure_channel:app
    $ python -m websockets ws://127.0.0.1:8000/vault
    > {"token": "open-sesame"}
    > {"say": "hello"}

Send the second line first, or another token, and the connection is closed with 4001.
"""

import hmac
import os
from typing import Any

from nexios_trio import NexiosApp, WebSocket, WebSocketConsumer
from nexios_trio.websockets import SecureChannel

SECRETS = {"ali": os.environ.get("TOKEN", "open-sesame").encode()}


class VaultChannel(SecureChannel):
    async def verify_token(self, token: str) -> str | None:
        users = [user for user, secret in SECRETS.items() if hmac.compare_digest(token.encode(), secret)]
        return users[0] if users else None


class Vault(WebSocketConsumer):
    encoding = "json"
    channel_class = VaultChannel
    channel: VaultChannel

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        if "token" in data:
            user = await self.channel.authenticate(data["token"], lifetime=3600)
            await self.join_group("vault")
            await self.broadcast({"opened by": user}, "vault")
        else:
            await self.channel.send({"user": self.channel.user, "said": data.get("say")})


app = NexiosApp()
app.add_ws_route(Vault.as_route("/vault"))
