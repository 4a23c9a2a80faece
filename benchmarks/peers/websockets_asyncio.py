"""The websockets library on uvloop, with its `broadcast`."""

import asyncio
import json
import sys

import uvloop
from websockets.asyncio.server import broadcast, serve

members = set()


async def handler(websocket):
    match websocket.request.path:
        case "/echo":
            async for text in websocket:
                await websocket.send(text)
        case "/sub":
            members.add(websocket)
            try:
                await websocket.wait_closed()
            finally:
                members.discard(websocket)
        case "/pub":
            async for text in websocket:
                broadcast(members, json.dumps(json.loads(text), separators=(",", ":")))


async def main():
    async with serve(handler, "127.0.0.1", int(sys.argv[1])):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main())
