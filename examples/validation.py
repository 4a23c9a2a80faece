"""Validated messages: the handler gets objects, and who sends something else is told what is wrong with it.

    $ nexios-trio run examples.validation:app
    $ python -m websockets ws://127.0.0.1:8000/bids
    > {"item": "clock", "price": 30}
    > {"item": "clock"}

Here the type is an attrs class; a pydantic model or a msgspec Struct is declared in the same way.
"""

from typing import Any

import attrs

from nexios_trio import NexiosApp, WebSocket, WebSocketConsumer


@attrs.frozen
class Bid:
    item: str
    price: int = attrs.field(validator=attrs.validators.ge(1))
    note: str | None = None


class Auction(WebSocketConsumer):
    message_type = Bid

    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await self.join_group("auction")

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        bid: Bid = data
        await self.broadcast({"item": bid.item, "price": bid.price}, "auction")


app = NexiosApp()
app.add_ws_route(Auction.as_route("/bids"))
