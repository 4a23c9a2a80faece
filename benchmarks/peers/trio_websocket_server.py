"""trio-websocket: a loop over the members."""

import json
import sys

import trio
from trio_websocket import ConnectionClosed, serve_websocket

members = set()


async def handler(request):
    websocket = await request.accept()
    try:
        await HANDLERS[request.path](websocket)
    except ConnectionClosed:
        pass


async def echo(websocket):
    while True:
        await websocket.send_message(await websocket.get_message())


async def sub(websocket):
    members.add(websocket)
    try:
        while True:
            await websocket.get_message()
    finally:
        members.discard(websocket)


async def pub(websocket):
    while True:
        text = json.dumps(json.loads(await websocket.get_message()), separators=(",", ":"))
        for member in list(members):
            try:
                await member.send_message(text)
            except ConnectionClosed:
                members.discard(member)


HANDLERS = {"/echo": echo, "/sub": sub, "/pub": pub}

if __name__ == "__main__":
    trio.run(serve_websocket, handler, "127.0.0.1", int(sys.argv[1]), None)
