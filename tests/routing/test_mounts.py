"""What a mounted application is called with: paths and roots as ASGI has them, whatever stands in front."""

from typing import Any

import pytest
from starlette.staticfiles import StaticFiles

from nexios_trio import NexiosApp, Router
from nexios_trio.exceptions import LifecycleError
from nexios_trio.routing.mounts import MountedRow
from tests.asgi import connect, lifespan, request


class Seen:
    """An ASGI application that keeps its scopes and answers with its name."""

    def __init__(self, name: str = "seen") -> None:
        self.name = name
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": self.name})
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": self.name.encode()})
        else:
            raise ValueError(scope["type"])

    @property
    def last(self) -> tuple[str, str, bytes | None]:
        scope = self.scopes[-1]
        return scope["root_path"], scope["path"], scope.get("raw_path")


def mounted(path: str, inner: Any) -> NexiosApp:
    app = NexiosApp()
    app.mount(path, inner)
    return app


async def body(app: NexiosApp, target: str, **more: Any) -> str:
    return (await request(app, target, **more)).body.decode()


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("/api", "/api/items/1", ("/api", "/api/items/1", b"/api/items/1")),
        ("/api", "/api/", ("/api", "/api/", b"/api/")),
        ("/api", "/api", ("/api", "/api", b"/api")),
        ("/api/", "/api/x", ("/api", "/api/x", b"/api/x")),
        ("/", "/x", ("", "/x", b"/x")),
        ("", "/", ("", "/", b"/")),
        ("/a b", "/a%20b/c%2Fd", ("/a b", "/a b/c/d", b"/a%20b/c%2Fd")),
        ("/t/{tenant}", "/t/x%2Fy/z", ("/t/x/y", "/t/x/y/z", b"/t/x%2Fy/z")),
    ],
)
async def test_its_root_is_where_it_is_mounted(path: str, target: str, expected: Any) -> None:
    seen = Seen()
    app = mounted(path, seen)
    assert await body(app, target) == "seen"
    assert seen.last == expected
    async with connect(app, target) as client:
        await client.accepted()
        assert await client.text() == "seen"
    assert seen.last == expected


@pytest.mark.parametrize("target", ["/", "/apis", "/ap", "/other/api", "/api%2Fx"])
async def test_what_is_beside_it_is_not_its(target: str) -> None:
    app = mounted("/api", Seen())
    assert (await request(app, target=target)).status == 404
    async with connect(app, target) as client:
        assert await client.denied() == 404


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [("/chat/api/x", b"/chat/api/x"), ("/api/x", b"/api/x")],
    ids=["a server as ASGI has it", "behind a proxy that cuts the prefix off"],
)
async def test_below_a_root_of_the_server(path: str, raw_path: bytes) -> None:
    seen = Seen()
    await body(mounted("/api", seen), "/", path=path, raw_path=raw_path, root_path="/chat")
    assert seen.last == ("/chat/api", "/chat/api/x", b"/chat/api/x")


async def test_the_first_that_matches_wins() -> None:
    app = NexiosApp()

    @app.get("/x")
    async def own(req: Any, res: Any) -> str:
        return "own"

    app.mount("/", Seen())
    app.mount("/late", Seen("too late"))
    assert await body(app, "/x") == "own"
    assert await body(app, "/x", method="POST") == "seen"
    assert await body(app, "/late") == "seen"


async def test_parameters_are_in_its_scope() -> None:
    seen = Seen()
    router = Router(prefix="/rooms/{room}")
    router.mount("/{number:int}", seen)
    app = NexiosApp(routes=[router])
    await body(app, "/rooms/tea/7/x")
    async with connect(app, "/rooms/tea/7") as client:
        await client.accepted()
    assert [scope["path_params"] for scope in seen.scopes] == [{"room": "tea", "number": 7}] * 2
    assert (await request(app, target="/rooms/tea/seven")).status == 404
    with pytest.raises(ValueError, match="'room' comes twice"):
        router.mount("/{room}", seen)


async def test_head_and_errors_are_answered_as_our_own(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("no table")

    app = mounted("/", fails)
    answer = await request(app)
    assert (answer.status, answer.json()) == (500, {"error": "Internal Server Error", "status": 500})
    assert "no table" in caplog.text
    assert (await request(mounted("/", Seen()), method="HEAD")).body == b""


async def test_our_server_s_transport_is_not_handed_on() -> None:
    seen = Seen()
    extensions = {"nexios_trio.transport": {}, "tls": {"version": 1}}
    async with connect(mounted("/", seen), extensions=extensions) as client:
        await client.accepted()
    assert seen.scopes[-1]["extensions"] == {"tls": {"version": 1}, "websocket.http.response": {}}
    assert "app" not in seen.scopes[-1]


class Own:
    def __init__(self, app: Any) -> None: ...


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (Own, "give an instance of Own, not the class"),
        (StaticFiles, "give an instance of StaticFiles"),
        (7, "called with scope, receive and send, not 7"),
        (lambda websocket: None, "does not take them"),
        (Router("/x"), r"mount_router\(router\), or mount_ws_router\(router, '/p'\)"),
    ],
)
def test_what_is_no_application(app: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        NexiosApp().mount("/p", app)


def test_a_path_that_is_none() -> None:
    with pytest.raises(ValueError, match="begins with a slash"):
        NexiosApp().mount("api", Seen())
    with pytest.raises(TypeError, match="a str such as"):
        NexiosApp().mount(Seen(), "/api")  # type: ignore[arg-type]


def test_no_application_is_mounted_inside_itself() -> None:
    outer, inner, router = NexiosApp(), NexiosApp(), Router("/r")
    router.mount("/x", inner)
    outer.mount_router(router)
    for mount in (lambda: outer.mount("/", outer), lambda: inner.mount("/", outer), lambda: router.mount("/y", outer)):
        with pytest.raises(ValueError, match="inside itself"):
            mount()


async def test_what_has_to_start_is_mounted_before_we_start() -> None:
    app, router = NexiosApp(), Router("/r")
    app.mount_router(router)
    late = Router("/late")
    late.mount("/", Seen())
    async with lifespan(app):
        for mount in (
            lambda: app.mount("/x", Seen()),
            lambda: router.mount("/x", Seen()),
            lambda: app.mount_router(late),
        ):
            with pytest.raises(LifecycleError, match="before it starts"):
                mount()
        app.mount("/static", StaticFiles(directory="docs"))
        assert (await request(app, target="/static/conf.py")).status == 200
    assert len(app._entries) == 2


def test_it_is_found_like_a_route() -> None:
    app = mounted("/api", Seen())
    [(row, params)] = app.find_http("/api/x")
    assert isinstance(row, MountedRow)
    assert (row.path, params) == ("/api", {})
