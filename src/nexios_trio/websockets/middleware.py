"""The import path of the documents for middleware."""

from ..middleware import (
    AuthenticationMiddleware,
    ConnectionRateLimitMiddleware,
    HeartbeatMiddleware,
    MessageRateLimitMiddleware,
    Middleware,
    Next,
    OriginMiddleware,
    OverflowMiddleware,
    token_in_cookie,
    token_in_first_message,
    token_in_subprotocol,
    wrap_asgi,
)

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
