"""An application that logs, fails, and is refused."""

import logging

from nexios_trio import NexiosApp

app = NexiosApp()
logger = logging.getLogger("shop.cart")


@app.ws_route("/ws/{room}")
async def room(ws):
    await ws.accept()
    async for text in ws.iter_text():
        logger.info("got %s", text, extra={"basket": [1, 2]})
        if text == "fail":
            raise LookupError("no such basket\nat all")
        await ws.send_text(text)


async def broken(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        raise ZeroDivisionError("the foreign one\nfailed")
