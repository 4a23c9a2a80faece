"""hypercorn's logger, with lines like those of all others, and made safe: clients choose much of what it prints.

Control characters, quotes and escape sequences are escaped, so that a line is one request and a terminal stays as it
was. Query strings, where tokens travel, are not printed.
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hypercorn.config import Config
from hypercorn.logging import Logger

from ...asgi_types import ASGIApp, Event, Receive, Send
from ...connections.access import LOGGED_EXTENSION
from ...logs import TextFormatter
from ...logs.access import AccessLog, process_access_log
from ...logs.fields import connection_fields
from ...logs.guard import guard_logger
from ...status import HTTP_101_SWITCHING_PROTOCOLS, HTTP_500_INTERNAL_SERVER_ERROR
from ..request_fields import current_request

__all__ = ["SafeAtoms", "call_logged", "safe_logger_class"]


_QUERY: Final = re.compile(r"\?\S*")
_IS_LOGGED: Final = "nexios_trio.is_logged"  # in a scope
_WITH_QUERY: Final = frozenset({"R", "Uq", "f", "{referer}i"})


class SafeAtoms(Mapping[str, Any]):
    """What an access log line can be made of."""

    def __init__(self, atoms: Mapping[str, Any]) -> None:
        self._atoms = atoms

    def __getitem__(self, key: str) -> Any:
        value = self._atoms[key]
        if not isinstance(value, str):
            return value
        if key == "q":
            return "..." if value else value
        if key in _WITH_QUERY or key.lower() in _WITH_QUERY:
            value = _QUERY.sub("?...", value)
        return value.encode("unicode_escape").decode("ascii").replace('"', '\\"')

    def __iter__(self) -> Iterator[str]:
        return iter(self._atoms)

    def __len__(self) -> int:
        return len(self._atoms)


def safe_logger_class(logger_class: type[Logger]) -> type[Logger]:
    """The same kind of logger, with safe atoms; hypercorn's own writes the lines of `AccessLog`.

    A format of the user's (`access_log_format`), or a class, stays.
    """
    is_hypercorns = logger_class is Logger

    class SafeLogger(logger_class):  # type: ignore[misc,valid-type]
        def __init__(self, config: Config) -> None:
            super().__init__(config)
            has_own_format = config.access_log_format != Config.access_log_format
            self.lines: AccessLog | None = None
            if is_hypercorns:
                _use_formatter(self.error_logger, config.errorlog)
            if is_hypercorns and not has_own_format and self.access_logger is not None:
                _use_formatter(self.access_logger, config.accesslog)
                self.lines = AccessLog(self.access_logger)

        async def access(self, request: Any, response: Any, request_time: float) -> None:
            is_early = not bool(response) and request["type"] == "http"  # the response is still to come, or never will
            if is_early or request.get(_IS_LOGGED):  # hypercorn comes twice for a WebSocket that is never answered
                return
            request[_IS_LOGGED] = True
            lines = process_access_log() if self.access_logger is None else self.lines
            if lines is None:
                await super().access(request, response, request_time)
            elif LOGGED_EXTENSION not in (request.get("extensions") or ()):
                _write(lines, request, response, request_time)

        async def exception(self, message: str, *args: Any, **options: Any) -> None:
            fields = current_request.get()
            if fields is not None:
                message, options = "the application failed", {"extra": fields, **options}
            await super().exception(message, *args, **options)

        def atoms(self, request: Any, response: Any, request_time: float) -> Mapping[str, Any]:
            return SafeAtoms(super().atoms(request, response, request_time))

    return SafeLogger


def _use_formatter(logger: logging.Logger | None, target: Any) -> None:
    """Write records as everywhere, where hypercorn has made the handler."""
    if isinstance(target, str) and logger is not None:
        guard_logger(logger.name)
        for handler in logger.handlers:
            handler.setFormatter(TextFormatter())


async def call_logged(lines: AccessLog | None, app: ASGIApp, scope: Any, receive: Receive, send: Send) -> None:
    """Call an application for a request, and write its line, if there is an access log, whatever becomes of it."""
    if lines is None:
        await app(scope, receive, send)
        return
    scope[_IS_LOGGED] = True  # hypercorn's line would come too early or twice, and without what came of a lost client
    begun = time.monotonic()
    status: int | None = None
    size = 0

    async def noting_send(event: Event) -> None:
        nonlocal status, size
        if event["type"] == "http.response.start":
            status = event["status"]
        size += len(event.get("body", b""))
        await send(event)

    try:
        await app(scope, receive, noting_send)
        status = status or HTTP_500_INTERNAL_SERVER_ERROR  # hypercorn's answer to none
    except Exception:
        status = status or HTTP_500_INTERNAL_SERVER_ERROR
        raise
    finally:
        _write_request(lines, scope, status, size, time.monotonic() - begun)


def _write(lines: AccessLog, scope: Any, response: Any, seconds: float) -> None:
    status = None if response is None else response["status"]
    if scope["type"] == "http":
        sizes = [value for name, value in (response or {}).get("headers", ()) if name.lower() == b"content-length"]
        _write_request(lines, scope, status, int(sizes[0]) if sizes and sizes[0].isdigit() else None, seconds)
    elif status == HTTP_101_SWITCHING_PROTOCOLS:
        lines.connected(**connection_fields(scope))
    else:
        lines.refused(**connection_fields(scope), status=status)


def _write_request(lines: AccessLog, scope: Any, status: int | None, size: int | None, seconds: float) -> None:
    fields = {"status": status, "size": size, "seconds": seconds, **connection_fields(scope)}
    lines.requested(method=scope["method"], version=scope["http_version"], **fields)
