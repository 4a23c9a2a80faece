"""Handlers of every kind get the WebSocket first and the path's parameters by name; mistakes show at once."""

import functools
import inspect
from typing import Any

import pytest

from nexios_trio.routing.binding import BoundHandler

PARAMS = {"room": "a", "id": 7}


async def call(handler: Any, params: dict[str, Any] = PARAMS) -> Any:
    return await BoundHandler(handler, ("websocket",))("WS", params=params)


class Callable:
    def __init__(self, tag: str = "new") -> None:
        self.tag = tag

    async def __call__(self, websocket: Any, id: int = 0) -> Any:
        return self.tag, websocket, id

    async def method(self, websocket: Any, room: str) -> Any:
        return self.tag, websocket, room

    @staticmethod
    async def static(websocket: Any, room: str) -> Any:
        return websocket, room


async def test_only_the_websocket() -> None:
    async def handler(any_name_at_all: Any) -> Any:
        return any_name_at_all

    assert await call(handler) == "WS"
    assert await call(handler, {}) == "WS"


async def test_by_name() -> None:
    async def handler(ws: Any, id: int, *, room: str) -> Any:
        return ws, id, room

    assert await call(handler) == ("WS", 7, "a")


async def test_by_position() -> None:
    async def handler(ws: Any, room: str, extra: int = 1, /) -> Any:
        return ws, room, extra

    assert await call(handler) == ("WS", "a", 1)


async def test_kwargs_get_all_that_is_left() -> None:
    async def handler(ws: Any, id: int, **rest: Any) -> Any:
        return ws, id, rest

    assert await call(handler) == ("WS", 7, {"room": "a"})
    assert await call(handler, {"id": 1, "ws": 2}) == ("WS", 1, {})


async def test_kwargs_alone_get_all() -> None:
    async def handler(ws: Any, **params: Any) -> Any:
        return params

    assert await call(handler) == PARAMS


async def test_defaults_stand_in() -> None:
    async def handler(ws: Any, room: str = "lobby", other: str = "x") -> Any:
        return room, other

    assert await call(handler) == ("a", "x")
    assert await call(handler, {}) == ("lobby", "x")


async def test_variadic() -> None:
    async def handler(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    assert await call(handler) == (("WS",), PARAMS)


async def test_partial() -> None:
    async def handler(db: Any, ws: Any, room: str, *, limit: int) -> Any:
        return db, ws, room, limit

    assert await call(functools.partial(handler, "DB", limit=3)) == ("DB", "WS", "a", 3)


async def test_methods() -> None:
    assert await call(Callable("m").method) == ("m", "WS", "a")
    assert await call(Callable.static) == ("WS", "a")


async def test_an_object_with_an_async_call() -> None:
    assert await call(Callable("o")) == ("o", "WS", 7)


async def test_a_class_is_instantiated_for_each_call() -> None:
    seen = []

    class Handler:
        async def __call__(self, websocket: Any) -> None:
            seen.append(self)

    bound = BoundHandler(Handler, ("websocket",))
    await bound("WS", params={})
    await bound("WS", params=PARAMS)
    assert len(set(map(id, seen))) == 2
    assert await call(Callable) == ("new", "WS", 7)


async def test_a_decorated_handler() -> None:
    async def handler(ws: Any, room: str) -> Any:
        return ws, room

    @functools.wraps(handler)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return handler(*args, **kwargs)

    assert await call(decorated) == ("WS", "a")


def plain(ws: Any) -> None: ...


async def no_parameter() -> None: ...


async def only_keywords(*, ws: Any) -> None: ...


async def yields(ws: Any) -> Any:
    yield ws


class PlainCall:
    def __call__(self, ws: Any) -> None: ...


class NeedsArguments:
    def __init__(self, db: Any) -> None: ...

    async def __call__(self, ws: Any) -> None: ...


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (plain, "plain is not async: declare it with `async def`"),
        (functools.partial(plain), "plain is not async"),
        (yields, "yields is not async"),
        (no_parameter, "takes no websocket"),
        (only_keywords, "takes no websocket"),
        (PlainCall(), "PlainCall is not async"),
        (PlainCall, "has no `async def __call__"),
        (NeedsArguments, r"needs db: register NeedsArguments.as_route\(path, db=...\) or an instance"),
        ("a str", "a handler is an async function.* not 'a str'"),
        (None, "a handler is"),
    ],
)
def test_what_cannot_be_a_handler_is_refused(handler: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        BoundHandler(handler, ("websocket",))


def test_a_parameter_without_a_value_is_named() -> None:
    async def handler(ws: Any, room: str, user: str, page: int = 1, *rest: Any, **more: Any) -> None: ...

    bound = BoundHandler(handler, ("websocket",))
    assert bound.required == {"room", "user"}
    bound.check({"room", "user", "page"}, "/{room}/{user}/{page}")
    with pytest.raises(TypeError, match=r"handler has the parameter user.* '/\{room\}' .*it has: room"):
        bound.check({"room"}, "/{room}")


def test_the_signature_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(ws: Any, room: str) -> None: ...

    bound = BoundHandler(handler, ("websocket",))
    monkeypatch.setattr(inspect, "signature", None)
    coroutine = bound("WS", params=PARAMS)
    assert inspect.iscoroutine(coroutine)
    coroutine.close()
