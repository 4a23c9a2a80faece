"""A game in two rooms: who is the first to have moved three times wins the round. What happens in one room stays there.

$ nexios-trio run examples.game:app
$ python -m websockets "ws://127.0.0.1:8000/game/red?player=ann"
> {"type": "move"}
"""

from typing import Any

from nexios_trio import NexiosApp
from nexios_trio.routing import Router
from nexios_trio.websockets import WebSocket
from nexios_trio.websockets.consumers import WebSocketConsumer

GOAL = 3
rooms: dict[str, dict[str, int]] = {"red": {}, "blue": {}}  # room -> player -> position


class Race(WebSocketConsumer):
    encoding = "json"
    room = ""

    async def on_connect(self, ws: WebSocket) -> None:
        room, self.player = ws.path_params["room"], ws.query_params.get("player", "anonymous")
        if room not in rooms or self.player in rooms[room]:
            await ws.reject(4004, "rooms are red and blue; a name is taken once")
            return
        await ws.accept()
        self.room = room
        rooms[room][self.player] = 0
        await self.join_group(room)
        await self.broadcast({"joined": self.player, "players": len(await self.group(room))}, room)

    async def on_receive(self, ws: WebSocket, data: Any) -> None:
        if data != {"type": "move"}:
            await self.send_to(str(self.channel.uuid), {"error": 'send {"type": "move"}'})
            return
        positions = rooms[self.room]
        positions[self.player] += 1
        await self.broadcast({"positions": positions}, self.room)
        if positions[self.player] >= GOAL:
            await self.broadcast({"winner": self.player}, self.room)
            rooms[self.room] = dict.fromkeys(positions, 0)

    async def on_disconnect(self, ws: WebSocket, close_code: int) -> None:
        if self.room:  # else on_connect did not let this one in
            del rooms[self.room][self.player]
            await self.leave_group(self.room)
            await self.broadcast({"left": self.player, "players": len(await self.group(self.room))}, self.room)


app = NexiosApp()
router = Router(prefix="/game")
router.add_ws_route(Race.as_route("/{room}"))
app.mount_router(router)
