"""What the access log is told of one connection, where there is one."""

from collections.abc import Mapping
from typing import Any, Final

import trio

from ..core.lifecycle import End
from ..logs.access import AccessLog, process_access_log
from ..logs.fields import connection_fields
from ..transports.send_queue import DeliveryCounts
from ..transports.server_context import current_server

__all__ = ["LOGGED_EXTENSION", "ConnectionAccess", "find_access_log"]

# Put into `scope["extensions"]` by a connection that writes its own lines: hypercorn must not write others.
LOGGED_EXTENSION: Final = "nexios_trio.is_logged"


def find_access_log() -> AccessLog | None:
    """Return where this connection's lines go: to its server's access log, or to that of the process."""
    server = current_server.get()
    own = server.access_log if server is not None else None
    return own if own is not None else process_access_log()


class ConnectionAccess:
    """The lines of one connection."""

    def __init__(self, log: AccessLog, scope: Mapping[str, Any]) -> None:
        self._log = log
        self._begun = trio.current_time()
        self._is_told = False
        extensions = scope.get("extensions")
        if isinstance(extensions, dict):
            extensions[LOGGED_EXTENSION] = {}

    def accepted(self, scope: Mapping[str, Any], **more: Any) -> None:
        """The handshake was answered with 101; called again, it changes nothing."""
        if not self._is_told:
            self._is_told = True
            self._log.connected(**connection_fields(scope), **more)

    def over(self, scope: Mapping[str, Any], end: End, received: int, counts: DeliveryCounts, **more: Any) -> None:
        """The connection is over: `received` messages have come, and `counts` says how many of ours were delivered."""
        fields = {**connection_fields(scope), "cause": end.cause.value, **more}
        if not self._is_told:
            self._log.refused(**fields, status=end.status or end.cause.http_status)
        else:
            seconds = trio.current_time() - self._begun
            self._log.ended(**fields, code=end.code, seconds=seconds, received=received, sent=counts.delivered)
