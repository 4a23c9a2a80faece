"""Consumers, written as documents 002 and 003 do."""

import typing
from types import SimpleNamespace

import pytest

from nexios_trio import NexiosApp, status
from nexios_trio.testing.client import connect
from nexios_trio.websockets import WebSocket
from nexios_trio.websockets.consumers import WebSocketConsumer, WebSocketEndpoint
from nexios_trio.websockets.middleware import AuthenticationMiddleware
from tests.asgi import request
from tests.documents.catalogue import covers
from tests.documents.support import clients


@covers("002 rooms: a consumer")
async def test_a_room():
    class ChatEndpoint(WebSocketConsumer):
        encoding = "json"

        async def on_connect(self, ws: WebSocket):
            await ws.accept()
            room_name = ws.scope["path_params"]["room_name"]
            await self.join_group(room_name)
            await self.broadcast({"system": f"somebody joined {room_name}"}, room_name)

        async def on_receive(self, ws: WebSocket, data: typing.Any):
            room_name = ws.scope["path_params"]["room_name"]
            await self.broadcast({"user": data["user"], "message": data["message"]}, room_name, save_history=True)

        async def on_disconnect(self, ws: WebSocket, close_code: int):
            room_name = ws.scope["path_params"]["room_name"]
            await self.broadcast({"system": f"somebody left {room_name}"}, room_name)
            await self.leave_group(room_name)

    app = NexiosApp()
    app.add_ws_route(ChatEndpoint.as_route("/room/{room_name}"))
    async with clients(app, "/room/blue") as [ada]:
        assert await ada.receive_json() == {"system": "somebody joined blue"}
        async with connect(app, "/room/blue") as bob:
            for client in (ada, bob):
                assert await client.receive_json() == {"system": "somebody joined blue"}
            await bob.send_json({"user": "bob", "message": "hi"})
            for client in (ada, bob):
                assert await client.receive_json() == {"user": "bob", "message": "hi"}
        assert await ada.receive_json() == {"system": "somebody left blue"}
        [kept] = await app.box.show_history("blue")
        assert kept.payload == {"user": "bob", "message": "hi"}


@covers("002 rooms: the whole chat room")
async def test_a_room_that_counts_its_users():
    class ChatRoom(WebSocketEndpoint):
        encoding = "json"

        async def on_connect(self, ws: WebSocket):
            await ws.accept()
            self.room = ws.scope["path_params"]["room_id"]
            self.user = ws.scope["query_params"].get("username", "anonymous")
            await self.join_group(self.room)
            await self.system("joined", await self.get_user_count())

        async def system(self, what, users):
            message = f"{self.user} {what}"
            await self.broadcast({"type": "system", "message": message, "users": users}, self.room, save_history=True)

        async def on_receive(self, ws: WebSocket, data: typing.Any):
            if data.get("type") == "message":
                await self.broadcast(
                    {"type": "chat", "user": self.user, "message": data["content"]}, self.room, save_history=True
                )

        async def on_disconnect(self, ws: WebSocket, close_code: int):
            await self.system("left", await self.get_user_count() - 1)
            await self.leave_group(self.room)

        async def get_user_count(self):
            channels = await self.group(self.room)
            return len(channels)

    app = NexiosApp()
    app.add_ws_route("/ws/{room_id}", ChatRoom)
    async with clients(app, "/ws/1?username=ada") as [ada]:
        assert await ada.receive_json() == {"type": "system", "message": "ada joined", "users": 1}
        async with connect(app, "/ws/1") as other:
            for client in (ada, other):
                assert await client.receive_json() == {"type": "system", "message": "anonymous joined", "users": 2}
            await other.send_json({"type": "noise"})
            await other.send_json({"type": "message", "content": "hi"})
            for client in (ada, other):
                assert await client.receive_json() == {"type": "chat", "user": "anonymous", "message": "hi"}
        assert await ada.receive_json() == {"type": "system", "message": "anonymous left", "users": 1}


@covers("003 consumers: the three methods")
async def test_the_three_methods():
    class ChatConsumer(WebSocketConsumer):
        encoding = "json"

        async def on_connect(self, websocket: WebSocket):
            await websocket.accept()
            await self.join_group("general_chat")

        async def on_receive(self, websocket: WebSocket, data: typing.Any):
            await self.broadcast(data, "general_chat")

        async def on_disconnect(self, websocket: WebSocket, close_code: int):
            await self.leave_group("general_chat")

    app = NexiosApp()
    app.add_ws_route(path="/chat", handler=ChatConsumer)
    async with clients(app, "/chat", "/chat") as (ada, bob):
        await ada.send_json({"from": "ada"})
        for client in (ada, bob):
            assert await client.receive_json() == {"from": "ada"}
        await ada.close()
        await ada.app_finished()
        await bob.send_json({"from": "bob"})
        assert await bob.receive_json() == {"from": "bob"}


@covers("003 consumers: messages that come decoded")
@pytest.mark.parametrize(("encoding", "got"), [("json", "{'message': 1}"), ("text", "'{\"message\":1}'")])
async def test_messages_come_decoded(encoding, got):
    class MyConsumer(WebSocketConsumer):
        async def on_receive(self, ws, data):
            await ws.send_text(repr(data))

    app = NexiosApp()
    app.ws_route("/ws")(type("Encoded", (MyConsumer,), {"encoding": encoding}))
    async with clients(app, "/ws") as [client]:
        await client.send_json({"message": 1})
        assert await client.receive_text() == got


@covers("003 consumers: the channel at hand")
async def test_the_channel_is_at_hand():
    class MyConsumer(WebSocketConsumer):
        async def on_connect(self, ws):
            await ws.accept()
            ends = self.channel.created + self.channel.expires  # type: ignore[operator]  # the document's own words
            await self.channel.send([str(self.channel.uuid), ends - self.channel.created])

    app = NexiosApp()
    app.add_ws_route("/ws", MyConsumer)
    async with clients(app, "/ws", "/ws") as (one, other):
        first, second = await one.receive_json(), await other.receive_json()
    assert first[0] != second[0]
    assert first[1] == pytest.approx(3600)


@covers("003 groups: join and leave", "003 groups: broadcast with history", "003 groups: a message to one user")
async def test_groups_of_a_consumer():
    class MyConsumer(WebSocketConsumer):
        encoding = "json"

        async def on_connect(self, ws):
            await self.join_group("room_42")

        async def on_receive(self, ws, data):
            if "to" in data:
                await self.send_private_message(data["to"], data["message"])
            else:
                payload = {"user": str(self.channel.uuid), "message": data}
                await self.broadcast(payload, group_name="room_42", save_history=True)

        async def send_private_message(self, user_id, message):
            await self.send_to(user_id, {"private": message})

        async def on_disconnect(self, ws, code):
            await self.leave_group("room_42")

    app = NexiosApp()
    app.add_ws_route("/ws", MyConsumer)

    @app.get("/members")
    async def members(req, res):
        return res.json(len(await app.box.show_groups().get("room_42", {})))

    async with clients(app, "/ws", "/ws") as (ada, bob):
        await bob.send_json({"text": "hi"})
        told = await ada.receive_json()
        assert told["message"] == {"text": "hi"}
        assert await bob.receive_json() == told
        await ada.send_json({"to": told["user"], "message": "psst"})
        assert await bob.receive_json() == {"private": "psst"}
        assert [message.payload for message in await app.box.show_history("room_42")] == [told]
        await bob.close()
        await bob.app_finished()
        assert (await request(app, "/members")).json() == 1


@covers("003 errors: logged, and closed with 1011")
async def test_errors_are_logged_and_close(caplog):
    class MyConsumer(WebSocketConsumer):
        encoding = "json"

        async def on_receive(self, ws, data):
            try:
                await ws.send_json(1 / data)
            except Exception as e:
                self.logger.error(f"Error: {e}")  # noqa: G004, TRY400 - as the document has it
                await ws.close(code=status.WS_1011_INTERNAL_ERROR)

    app = NexiosApp()
    app.add_ws_route("/ws", MyConsumer)
    async with clients(app, "/ws") as [client]:
        await client.send_json(2)
        assert await client.receive_json() == 0.5
        await client.send_json(0)
        assert await client.receive_close() == (1011, "")
    assert "Error: division by zero" in caplog.text


@covers("003 chat: users and a lobby")
async def test_users_and_a_lobby():
    async def authenticate(ws):
        name = ws.query_params.get("name")
        return SimpleNamespace(id=len(name), name=name) if name else None

    class ChatConsumer(WebSocketConsumer):
        encoding = "json"

        async def on_connect(self, ws):
            user = ws.scope["user"]
            await ws.accept()
            await self.join_group(f"user_{user.id}")
            await self.join_group("lobby")  # the document's lobby has no members
            await self.broadcast({"system": f"{user.name} came"}, group_name="lobby")

        async def on_receive(self, ws, data):
            user = ws.scope["user"]
            await self.broadcast({"user": user.name, "message": data["text"]}, group_name="lobby")

        async def on_disconnect(self, ws, code):
            user = ws.scope["user"]
            await self.leave_group(f"user_{user.id}")
            await self.broadcast({"system": f"{user.name} went"}, group_name="lobby")

    app = NexiosApp()
    app.add_ws_route(ChatConsumer.as_route("/chat", middleware=[AuthenticationMiddleware(authenticate)]))
    async with clients(app, "/chat?name=ada") as [ada]:
        assert await ada.receive_json() == {"system": "ada came"}
        async with connect(app, "/chat?name=grace") as grace:
            for client in (ada, grace):
                assert await client.receive_json() == {"system": "grace came"}
            await grace.send_json({"text": "hi"})
            for client in (ada, grace):
                assert await client.receive_json() == {"user": "grace", "message": "hi"}
        assert await ada.receive_json() == {"system": "grace went"}
        async with connect(app, "/chat") as nobody:
            assert (await nobody.receive_close())[0] == 4001
