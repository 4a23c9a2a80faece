"""Another overflow policy for the connections of a route, a router or a consumer."""

from typing import Any

from ..connections.websocket import WebSocket
from ..core.overflow import Decide, Policy, resolve_policy
from .chain import Next

__all__ = ["OverflowMiddleware"]


class OverflowMiddleware:
    """Go by this overflow policy, in place of the application's.

    A channel's own policy, and a group's, go before it.

    Args:
        overflow: as the setting of that name: a name, a policy such as `conflate(key)`, or a function.
    Raises: ValueError, TypeError.
    """

    def __init__(self, overflow: Policy | str | Decide) -> None:
        self._policy = resolve_policy(overflow)

    async def __call__(self, websocket: WebSocket, next: Next) -> Any:
        websocket._session.transport.use_policy(self._policy)
        return await next(websocket)
