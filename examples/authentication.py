"""Authentication in three ways: a token in the first message, in a cookie, or among the subprotocols.

    $ TOKEN=open-sesame nexios-trio run examples.authentication:app
    $ python -m websockets ws://127.0.0.1:8000/message      then type: {"token": "open-sesame"}

In a browser: `document.cookie = "session=open-sesame"` and `new WebSocket("/cookie")`, or
`new WebSocket("/subprotocol", ["bearer", "open-sesame"])`. Who has no valid token is closed with 4001.
An hour later everybody is: `lifetime`.
"""

import hmac
import os

from nexios_trio import NexiosApp, WebSocket, WebsocketRoute
from nexios_trio.websockets.middleware import (
    AuthenticationMiddleware,
    token_in_cookie,
    token_in_first_message,
    token_in_subprotocol,
)

SECRETS = {"ali": os.environ.get("TOKEN", "open-sesame").encode()}


def verify(token: str) -> str | None:
    """The user of a token. Every secret is compared, in constant time: how long it takes tells nothing."""
    users = [user for user, secret in SECRETS.items() if hmac.compare_digest(token.encode(), secret)]
    return users[0] if users else None


async def greet(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_json({"hello": ws.user})
    async for message in ws.iter_text():
        await ws.send_json({"from": ws.user, "text": message})


WAYS = {
    "/message": token_in_first_message(verify),
    "/cookie": token_in_cookie("session", verify),
    "/subprotocol": token_in_subprotocol(verify),
}
app = NexiosApp(
    routes=[
        WebsocketRoute(path, greet, middleware=[AuthenticationMiddleware(authenticate, lifetime=3600)])
        for path, authenticate in WAYS.items()
    ]
)
