"""The part of an application that serves clients of the realtime protocol."""

from collections.abc import Iterable
from typing import Any

from ..connections.runtime import Runtime
from ..realtime.endpoint import Realtime, use_close_codes
from ..realtime.rules import AuthorizeRealtime
from ..routing.route import to_middleware_tuple
from .api import ApiRoutes

__all__ = ["RealtimeRoutes"]


class RealtimeRoutes(ApiRoutes):
    """Routes, among them endpoints for such clients."""

    runtime: Runtime

    def realtime(
        self,
        path: str,
        *,
        authorize: AuthorizeRealtime | None = None,
        middleware: Iterable[Any] = (),
        name: str | None = None,
        **limits: float,
    ) -> Realtime:
        """Serve the SDKs of the Centrifuge client protocol at a path, in JSON and protobuf.

        They reconnect, resume and call by themselves. Nobody may subscribe or publish until a rule says so: see
        `Realtime`, which this returns.

        Args:
            path, middleware, name: as for `ws_route`. A middleware that refuses here closes with the protocol's codes,
                such as 3500; one of the whole application with its own, such as 4001, after which an SDK tries again.
            authorize, limits: as for `Realtime`.
        Raises: as `ws_route` and `Realtime`.
        """
        endpoint = Realtime(self.runtime, authorize=authorize, **limits)
        self.ws_route(path, endpoint, middleware=(use_close_codes, *to_middleware_tuple(middleware)), name=name)
        return endpoint
