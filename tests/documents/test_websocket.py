"""One connection's life and messages, handled as documents 000, 001 and 002 do."""

import json

import pytest

from nexios_trio import NexiosApp, get_application
from nexios_trio.testing import run_app
from nexios_trio.testing.client import connect
from nexios_trio.websockets import WebSocket, WebSocketDisconnect
from nexios_trio.websockets.base import WebSocketDisconnect as DisconnectOfBase
from tests.documents.catalogue import covers


@pytest.fixture
def app():
    return NexiosApp()


@covers("000 messages: sending in three kinds", "001 messages: sending in three kinds")
async def test_sending_in_three_kinds(app):
    @app.ws_route("/ws")
    async def ws_handler(ws):
        await ws.accept()
        await ws.send_text("Hello")
        await ws.send_json({"message": "Hello"})
        await ws.send_bytes(b"Hello")

    async with run_app(app), connect(app, "/ws") as client:
        assert await client.receive_text() == "Hello"
        assert await client.receive_text() == '{"message":"Hello"}'
        assert await client.receive_bytes() == b"Hello"
        assert await client.receive_close() == (1000, "")


@covers("000 messages: receiving in three kinds", "001 messages: receiving in three kinds")
async def test_receiving_in_three_kinds(app):
    received = []

    @app.ws_route("/ws")
    async def ws_handler(ws):
        await ws.accept()
        message = await ws.receive_text()
        received.append(message)
        message = await ws.receive_json()
        received.append(message)
        message = await ws.receive_bytes()
        received.append(message)

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_text("plain")
        await client.send_json({"deep": [1]})
        await client.send_bytes(b"\xfe")
        assert await client.receive_close() == (1000, "")
    assert received == ["plain", {"deep": [1]}, b"\xfe"]


@covers(
    "000 lifecycle: accept",
    "001 lifecycle: accept",
    "000 formats: text answered",
    "001 formats: text answered",
    "000 formats: binary echoed",
    "001 formats: binary echoed",
    "000 formats: JSON wrapped and returned",
    "001 formats: JSON wrapped and returned",
)
async def test_one_answer_in_each_format(app):
    @app.ws_route("/ws")
    async def ws_handler(ws):
        await ws.accept()
        text_data = await ws.receive_text()
        await ws.send_text(f"Received: {text_data}")
        binary_data = await ws.receive_bytes()
        await ws.send_bytes(binary_data)
        json_data = await ws.receive_json()
        await ws.send_json({"status": "success", "data": json_data})

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_text("naïve")
        assert await client.receive_text() == "Received: naïve"
        await client.send_bytes(b"\x00\xff")
        assert await client.receive_bytes() == b"\x00\xff"
        await client.send_json([1, None])
        assert await client.receive_json() == {"status": "success", "data": [1, None]}


@covers(
    "002 second part: text messages",
    "002 second part: binary messages",
    "002 second part: JSON messages",
)
async def test_one_fixed_answer_in_each_format(app):
    got = []

    @app.ws_route("/ws")
    async def ws_handler(ws):
        await ws.accept()
        text_data = await ws.receive_text()
        await ws.send_text("heard")
        binary_data = await ws.receive_bytes()
        await ws.send_bytes(b"seen")
        json_data = await ws.receive_json()
        await ws.send_json({"response": "understood", "status": "success"})
        got.extend((text_data, binary_data, json_data))

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_text("t")
        await client.send_bytes(b"b")
        await client.send_json({"j": 1})
        assert await client.receive_text() == "heard"
        assert await client.receive_bytes() == b"seen"
        assert await client.receive_json() == {"response": "understood", "status": "success"}
    assert got == ["t", b"b", {"j": 1}]


@covers("000 lifecycle: receive in a loop", "001 lifecycle: receive in a loop")
async def test_a_loop_that_nobody_leaves_ends_with_the_connection(app, caplog):
    events = []

    @app.ws_route("/ws")
    async def ws_handler(ws):
        await ws.accept()
        while True:
            data = await ws.receive()
            events.append(data)

    async with run_app(app), connect(app, "/ws", server="direct") as client:
        await client.send_text("a")
        await client.send_bytes(b"b")
        await client.close(4000, "enough")
        assert (client.end.code, client.end.reason) == (4000, "enough")
    assert events == [
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "bytes": b"b"},
        {"type": "websocket.disconnect", "code": 4000, "reason": "enough"},
    ]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@covers("000 lifecycle: the disconnect caught", "001 lifecycle: the disconnect caught")
async def test_the_disconnect_is_caught(app, capsys):
    @app.ws_route("/ws")
    async def ws_handler(ws):
        await ws.accept()
        try:
            while True:
                await ws.receive_text()
        except DisconnectOfBase:
            print("the peer has left")

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_text("here")
        await client.close()
    assert capsys.readouterr().out == "the peer has left\n"


@covers("000 lifecycle: close at last", "001 lifecycle: close at last")
@pytest.mark.parametrize("who_leaves_first", ["server", "client"])
async def test_closing_at_last_whoever_left_first(app, who_leaves_first, caplog):
    @app.ws_route("/ws")
    async def ws_handler(ws):
        await ws.accept()
        try:
            await ws.send_text(await ws.receive_text())
        finally:
            await ws.close()

    async with run_app(app), connect(app, "/ws") as client:
        if who_leaves_first == "server":
            await client.send_text("done")
            assert await client.receive_text() == "done"
            assert await client.receive_close() == (1000, "")
        else:
            await client.close(3000)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@covers("002 setup: an echo of raw events")
async def test_an_echo_of_raw_events(capsys):
    app = get_application()

    @app.websocket("/ws")
    async def websocket_endpoint(ws: WebSocket):
        await ws.accept()
        try:
            while True:
                data = await ws.receive()
                if data.get("type") == "websocket.receive":
                    if "text" in data:
                        await ws.send_text(f"You said: {data['text']}")
                    elif "bytes" in data:
                        await ws.send_bytes(data["bytes"])
        except Exception as e:
            print(f"Error: {e}")
        finally:
            await ws.close()

    async with run_app(app), connect(app, "/ws") as client:
        await client.send_text("hi")
        assert await client.receive_text() == "You said: hi"
        await client.send_bytes(b"\x01")
        assert await client.receive_bytes() == b"\x01"
    assert capsys.readouterr().out.startswith("Error: ")  # the end of the connection, which the loop is left by


@covers("002 second part: the life of a connection")
async def test_the_life_of_a_connection(app, capsys):
    def process_message(data):
        return {"sum": sum(data)}

    @app.ws_route("/chat")
    async def chat_websocket(ws: WebSocket):
        await ws.accept()
        try:
            while True:
                data = await ws.receive_json()
                response = process_message(data)
                await ws.send_json(response)
        except WebSocketDisconnect:
            print("gone")
        finally:
            await ws.close()

    async with run_app(app), connect(app, "/chat") as client:
        await client.send_json([1, 2, 3])
        assert await client.receive_json() == {"sum": 6}
        await client.send_json([])
        assert await client.receive_json() == {"sum": 0}
    assert capsys.readouterr().out == "gone\n"


@covers("002 second part: what is known of a connection")
@pytest.mark.parametrize(("path", "room"), [("/info", None), ("/rooms/blue", "blue")])
async def test_what_is_known_of_a_connection(app, path, room):
    async def info_websocket(ws: WebSocket):
        await ws.accept()
        client_ip = ws.client.host
        client_port = ws.client.port
        headers = {k.decode(): v.decode() for k, v in ws.scope["headers"]}
        query_params = ws.scope["query_string"].decode()
        room_id = ws.scope["path_params"].get("room_id")
        await ws.send_json(
            {"ip": client_ip, "port": client_port, "headers": headers, "query": query_params, "room_id": room_id}
        )

    app.ws_route("/info")(info_websocket)
    app.ws_route("/rooms/{room_id}")(info_websocket)
    target = f"{path}?a=1&b=2"
    async with (
        run_app(app),
        connect(app, target, client=("192.0.2.1", 4711), headers={"x-name": "ada"}) as client,
    ):
        told = await client.receive_json()
    assert told["headers"]["x-name"] == "ada"
    assert [told[key] for key in ("ip", "port", "query", "room_id")] == ["192.0.2.1", 4711, "a=1&b=2", room]


@covers("002 second part: errors answered")
async def test_errors_are_answered(app, capsys):
    @app.ws_route("/safe")
    async def safe_websocket(ws: WebSocket):
        await ws.accept()
        try:
            while True:
                try:
                    data = await ws.receive_json()
                    if data == "explode":
                        raise OSError("boom")
                    await ws.send_json({"status": "success", "data": data})
                except json.JSONDecodeError:
                    await ws.send_json({"status": "error", "message": "not JSON"})
                except ValueError as ve:
                    await ws.send_json({"status": "error", "message": str(ve)})
        except WebSocketDisconnect as e:
            print(f"{e.code}: {e.reason}")
        except Exception as e:
            print(f"unexpected: {e}")
            await ws.close(code=1011)

    async with run_app(app), connect(app, "/safe", server="direct") as client:
        for sent in ("{", "[]"):
            await client.send_text(sent)
        assert await client.receive_json() == {"status": "error", "message": "not JSON"}
        assert await client.receive_json() == {"status": "success", "data": []}
        await client.close(4002, "bye")
    async with run_app(app), connect(app, "/safe") as client:
        await client.send_json("explode")
        assert await client.receive_close() == (1011, "")
    assert capsys.readouterr().out == "4002: bye\nunexpected: boom\n"
