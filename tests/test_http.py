"""HTTP handlers `(req, res)`."""

import asyncio
import logging
from decimal import Decimal
from typing import Any

import orjson
import pytest
import trio
from starlette.responses import PlainTextResponse, StreamingResponse

from nexios_trio.application import NexiosApp
from nexios_trio.config.settings import Settings
from nexios_trio.http import HTTPException, Request, Response
from nexios_trio.websockets import ChannelBox
from tests.asgi import Answer, request


async def answer_with(handler: Any, target: str = "/", method: str = "GET", **options: Any) -> Answer:
    app = NexiosApp(settings=options.pop("settings", Settings()))
    getattr(app, method.lower().replace("head", "get"))("/")(handler)
    return await request(app, target, method, **options)


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
async def test_methods_return_the_handler(method: str) -> None:
    app = NexiosApp()

    async def handler(req: Any, res: Any) -> Any:
        return {"method": req.method}

    assert getattr(app, method)("/")(handler) is handler
    assert (await request(app, "/", method.upper())).json() == {"method": method.upper()}


async def test_what_a_request_has() -> None:
    async def handler(req: Request, res: Response) -> Any:
        return res.json(
            {
                "method": req.method,
                "url": str(req.url),
                "header": req.headers["X-One"],
                "query": [req.query_params["a"], req.query_params.getlist("a")],
                "params": req.path_params,
                "client": req.client.host if req.client else None,
                "body": (await req.body()).decode(),
                "text": await req.text(),
                "json": await req.json(),
                "app": req.app.title,
            }
        )

    app = NexiosApp(title="t")
    app.put("/x/{n:int}")(handler_with_n := _ignoring_params(handler))
    assert handler_with_n
    answer = await request(app, "/x/3?a=1&a=2", "PUT", body=b'{"k": 1}', headers=[(b"x-one", b"1")])
    assert answer.json() == {
        "method": "PUT",
        "url": "http://example.com/x/3?a=1&a=2",
        "header": "1",
        "query": ["2", ["1", "2"]],
        "params": {"n": 3},
        "client": "192.0.2.7",
        "body": '{"k": 1}',
        "text": '{"k": 1}',
        "json": {"k": 1},
        "app": "t",
    }


def _ignoring_params(handler: Any) -> Any:
    async def with_n(req: Any, res: Any, n: int) -> Any:
        assert n == req.path_params["n"]
        return await handler(req, res)

    return with_n


JSON, TEXT, HTML = "application/json", "text/plain; charset=utf-8", "text/html; charset=utf-8"


async def _none(res: Response) -> Any:
    res.html("<p>ü")


@pytest.mark.parametrize(
    ("give", "status", "content_type", "body"),
    [
        (lambda res: res.json({"a": [1, "ü"]}), 200, JSON, '{"a":[1,"ü"]}'.encode()),
        (lambda res: res.json([], 202), 202, JSON, b"[]"),
        (lambda res: res.text("ü"), 200, TEXT, "ü".encode()),
        (lambda res: res.html("<p>"), 200, HTML, b"<p>"),
        (lambda res: res.status(404).json({}), 404, JSON, b"{}"),
        (lambda res: res.json({}).status(201), 201, JSON, b"{}"),
        (lambda res: res.text("first").json("second"), 200, JSON, b'"second"'),
        (lambda res: {"a": 1}, 200, JSON, b'{"a":1}'),
        (lambda res: [1, 2], 200, JSON, b"[1,2]"),
        (lambda res: "text", 200, TEXT, b"text"),
        (lambda res: b"\0\1", 200, "application/octet-stream", b"\0\1"),
        (lambda res: PlainTextResponse("own", 203), 203, TEXT, b"own"),
        (_none, 200, HTML, "<p>ü".encode()),
        (lambda res: None, 200, None, b""),
    ],
)
async def test_what_a_handler_may_give(give: Any, status: int, content_type: str | None, body: bytes) -> None:
    async def handler(req: Any, res: Any) -> Any:
        given = give(res)
        return await given if hasattr(given, "__await__") else given

    answer = await answer_with(handler)
    assert (answer.status, answer.headers.get("content-type"), answer.body) == (status, content_type, body)
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("through_res", [True, False])
async def test_an_encoder_hook_makes_json_of_what_is_none(through_res: bool) -> None:
    async def handler(req: Any, res: Any) -> Any:
        data = {"price": Decimal("1.10")}
        return res.json(data) if through_res else data

    assert (await answer_with(handler, settings=Settings(json_default=str))).json() == {"price": "1.10"}


async def test_headers_and_cookies_of_the_response() -> None:
    async def handler(req: Any, res: Any) -> Any:
        res.headers["X-One"] = "1"
        res.set_cookie("c", "v", httponly=True)
        res.status(201)
        return {"made": True}

    answer = await answer_with(handler)
    assert (answer.status, answer.headers["x-one"]) == (201, "1")
    assert answer.headers["set-cookie"].startswith("c=v; HttpOnly")


async def test_no_content_has_no_content() -> None:
    async def handler(req: Any, res: Any) -> Any:
        return res.json({}).status(204)

    answer = await answer_with(handler)
    assert (answer.status, answer.body, "content-length" in answer.headers) == (204, b"", False)


@pytest.mark.parametrize("status", [99, 199, 600])
def test_a_status_that_is_none(status: int) -> None:
    with pytest.raises(ValueError, match="200 to 599"):
        Response().status(status)


async def test_head_goes_to_get_and_has_no_body() -> None:
    async def handler(req: Any, res: Any) -> Any:
        return f"body of {req.method}"

    answer = await answer_with(handler, method="HEAD")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "12")


async def test_not_found_is_json() -> None:
    answer = await request(NexiosApp(), "/nowhere")
    assert (answer.status, answer.json()) == (404, {"error": "Not Found", "status": 404})


async def test_method_not_allowed_is_json_and_says_what_is() -> None:
    app = NexiosApp()

    async def handler(req: Any, res: Any) -> None: ...

    app.get("/")(handler)
    app.post("/")(handler)
    answer = await request(app, "/", "DELETE")
    assert (answer.status, answer.json()) == (405, {"error": "Method Not Allowed", "status": 405})
    assert answer.headers["allow"] == "GET, HEAD, POST"
    app.delete("/")(handler)
    assert (await request(app, "/", "DELETE")).status == 200


@pytest.mark.parametrize("target", ["/a/../b", "/%00", "//a", "http://example.com/", "/a%0d%0ab"])
async def test_hostile_paths(target: str) -> None:
    answer = await request(NexiosApp(), target)
    assert (answer.status, answer.json()["status"]) == (400, 400)


async def failing(req: Any, res: Any) -> None:
    raise LookupError("a secret")


async def test_an_error_is_logged_once_and_answered_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    answer = await answer_with(failing)
    assert (answer.status, answer.json()) == (500, {"error": "Internal Server Error", "status": 500})
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


async def test_who_uses_asyncio_is_told_what_to_change(caplog: pytest.LogCaptureFixture) -> None:
    async def sleepy(req: Any, res: Any) -> None:
        await asyncio.sleep(1)

    assert (await answer_with(sleepy)).status == 500
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is not None
    assert "trio.sleep for asyncio.sleep" in record.exc_info[1].__notes__[0]


async def test_debug_shows_the_traceback() -> None:
    answer = await answer_with(failing, settings=Settings(debug=True))
    assert answer.status == 500
    assert "LookupError: a secret" in answer.json()["traceback"]


async def test_what_cannot_be_sent_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def number(req: Any, res: Any) -> Any:
        return 7

    async def not_json(req: Any, res: Any) -> Any:
        return {"x": float("nan")}

    assert (await answer_with(number)).status == (await answer_with(not_json)).status == 500
    texts = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert texts[0].startswith("an HTTP handler returns a response")
    assert "finite" in texts[1]


async def test_an_http_exception_is_its_own_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(req: Any, res: Any) -> None:
        raise HTTPException(401, "who are you?", {"www-authenticate": "Bearer"})

    answer = await answer_with(handler)
    assert (answer.status, answer.json()) == (401, {"error": "who are you?", "status": 401})
    assert answer.headers["www-authenticate"] == "Bearer"
    assert not caplog.records


@pytest.mark.parametrize(("read", "body"), [("json", b"{"), ("json", b"\xff"), ("text", b"\xff")])
async def test_a_bad_body_is_the_clients_fault(read: str, body: bytes) -> None:
    async def handler(req: Any, res: Any) -> Any:
        return await getattr(req, read)()

    assert (await answer_with(handler, method="POST", body=body)).status == 400


async def test_bad_json_can_be_handled() -> None:
    async def handler(req: Any, res: Any) -> Any:
        try:
            return await req.json()
        except ValueError:
            return "never mind"

    assert (await answer_with(handler, method="POST", body=b"{")).body == b"never mind"


async def test_a_body_is_bounded() -> None:
    async def handler(req: Any, res: Any) -> Any:
        return str(len(await req.body()))

    settings = Settings(max_body_size=10)
    assert (await answer_with(handler, method="POST", body=b"x" * 10, settings=settings)).body == b"10"
    assert (await answer_with(handler, method="POST", body=b"x" * 11, settings=settings)).status == 413


async def test_a_body_that_is_announced_as_too_big_is_not_waited_for() -> None:
    read: list[str] = []

    async def handler(req: Any, res: Any) -> Any:
        await req.body()
        read.append("all of it")

    for length in (b"11", b"9" * 19):
        headers = [(b"content-length", length)]
        options = {"headers": headers, "settings": Settings(max_body_size=10)}
        assert (await answer_with(handler, method="POST", body=b"x", **options)).status == 413
    assert read == []


async def test_a_body_that_does_not_come(autojump_clock: Any) -> None:
    async def handler(req: Any, res: Any) -> Any:
        await trio.sleep(100)  # time that the handler takes is its own
        await req.body()
        with trio.fail_after(60):
            await req.receive()

    app = NexiosApp(settings=Settings(handshake_timeout=3))
    app.post("/")(handler)
    events: list[Any] = []
    incoming = [{"type": "http.request", "body": b"x", "more_body": True}]

    async def receive() -> Any:
        if incoming:
            return incoming.pop(0)
        return await trio.sleep_forever()

    async def send(event: Any) -> None:
        events.append(event)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    start = trio.current_time()
    await app(scope, receive, send)
    assert events[0]["status"] == 408
    assert trio.current_time() - start == pytest.approx(103)


async def test_a_client_that_leaves(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(req: Any, res: Any) -> Any:
        await req.body()

    app = NexiosApp()
    app.post("/")(handler)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with caplog.at_level(logging.INFO):
        await app({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, trio.sleep)
    assert not caplog.records


async def test_an_error_after_the_response_has_begun_goes_to_the_server() -> None:
    async def stream() -> Any:
        yield b"some"
        raise LookupError("too late")

    async def handler(req: Any, res: Any) -> Any:
        return StreamingResponse(stream())

    with pytest.raises((LookupError, ExceptionGroup)):
        await answer_with(handler)


async def test_handlers_see_their_applications_box() -> None:
    app = NexiosApp()

    @app.get("/")
    async def handler(req: Any, res: Any) -> Any:
        return {"own": await ChannelBox.show_groups() == await req.app.box.show_groups()}

    with trio.fail_after(1):
        assert orjson.loads((await request(app)).body) == {"own": True}


async def test_own_responses_are_not_touched_by_defaults() -> None:
    async def handler(req: Any, res: Any) -> Any:
        res.headers["x-ignored"] = "1"
        return Response().text("other")

    assert "x-ignored" not in (await answer_with(handler)).headers


async def test_a_request_for_a_websocket_s_path_is_told_apart_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A proxy that does not pass Upgrade on makes a 404 of every handshake."""
    caplog.set_level(logging.INFO, "nexios_trio.http")
    app = NexiosApp()

    @app.ws_route("/ws/{room}")
    async def chat(ws: Any, room: str) -> None:
        await ws.accept()

    assert [(await request(app, path)).status for path in ("/nowhere", "/ws/tea")] == [404, 404]
    [record] = caplog.records
    assert "proxy_set_header Upgrade $http_upgrade" in record.getMessage()
    assert vars(record)["path"] == "/ws/tea"
