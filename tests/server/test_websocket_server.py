"""WebSockets on the server's own sockets: their scope, their frames, and what an application may do with them."""

import pytest
import trio
import trio_websocket
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from tests.server.support import (
    DEADLINE,
    Raw,
    ask,
    config,
    frame,
    make_app,
    running,
    settings,
    upgrade,
    websocket,
)


async def test_http_and_websockets_share_an_address():
    async with running(make_app()) as server:
        assert (await server.get()).endswith(b"\r\n\r\nhello")
        async with websocket(server.port) as client:
            assert await ask(client, "one") == "one"
            assert await ask(client, b"two") == b"two"


async def test_frames_behind_the_handshake_are_not_lost():
    async with running(make_app()) as server, await server.connect() as client:
        await client.send(upgrade() + frame(1, b"early"))
        await client.until(b"\r\n\r\n")
        assert await client.frame() == (1, b"early")


async def test_the_root_path_and_the_lifespans_state_reach_every_scope():
    seen = {}

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"]["database"] = "open"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen[scope["type"]] = scope["root_path"], scope["state"]
        scope["state"]["mine"] = "alone"
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

    async with running(app, config(root_path="/chat")) as server:
        await server.get()
        await server.request(upgrade())
        await server.request(upgrade())
    expected = ("/chat", {"database": "open", "mine": "alone"})
    assert seen == {"http": expected, "websocket": expected}


async def test_a_starlette_application_with_websockets():
    async def talk(ws):
        await ws.accept("chat", headers=[(b"x-one", b"1")])
        async for text in ws.iter_text():
            await ws.send_json({"you": text})

    async def refuse(ws):
        await ws.close()

    routes = [
        Route("/", lambda request: PlainTextResponse("starlette")),
        WebSocketRoute("/talk", talk),
        WebSocketRoute("/refuse", refuse),
    ]
    async with running(Starlette(routes=routes)) as server:
        assert (await server.get()).endswith(b"starlette")
        async with websocket(server.port, "/talk", subprotocols=["chat"]) as client:
            assert client.subprotocol == "chat"
            assert await ask(client, "x") == '{"you":"x"}'
        assert (await server.request(upgrade("/refuse"))).startswith(b"HTTP/1.1 403")
        assert (await server.request(upgrade("/nowhere"))).startswith(b"HTTP/1.1 403")


async def test_close_codes_go_both_ways_to_any_application():
    seen = []

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        if message["type"] == "websocket.disconnect":
            seen.append((message["code"], message["reason"]))
            with pytest.raises(OSError, match="over"):
                await send({"type": "websocket.send", "text": "too late"})
        else:
            await send({"type": "websocket.close", "code": 4002, "reason": "enough"})

    async with running(app) as server:
        async with websocket(server.port) as client:
            await client.aclose(4001, "bye")
        async with websocket(server.port) as client:
            with pytest.raises(trio_websocket.ConnectionClosed) as closed:
                await ask(client)
            assert (closed.value.reason.code, closed.value.reason.reason) == (4002, "enough")
    assert seen == [(4001, "bye")]


async def test_a_handler_is_told_the_latency():
    app = make_app(settings=settings(ping_interval=0.01))
    seen = []

    @app.ws_route("/latency")
    async def latency(ws):
        await ws.accept()
        seen.append(ws.latency)
        with trio.fail_after(DEADLINE):
            while ws.latency is None:
                await trio.sleep(0.001)
        seen.append(ws.latency)
        await ws.send_text("measured")

    async with running(app, None, app.settings) as server, websocket(server.port, "/latency") as client:
        with trio.fail_after(DEADLINE):
            assert await client.get_message() == "measured"
    assert seen[0] is None
    assert 0 < seen[1] < DEADLINE


async def test_an_application_that_fails_costs_its_own_connection(caplog):
    async def app(scope, receive, send):
        if scope["path"] == "/exit":
            raise SystemExit(1)
        if scope["path"] == "/fail":
            raise RuntimeError("a bug")
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        await receive()

    async with running(app) as server, websocket(server.port) as innocent:
        assert (await server.request(upgrade("/fail"))).startswith(b"HTTP/1.1 500")
        assert (await server.request(upgrade("/exit"))).startswith(b"HTTP/1.1 500")
        await server.get("/exit")
        assert await ask(innocent) == "are you there?"
    assert caplog.text.count("the application failed") == 2


async def test_only_the_named_hosts_are_served():
    async with running(make_app(), config(server_names=["localhost"])) as server:
        assert (await server.request(upgrade().replace(b"localhost", b"other"))).startswith(b"HTTP/1.1 404")
        assert (await server.request(upgrade().replace(b"localhost", b"\xff"))).startswith(b"HTTP/1.1 400")
        async with await server.connect() as client:
            assert (await client.handshake()).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(("trusted", "is_believed"), [("127.0.0.1", True), ("10.0.0.1", False), ("unix", False)])
async def test_websockets_and_requests_see_the_same_client(trusted, is_believed, tmp_path):
    app = make_app()

    @app.ws_route("/client")
    async def client(ws):
        await ws.accept()
        await ws.send_json([ws.client.host, ws.url.scheme, ws.url.hostname])

    path = str(tmp_path / "server.sock")
    headers = ("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: chat.example.com")
    server_config = config(bind=["127.0.0.1:0", f"unix:{path}"])
    async with running(app, server_config, settings(trusted_proxies=trusted)) as server:
        async with await server.connect() as raw:
            await raw.handshake("/client", *headers)
            told = b'["198.51.100.7","wss","chat.example.com"]' if is_believed else b'["127.0.0.1","ws","localhost"]'
            assert await raw.frame() == (1, told)
        http = await server.get("/client", *headers)
        assert http.endswith(b'["198.51.100.7","https"]' if is_believed else b'["127.0.0.1","http"]')
        async with Raw(await trio.open_unix_socket(path)) as raw:
            await raw.handshake("/client", *headers)
            assert await raw.frame() == (1, b'["198.51.100.7","wss","chat.example.com"]')


async def test_the_host_that_a_trusted_proxy_says_is_the_origins():
    headers = ("Origin: https://chat.example.com", "X-Forwarded-Host: chat.example.com")
    for trusted, status in (("127.0.0.1", b"101"), ("10.0.0.1", b"403")):
        app = make_app(settings=settings(trusted_proxies=trusted))
        async with running(app, None, app.settings) as server, await server.connect() as client:
            assert (await client.handshake("/echo", *headers)).startswith(b"HTTP/1.1 " + status)
