"""The part of an application that our own server calls where nothing stands between them: without ASGI."""

from collections.abc import Coroutine
from typing import Any

from ..asgi_types import Scope
from ..connections.runtime import Runtime
from ..connections.serve import begin_directly
from ..middleware.chain import Next
from ..routing.mounts import MountedRow
from ..transports.base import Transport
from ..transports.server_context import ConnectionHost, DirectOffer
from .endpoints import RouteEndpoint
from .gc_tuning import count_connection

__all__ = ["ServesDirectly"]


class ServesDirectly:
    """An application, as our own server knows it."""

    runtime: Runtime

    def _endpoint_for(self, scope: Scope, offer: DirectOffer | ConnectionHost | None) -> Next | MountedRow:
        """Return what serves a connection; a row for one that is another application of ours' as it is."""
        raise NotImplementedError

    def _add_state(self, scope: Scope) -> None:
        raise NotImplementedError

    def _serve_directly(self, transport: Transport, host: ConnectionHost) -> Coroutine[Any, Any, bool] | None:
        """Return the first task of a connection, which tells whether the connection is over.

        None where it has to be served by ASGI: the application has not been started, or hands the connection on.
        Raises: what it raises for that, too.
        """
        runtime = self.runtime
        if not runtime.is_started:
            return None
        endpoint = self._endpoint_for(transport.scope, host)
        if isinstance(endpoint, MountedRow):
            return None
        count_connection()
        runtime.hold()
        self._add_state(transport.scope)
        can_be_idle = isinstance(endpoint, RouteEndpoint) and endpoint.can_be_idle
        return begin_directly(host, transport, endpoint, runtime, self, can_be_idle=can_be_idle)
