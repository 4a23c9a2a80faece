"""One connection: handshake, messages, close."""

from typing import Any

from nexios_trio.routing import Router
from nexios_trio.websockets import WebSocket, WebSocketDisconnect, WebSocketException
from tests.contract.routes.reports import board, outcome

router = Router(prefix="/connection")


# Handshake


@router.ws_route("/accept")
async def accept(ws: WebSocket) -> None:
    await ws.accept((ws.subprotocols or [None])[-1], {"x-extra": "1"})
    await ws.send_json(ws.subprotocols)


@router.ws_route("/accept-wrongly")
async def accept_wrongly(ws: WebSocket) -> None:
    outcomes = [
        await outcome(ws.receive_text()),
        await outcome(ws.send_text("too early")),
        await outcome(ws.accept("unoffered")),
        await outcome(ws.accept(headers={"x-bad": "a\r\nb"})),
        await outcome(ws.accept(headers={"sec-websocket-accept": "x"})),
        ws.is_connected(),
        await outcome(ws.accept()),
        ws.is_connected(),
        await outcome(ws.accept()),
    ]
    await ws.send_json(outcomes)


@router.ws_route("/deny")
async def deny(ws: WebSocket) -> None:
    await ws.deny(429, {"retry-after": "7"}, b"slow down")


@router.ws_route("/return-at-once")
async def return_at_once(ws: WebSocket) -> None:
    pass


@router.ws_route("/fail-at-once")
async def fail_at_once(ws: WebSocket) -> None:
    raise LookupError("secret")


@router.ws_route("/close-at-once")
async def close_at_once(ws: WebSocket) -> None:
    await ws.close(4001)


@router.ws_route("/reject")
async def reject(ws: WebSocket) -> None:
    await ws.reject(4001, "who are you?")


@router.ws_route("/facts/{word}/{number:int}/{ratio:float}/{rest:path}")
async def facts(websocket: WebSocket, number: int, **params: Any) -> None:
    await websocket.accept()
    scope = websocket.scope
    await websocket.send_json(
        {
            "params": params,
            "number": number,
            "path_params": websocket.path_params,
            "same": scope["path_params"] == scope["route_params"] == websocket.path_params,
            "query": [websocket.query_params["q"], websocket.query_params.getlist("q")],
            "header": websocket.headers["x-name"],
            "cookie": websocket.cookies["c"],
            "user": websocket.user,
            "client": websocket.client is not None and websocket.client.host,
            "state": websocket.client_state.name,
        }
    )


@router.ws_route("/lane")
async def lane(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text(ws._session.transport.name)


# Messages


@router.ws_route("/echo")
async def echo(ws: WebSocket) -> None:
    await ws.accept()
    async for message in ws:
        await (ws.send_text(message) if isinstance(message, str) else ws.send_bytes(message))


@router.ws_route("/events")
async def events(ws: WebSocket) -> None:
    await ws.accept()
    while (event := await ws.receive())["type"] == "websocket.receive":
        await ws.send_json({key: value.hex() if isinstance(value, bytes) else value for key, value in event.items()})


@router.ws_route("/receive/{kind}")
async def receive(ws: WebSocket, kind: str) -> None:
    """Tells what each message is to `receive_KIND`; goes on whatever that raises."""
    await ws.accept()
    function = getattr(ws, f"receive_{kind}")
    while ws.is_connected():
        got = await outcome(function())
        if got != "WebSocketDisconnect":
            await ws.send_json({"got": got.hex() if isinstance(got, bytes) else got})


@router.ws_route("/iterate/{kind}/{key}")
async def iterate(ws: WebSocket, kind: str, key: str) -> None:
    await ws.accept()
    async for item in getattr(ws, f"iter_{kind}")():
        board.post(key, item.hex() if isinstance(item, bytes) else item)
    board.post(key, "the end")


@router.ws_route("/send")
async def send(ws: WebSocket) -> None:
    await ws.accept()
    await ws.send_text("text é")
    await ws.send_bytes(b"\x00bytes")
    await ws.send_json({"a": [1, None, "é"]})
    await ws.send_json([True], mode="binary")


@router.ws_route("/send-wrongly")
async def send_wrongly(ws: WebSocket) -> None:
    await ws.accept()
    wrong: Any = object()
    outcomes = [
        await outcome(ws.send_json(float("nan"))),
        await outcome(ws.send_json({"x": float("inf")})),
        await outcome(ws.send_json("\ud800")),
        await outcome(ws.send_text("\udfff")),
        await outcome(ws.send_text(wrong)),
        await outcome(ws.send_bytes(wrong)),
    ]
    await ws.send_json(outcomes)


@router.ws_route("/many/{count:int}")
async def many(ws: WebSocket, count: int) -> None:
    await ws.accept()
    for number in range(count):
        await ws.send_text(str(number))


# The end


@router.ws_route("/return")
async def return_after_accept(ws: WebSocket) -> None:
    await ws.accept()


@router.ws_route("/close/{code:int}")
async def close(ws: WebSocket, code: int) -> None:
    await ws.accept()
    await ws.send_text("last words")
    await ws.close(code, ws.query_params.get("reason"))


@router.ws_route("/close-wrongly")
async def close_wrongly(ws: WebSocket) -> None:
    await ws.accept()
    codes = (0, 999, 1004, 1005, 1006, 1015, 2000, 2999, 5000)
    outcomes = [await outcome(ws.close(code)) for code in codes]
    await ws.send_json([*outcomes, await outcome(ws.close(1000, "é" * 62)), ws.is_connected()])


@router.ws_route("/close-twice/{key}")
async def close_twice(ws: WebSocket, key: str) -> None:
    await ws.accept()
    await ws.close(4005, "once")
    board.post(
        key,
        [
            await outcome(ws.close(4006, "twice")),
            ws.is_connected(),
            await outcome(ws.send_text("late")),
            await outcome(ws.send_bytes(b"late")),
            await outcome(ws.send_json("late")),
        ],
    )


@router.ws_route("/fail/{how}")
async def fail(ws: WebSocket, how: str) -> None:
    await ws.accept()
    match how:
        case "error":
            raise LookupError("secret")
        case "exception":
            raise WebSocketException(4009, "é" * 100)
        case "disconnect":
            raise WebSocketDisconnect(4000)
        case "one-in-a-group":
            raise ExceptionGroup("", [WebSocketException(4010, "inner")])
        case _:
            raise ExceptionGroup("", [WebSocketException(4010, "a"), WebSocketException(4011, "b")])


@router.ws_route("/watch/{key}")
async def watch(ws: WebSocket, key: str) -> None:
    """Notes all that can be seen of a peer that leaves."""
    await ws.accept()
    await ws.send_text(await ws.receive_text())
    event = await ws.receive()
    try:
        await ws.receive()
    except WebSocketDisconnect as error:
        board.post(key, [event["type"], event["code"], error.code, error.reason, bool(str(error))])
    board.post(
        key,
        [
            await outcome(ws.receive_json()),
            await outcome(ws.send_text("late")),
            await outcome(ws.close()),
            ws.is_connected(),
            ws.client_state.name,
        ],
    )


@router.ws_route("/background/{key}")
async def background(ws: WebSocket, key: str) -> None:
    """A task of the connection's own sends too; it ends with the connection."""

    async def push() -> None:
        try:
            await ws.send_text("from a task")
            await ws.receive()
        finally:
            board.post(key, "the task has ended")

    await ws.accept()
    ws.start_soon(push)
    await board.read(f"{key}-go")


@router.ws_route("/go/{key}")
async def go(ws: WebSocket, key: str) -> None:
    await ws.accept()
    board.post(f"{key}-go", None)
