"""The websockets library on trio, with its `broadcast`."""

import json
import sys
from functools import partial

import trio
from websockets.trio.server import broadcast, serve

members = set()


async def handler(websocket):
    match websocket.request.path:
        case "/echo":
            async for text in websocket:
                await websocket.send(text)
        case "/sub":
            members.add(websocket)
            try:
                async for _ in websocket:
                    pass
            finally:
                members.discard(websocket)
        case "/pub":
            async for text in websocket:
                await broadcast(list(members), json.dumps(json.loads(text), separators=(",", ":")))


if __name__ == "__main__":
    trio.run(partial(serve, handler, int(sys.argv[1]), host="127.0.0.1"))
