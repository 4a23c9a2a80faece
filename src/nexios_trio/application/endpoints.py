"""What serves a WebSocket: a handler with all the middleware around it, a mounted application, or a refusal."""

from collections.abc import Awaitable
from typing import Any

from ..asgi_types import Scope
from ..config.settings import Settings
from ..connections.websocket import WebSocket
from ..middleware.chain import Next
from ..middleware.origin import explain_origin, origin_problem
from ..routing.entries import WebsocketRow
from ..routing.mounts import MountedRow
from ..routing.paths import BadPath, request_path
from ..routing.tree import RouteTree

__all__ = ["RouteEndpoint", "find_endpoint", "refusing"]


def find_endpoint(routes: RouteTree, scope: Scope, settings: Settings) -> Next | MountedRow:
    """Return what serves the connection of `scope`."""
    try:
        path = request_path(scope)
    except BadPath as error:
        return refusing(400, str(error))
    problem = origin_problem(scope, settings.allowed_origins, required=settings.require_origin)
    if problem is not None:
        return refusing(403, problem, explain_origin(scope, problem))
    found = routes.find_websocket(path)
    if found is None:
        return refusing(404, "not found", "no WebSocket route has this path; nexios-trio routes lists those there are")
    row, params = found
    if isinstance(row, MountedRow):
        return row
    return RouteEndpoint(row, params)


class RouteEndpoint:
    """What serves the connections of a route.

    Args:
        params: of its path.
    """

    __slots__ = ("_params", "_row")

    def __init__(self, row: WebsocketRow, params: dict[str, Any]) -> None:
        self._row = row
        self._params = params

    @property
    def can_be_idle(self) -> bool:
        """The connection may be without a task."""
        return self._row.can_be_idle

    def __call__(self, websocket: WebSocket) -> Awaitable[Any]:
        scope = websocket.scope
        scope["path_params"] = scope["route_params"] = {**scope["path_params"], **self._params}
        return self._row.endpoint(websocket)


def refusing(status: int, reason: str, for_log: str = "") -> Next:
    """Return an endpoint that answers every handshake with that status."""

    async def refuse(websocket: WebSocket) -> None:
        await websocket.deny(status, {"content-type": "text/plain; charset=utf-8"}, reason.encode(), for_log or reason)

    return refuse
