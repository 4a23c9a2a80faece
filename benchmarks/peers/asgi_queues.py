"""Plain ASGI on trio: a queue and a task per member, the message encoded once, dropped where a queue is full."""

import json

import trio
from asgi_in_turn import echo, lifespan, messages

queues = set()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await HANDLERS[scope["path"]](receive, send)


async def write(queue, send):
    async for event in queue:
        await send(event)


async def sub(receive, send):
    ours, theirs = trio.open_memory_channel(256)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, theirs, send)
        queues.add(ours)
        try:
            async for _ in messages(receive):
                pass
        finally:
            queues.discard(ours)
            nursery.cancel_scope.cancel()


async def pub(receive, send):
    async for text in messages(receive):
        event = {"type": "websocket.send", "text": json.dumps(json.loads(text), separators=(",", ":"))}
        for queue in queues:
            try:
                queue.send_nowait(event)
            except trio.WouldBlock:
                pass


HANDLERS = {"/echo": echo, "/sub": sub, "/pub": pub}
