"""Groups, their messages and their history, used as document 002 does."""

from nexios_trio import NexiosApp, get_application
from nexios_trio.testing.client import connect
from nexios_trio.websockets import WebSocket
from nexios_trio.websockets.channels import (
    Channel,
    ChannelAddStatusEnum,
    ChannelBox,
    ChannelRemoveStatusEnum,
    GroupSendStatusEnum,
    PayloadTypeEnum,
)
from tests.asgi import request
from tests.documents.catalogue import covers
from tests.documents.support import clients


def serving(handler):
    """An application that gives `handler` an open channel, then waits until its client leaves."""
    app = NexiosApp()

    @app.ws_route("/ws")
    async def serve(ws):
        await ws.accept()
        await handler(Channel(websocket=ws, payload_type="json", expires=1800))
        async for _ in ws:
            pass

    return app


@covers("002 boxes: a room with history")
async def test_a_room_with_history():
    app = get_application()

    @app.websocket("/ws/chat/{room_id}")
    async def chat_endpoint(ws: WebSocket):
        await ws.accept()
        room_id = ws.path_params["room_id"]
        channel = Channel(websocket=ws, payload_type=PayloadTypeEnum.JSON.value, expires=3600)
        await ChannelBox.add_channel_to_group(channel, group_name=f"chat_{room_id}")
        try:
            await channel._send({"type": "system", "message": f"room {room_id}"})
            history = await ChannelBox.show_history(group_name=f"chat_{room_id}")
            if history:
                for message in history[-10:]:
                    await channel._send(message.payload)
            while True:
                data = await ws.receive()
                if data.get("type") == "websocket.receive" and "text" in data:
                    message = {"type": "chat", "text": data["text"], "sender_id": str(channel.uuid)}
                    await ChannelBox.group_send(group_name=f"chat_{room_id}", payload=message, save_history=True)
        except Exception as e:
            print(f"Error: {e}")
        finally:
            await ChannelBox.remove_channel_from_group(channel, group_name=f"chat_{room_id}")
            await ws.close()

    async with clients(app, "/ws/chat/1", "/ws/chat/2") as (ada, eve):
        assert await ada.receive_json() == {"type": "system", "message": "room 1"}
        assert await eve.receive_json() == {"type": "system", "message": "room 2"}
        for number in range(12):
            await ada.send_text(str(number))
            assert (await ada.receive_json())["text"] == str(number)
        async with connect(app, "/ws/chat/1") as bob:
            assert await bob.receive_json() == {"type": "system", "message": "room 1"}
            assert [(await bob.receive_json())["text"] for _ in range(10)] == [str(n) for n in range(2, 12)]
            await bob.send_text("hi")
            for client in (ada, bob):
                assert (await client.receive_json())["text"] == "hi"
        await ada.send_text("alone")
        assert (await ada.receive_json())["text"] == "alone"
        assert eve.unread() == []


@covers("002 boxes: adding to a group and the status of it", "002 boxes: removing from a group and the status of it")
async def test_the_status_of_joining_and_leaving():
    app = NexiosApp()

    @app.ws_route("/ws")
    async def handler(ws):
        await ws.accept()
        channel = Channel(websocket=ws, payload_type="json", expires=1800)
        status = await ChannelBox.add_channel_to_group(channel, group_name="notifications")
        if status == ChannelAddStatusEnum.CHANNEL_ADDED:
            await channel.send("a new group")
        elif status == ChannelAddStatusEnum.CHANNEL_EXIST:
            await channel.send("an old group")
        await ws.receive()
        removed = await ChannelBox.remove_channel_from_group(channel, group_name="notifications")
        if removed == ChannelRemoveStatusEnum.CHANNEL_REMOVED:
            await channel.send("removed")
        elif removed == ChannelRemoveStatusEnum.GROUP_REMOVED:
            await channel.send("removed with the group")

    async with clients(app, "/ws", "/ws") as (first, second):
        assert await first.receive_json() == "a new group"
        assert await second.receive_json() == "an old group"
        await first.send_text("leave")
        assert await first.receive_json() == "removed"
        await second.send_text("leave")
        assert await second.receive_json() == "removed with the group"


@covers("002 boxes: sending to a group and the status of it")
async def test_the_status_of_sending():
    async def handler(channel):
        for group_name in ("notifications", "nobody"):
            if group_name == "notifications":
                await ChannelBox.add_channel_to_group(channel, group_name=group_name)
            status = await ChannelBox.group_send(
                group_name=group_name, payload={"type": "alert", "message": "soon"}, save_history=True
            )
            if status == GroupSendStatusEnum.GROUP_SEND:
                await channel.send("sent")
            elif status == GroupSendStatusEnum.NO_SUCH_GROUP:
                await channel.send("no such group")

    async with clients(serving(handler), "/ws") as [client]:
        assert await client.receive_json() == {"type": "alert", "message": "soon"}
        assert [await client.receive_json() for _ in range(2)] == ["sent", "no such group"]


@covers("002 history: of one group and of all", "002 history: cleared", "002 rooms: history shown and flushed")
async def test_history_is_shown_and_cleared():
    async def handler(channel):
        for room in ("chat_room1", "chat_room2"):
            await ChannelBox.add_channel_to_group(channel, room)
            await ChannelBox.group_send(room, {"in": room}, save_history=True)
            await ChannelBox.group_send(room, {"not": "kept"})
        group_history = await ChannelBox.show_history(group_name="chat_room1")
        await channel.send([message.payload for message in group_history])
        history = await ChannelBox.show_history("chat_room2")
        await channel.send([message.payload for message in history])
        all_history = await ChannelBox.show_history()
        await channel.send({name: len(messages) for name, messages in all_history.items()})
        await ChannelBox.flush_history()
        await channel.send(await ChannelBox.show_history())

    async with clients(serving(handler), "/ws") as [client]:
        for room in ("chat_room1", "chat_room2"):
            assert [await client.receive_json() for _ in range(2)] == [{"in": room}, {"not": "kept"}]
        assert await client.receive_json() == [{"in": "chat_room1"}]
        assert await client.receive_json() == [{"in": "chat_room2"}]
        assert await client.receive_json() == {"chat_room1": 1, "chat_room2": 1}
        assert await client.receive_json() == {}


@covers("002 history: its size from the environment")
async def test_the_size_of_the_history_is_read_when_a_message_is_saved(monkeypatch):
    async def handler(channel):
        await ChannelBox.add_channel_to_group(channel, "room")
        for size in (5 * 1024 * 1024, 100):
            monkeypatch.setenv("CHANNEL_BOX_HISTORY_SIZE", str(size))
            for number in range(5):
                await ChannelBox.group_send("room", [number, "x" * 60], save_history=True)
            kept = await ChannelBox.show_history("room")
            await channel.send({"kept": [message.payload[0] for message in kept]})

    async with clients(serving(handler), "/ws") as [client]:
        messages = [await client.receive_json() for _ in range(12)]
    assert [m["kept"] for m in messages if "kept" in m] == [[0, 1, 2, 3, 4], [4]]


@covers("002 rooms: a function", "002 rooms: listing groups, and the channels of one")
async def test_a_room_in_a_function():
    app = NexiosApp()

    @app.ws_route("/room/{room_name}")
    async def room_handler(ws: WebSocket, room_name: str):
        await ws.accept()
        channel = Channel(websocket=ws, payload_type=PayloadTypeEnum.JSON.value, expires=3600)
        await ChannelBox.add_channel_to_group(channel, room_name)
        try:
            while True:
                data = await ws.receive_json()
                payload = {"user": data.get("user"), "message": data["message"]}
                await ChannelBox.group_send(group_name=room_name, payload=payload, save_history=True)
        except Exception as e:
            print(f"Error: {e}")
        finally:
            await ChannelBox.remove_channel_from_group(channel, room_name)
            await ws.close()

    @app.get("/rooms")
    async def rooms(req, res):
        rooms = await ChannelBox.show_groups()
        channels = await ChannelBox.show_groups().get("blue", {})
        nobody = await ChannelBox.show_groups().get("green", {})
        return res.json({"rooms": sorted(rooms), "blue": len(channels), "green": len(nobody)})

    async with clients(app, "/room/blue", "/room/blue", "/room/red") as (ada, bob, eve):
        await ada.send_json({"user": "ada", "message": "hi"})
        for client in (ada, bob):
            assert await client.receive_json() == {"user": "ada", "message": "hi"}
        assert (await request(app, "/rooms")).json() == {"rooms": ["blue", "red"], "blue": 2, "green": 0}
        await eve.send_json({"no": "message"})  # the KeyError ends her connection, and nobody else's
        assert await eve.receive_close() == (1000, "")
        await bob.close()
        await bob.app_finished()
        assert (await request(app, "/rooms")).json() == {"rooms": ["blue"], "blue": 1, "green": 0}


@covers("002 rooms: a message to one channel")
async def test_a_message_to_one_channel():
    app = NexiosApp()

    @app.ws_route("/ws")
    async def handler(ws):
        await ws.accept()
        channel = Channel(ws)
        await channel.send(str(channel.uuid))
        while True:
            channel_id = await ws.receive_text()
            await channel.send(await ChannelBox.send_to(channel_id, {"private": "psst"}))

    async with clients(app, "/ws", "/ws") as (ada, bob):
        _, bob_id = await ada.receive_json(), await bob.receive_json()
        await ada.send_text(bob_id)
        assert await ada.receive_json() is True
        assert await bob.receive_json() == {"private": "psst"}
        await ada.send_text("uuid-of-channel")
        assert await ada.receive_json() is False


@covers("002 rooms: closing everything, cleaning what has expired")
async def test_closing_everything_and_cleaning_what_has_expired(autojump_clock):
    app = NexiosApp()

    @app.ws_route("/ws/{expires:int}")
    async def handler(ws, expires):
        await ws.accept()
        channel = Channel(ws, expires=expires)
        await ChannelBox.add_channel_to_group(channel, "all")
        async for _ in ws:
            await ChannelBox._clean_expired()
            await channel.send(len(await ChannelBox.show_groups().get("all", {})))

    @app.get("/close")
    async def close(req, res):
        await ChannelBox.close_all_connections()
        return res.text("closed")

    async with clients(app, "/ws/60", "/ws/3600") as (short, long):
        await long.send_text("how many?")
        assert await long.receive_json() == 2
        await short.expect_nothing(61)
        await long.send_text("and now?")
        assert await long.receive_json() == 1
        assert (await request(app, "/close")).body == b"closed"
        for client in (short, long):
            assert await client.receive_close() == (1001, "")
