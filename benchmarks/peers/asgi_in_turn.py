"""Plain ASGI: one `send` per member, one after the other. For hypercorn, on trio or uvloop."""

import json

members = set()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await HANDLERS[scope["path"]](receive, send)


async def lifespan(receive, send):
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def messages(receive):
    while (event := await receive())["type"] == "websocket.receive":
        yield event["text"]


async def echo(receive, send):
    async for text in messages(receive):
        await send({"type": "websocket.send", "text": text})


async def sub(receive, send):
    members.add(send)
    try:
        async for _ in messages(receive):
            pass
    finally:
        members.discard(send)


async def pub(receive, send):
    async for text in messages(receive):
        data = json.loads(text)
        for member in list(members):
            await member({"type": "websocket.send", "text": json.dumps(data, separators=(",", ":"))})


HANDLERS = {"/echo": echo, "/sub": sub, "/pub": pub}
