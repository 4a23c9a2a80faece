"""Starlette: a set of connections, written to in turn."""

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

members = set()


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def sub(websocket):
    await websocket.accept()
    members.add(websocket)
    try:
        async for _ in websocket.iter_text():
            pass
    finally:
        members.discard(websocket)


async def pub(websocket):
    await websocket.accept()
    async for data in websocket.iter_json():
        for member in list(members):
            try:
                await member.send_json(data)
            except WebSocketDisconnect:
                members.discard(member)


app = Starlette(routes=[WebSocketRoute("/echo", echo), WebSocketRoute("/sub", sub), WebSocketRoute("/pub", pub)])
