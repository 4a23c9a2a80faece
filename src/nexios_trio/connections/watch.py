"""Who sees connections and requests pass, for metrics and traces: nobody, unless it was turned on."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..asgi_types import ASGIApp
from ..core.lifecycle import End
from .message_calls import Handle

__all__ = ["ConnectionWatch", "Endpoint", "Handle", "Receive"]

Endpoint = Callable[[Any], Awaitable[Any]]
Receive = Callable[[], Awaitable[Any]]


class ConnectionWatch:
    """One of them: override what is of interest. Each is called a few times for each connection, for no message, and
    once for each HTTP request.
    """

    def around(self, endpoint: Endpoint) -> Endpoint:
        """Return what serves a connection in place of `endpoint`."""
        return endpoint

    def receiving(self, session: Any, receive: Receive) -> Receive:
        """Return what receives the messages of an accepted connection; again, when it receives by another way."""
        return receive

    def calling(self, session: Any, handle: Handle) -> Handle:
        """Return what is called for each message of a connection with a synchronous handler, in place of `handle`."""
        return handle

    def ended(self, session: Any, end: End) -> None:
        """Note how the connection ended. Must not raise."""

    def around_request(self, serve: ASGIApp) -> ASGIApp:
        """Return what answers an HTTP request in place of `serve`, which raises what a handler raises."""
        return serve
