"""The chat of document 002: rooms, names, history, typing, a list of rooms, and cleaning up in the background."""

import json
import time

import pytest
import trio

from nexios_trio import get_application
from nexios_trio.testing.client import connect
from nexios_trio.websockets import WebSocket
from nexios_trio.websockets.channels import Channel, ChannelBox, PayloadTypeEnum
from tests.asgi import request
from tests.documents.catalogue import covers
from tests.documents.support import clients


def make_chat():
    app = get_application()
    users = {}

    @app.on_startup
    async def setup():
        app.start_soon(periodic_cleanup)

    async def periodic_cleanup():
        while True:
            await ChannelBox._clean_expired()
            await trio.sleep(60)

    async def say(group_name, save_history, **message):
        await ChannelBox.group_send(group_name=group_name, payload=message, save_history=save_history)

    @app.websocket("/ws/chat/{room_id}")
    async def chat_room(ws: WebSocket):
        await ws.accept()
        room_id = ws.path_params["room_id"]
        username = ws.query_params.get("username", f"Anonymous-{time.time()}")
        channel = Channel(websocket=ws, payload_type=PayloadTypeEnum.JSON.value, expires=3600)
        user_id = str(channel.uuid)
        users[user_id] = {"username": username, "room": room_id, "joined_at": time.time()}
        group_name = f"chat_room_{room_id}"
        await ChannelBox.add_channel_to_group(channel, group_name=group_name)
        try:
            await say(group_name, True, type="system", action="join", username=username)
            history = await ChannelBox.show_history(group_name=group_name)
            if history:
                for message in history[-50:]:
                    await channel._send(message.payload)
            while True:
                data = await ws.receive()
                if data.get("type") == "websocket.receive" and "text" in data:
                    try:
                        text_data = json.loads(data["text"])
                        message_type = text_data.get("type", "message")
                        if message_type == "message":
                            content = text_data.get("content", "")
                            await say(group_name, True, type="message", content=content, username=username)
                        elif message_type == "typing":
                            is_typing = text_data.get("is_typing", True)
                            await say(group_name, False, type="typing", username=username, is_typing=is_typing)
                    except json.JSONDecodeError:
                        await say(group_name, True, type="message", content=data["text"], username=username)
        except Exception as e:
            print(f"Error: {e}")
        finally:
            await say(group_name, True, type="system", action="leave", username=username)
            await ChannelBox.remove_channel_from_group(channel, group_name=group_name)
            users.pop(user_id, None)
            await ws.close()

    @app.get("/api/chat/rooms")
    async def list_rooms(req, res):
        rooms = {user["room"] for user in users.values()}
        room_data = []
        for room in sorted(rooms):
            group_name = f"chat_room_{room}"
            channels = await ChannelBox.show_groups().get(group_name, {})
            room_data.append({"room": room, "members": len(channels)})
        return res.json(room_data)

    return app


@covers("002 chat: the whole application")
async def test_people_come_write_and_go():
    app = make_chat()
    async with clients(app, "/ws/chat/tea?username=ada") as [ada]:
        ada_joins = {"type": "system", "action": "join", "username": "ada"}
        assert [await ada.receive_json() for _ in range(2)] == [ada_joins, ada_joins]  # live, and from the history
        async with connect(app, "/ws/chat/tea") as bob:
            joined = await ada.receive_json()
            name = joined["username"]
            assert name.startswith("Anonymous-")
            assert [await bob.receive_json() for _ in range(3)] == [joined, ada_joins, joined]
            await bob.send_json({"type": "message", "content": "hi"})
            await bob.send_json({"type": "typing"})
            await bob.send_text("not {JSON")
            for client in (ada, bob):
                assert [await client.receive_json() for _ in range(3)] == [
                    {"type": "message", "content": "hi", "username": name},
                    {"type": "typing", "username": name, "is_typing": True},
                    {"type": "message", "content": "not {JSON", "username": name},
                ]
            assert (await request(app, "/api/chat/rooms")).json() == [{"room": "tea", "members": 2}]
        assert await ada.receive_json() == {"type": "system", "action": "leave", "username": name}
        assert (await request(app, "/api/chat/rooms")).json() == [{"room": "tea", "members": 1}]
        async with connect(app, "/ws/chat/tea?username=cyd") as cyd:
            assert (await cyd.receive_json())["username"] == "cyd"
            past = [await cyd.receive_json() for _ in range(6)]
        assert [m.get("action") or m["content"] for m in past] == ["join", "join", "hi", "not {JSON", "leave", "join"]


@covers("002 chat: the whole application")
async def test_a_member_expires_in_the_background(autojump_clock):
    app = make_chat()
    async with clients(app, "/ws/chat/tea?username=ada", timeout=4000) as [ada]:
        for _ in range(2):
            await ada.receive_json()
        await ada.expect_nothing(3661)
        assert (await request(app, "/api/chat/rooms")).json() == [{"room": "tea", "members": 0}]


@covers("002 chat: the whole application")
@pytest.mark.parametrize("frame", ["[1, 2]", "3"])
async def test_json_that_is_no_object_ends_the_connection_of_its_sender_only(frame):
    app = make_chat()
    async with clients(app, "/ws/chat/tea?username=ada", "/ws/chat/tea?username=bob") as (ada, bob):
        for client, number in ((ada, 3), (bob, 3)):
            for _ in range(number):
                await client.receive_json()
        await ada.send_text(frame)
        left = {"type": "system", "action": "leave", "username": "ada"}
        assert await bob.receive_json() == left
        assert await ada.receive_json() == left  # its channel is still in the room
        assert await ada.receive_close() == (1000, "")
