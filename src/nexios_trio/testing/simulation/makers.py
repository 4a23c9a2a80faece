"""What makes the applications of a virtual world's servers."""

from collections.abc import Callable
from typing import Any

from ...asgi_types import ASGIApp
from ..internals import box_of
from .broker import Broker

__all__ = ["maker"]


def maker(app: ASGIApp | None, make: Callable[[], ASGIApp] | None, nodes: int) -> Callable[[], ASGIApp]:
    """Return what makes a server's application, from what a `World` was given. Raises: TypeError."""
    if (app is None) == (make is None):
        raise TypeError("World takes an application, or make=, a function that makes one")
    if make is not None:
        return make if nodes == 1 else _sharing(make)
    if nodes > 1:
        raise TypeError(f"{nodes} servers have an application each: give World make=, a function that makes one")
    return lambda: app  # type: ignore[return-value]


def _sharing(make: Callable[[], Any]) -> Callable[[], ASGIApp]:
    """Let applications share groups and history, as workers do, where their boxes were given no engine."""
    broker = Broker()

    def make_node() -> ASGIApp:
        app: ASGIApp = make()
        box = box_of(app)
        if box is not None and box.has_default_engine:
            box.share(broker.engine())
        return app

    return make_node
