"""What people name in place of their application."""

import types

import pytest
from starlette.endpoints import HTTPEndpoint

from nexios_trio import NexiosApp, Router, WebSocket, WebSocketConsumer
from nexios_trio.server.app_mistakes import describe_mistake

here = types.ModuleType("here")
inner = Router("/inner")


@inner.get("/{room}")
async def page(one, other):
    """A handler that only its route tells from an application of the old kind."""


@inner.ws_route("/{a}/{b}")
async def registered(one, a, b):
    """A handler that can be called with three arguments."""


here.inner = inner


class Consumer(WebSocketConsumer):
    pass


class Plain:
    async def __call__(self, scope, receive, send):
        pass


class Page(HTTPEndpoint):
    pass


async def handler(ws, room, user):
    pass


async def annotated(one: WebSocket, room, user):
    pass


async def application(scope, receive, send):
    pass


async def lenient(*args):
    pass


def factory(debug=False):
    pass


def wsgi(environ, start_response):
    pass


@pytest.mark.parametrize(
    "found", [NexiosApp(), application, lenient, Plain(), Page], ids=["ours", "function", "lenient", "object", "class"]
)
def test_applications_are_none(found):
    assert describe_mistake(found, here) is None


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (here, "a module"),
        (inner, "a Router, which an application has to mount: NexiosApp(routes=[...])"),
        (Consumer, "a consumer class, a handler, which an application has to have a route to"),
        (Consumer(), "a consumer, a handler"),
        (Plain, "a class; serve an instance of it, as in app = Plain()"),
        (page, "a handler, of the GET route '/inner/{room}' of inner"),
        (registered, "a handler, of the WebSocket route '/inner/{a}/{b}' of inner"),
        (handler, "an async function handler(ws, room, user), a handler, which an application"),
        (annotated, "an async function annotated(one, room, user), a handler, which"),
        (factory, "a callable factory(debug); if it makes an application, say so in the module: app = factory()"),
        (wsgi, "a callable wsgi(environ, start_response)"),
        (None, "of type NoneType"),
    ],
)
def test_everything_else_is_called_what_it_is(found, text):
    assert str(describe_mistake(found, here)).startswith(text)


def test_a_coroutine_is_told_from_its_function():
    assert "the call of an async function (application)" in str(describe_mistake(application(1, 2, 3), here))
