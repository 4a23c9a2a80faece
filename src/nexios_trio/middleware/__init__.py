"""Middleware for WebSocket routes: the mechanism, and what comes with it.

Registered with `add_ws_middleware` of an application or router, or `middleware=[...]` on an application, a router, a
route, `ws_route`, `as_route`, or a consumer class. They run in this order: application, router, route, consumer; of
several in one place, the first is outermost.
"""

from .asgi import wrap_asgi
from .authentication import AuthenticationMiddleware, token_in_cookie, token_in_first_message, token_in_subprotocol
from .chain import Middleware, Next
from .heartbeat import HeartbeatMiddleware
from .origin import OriginMiddleware
from .overflow import OverflowMiddleware
from .rate_limits import ConnectionRateLimitMiddleware, MessageRateLimitMiddleware

__all__ = [
    "AuthenticationMiddleware",
    "ConnectionRateLimitMiddleware",
    "HeartbeatMiddleware",
    "MessageRateLimitMiddleware",
    "Middleware",
    "Next",
    "OriginMiddleware",
    "OverflowMiddleware",
    "token_in_cookie",
    "token_in_first_message",
    "token_in_subprotocol",
    "wrap_asgi",
]
