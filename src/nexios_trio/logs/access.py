"""The access log: a line when a WebSocket connects and when it ends, and one for each HTTP request.

    connect /ws/tea 127.0.0.1 ann
    end /ws/tea 127.0.0.1 ann 1000 12 s ↑5 ↓9
    refuse /ws/tea 127.0.0.1 - 403
    GET /rooms HTTP/1.1 127.0.0.1 - 200 532 B 3 ms

↑ counts the messages that came from the peer, ↓ those that were written for it: what was dropped, or still waited when
the connection ended, is not among them. A dash stands for what is not known. Query strings are left out: tokens travel
in them.
"""

import io
import logging
import sys
from typing import Any, Final

from .escaping import printable

__all__ = ["AccessLog", "open_access_log", "process_access_log", "use_for_process"]

_UNKNOWN: Final = "-"
_logger = logging.getLogger("nexios_trio.access")


class AccessLog:
    """Writes the lines, at INFO, to one logger."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def connected(self, **fields: Any) -> None:
        """A WebSocket was accepted. Fields: path, client, user."""
        self._write("connect {path} {client} {user}", {"event": "connect", **fields})

    def refused(self, **fields: Any) -> None:
        """A handshake was answered with an HTTP error. Fields: path, client, user, status."""
        self._write("refuse {path} {client} {user} {status}", {"event": "refuse", **fields})

    def ended(self, **fields: Any) -> None:
        """A WebSocket is over. Fields: path, client, user, code, seconds, received and sent, in messages."""
        self._write("end {path} {client} {user} {code} {seconds} ↑{received} ↓{sent}", {"event": "end", **fields})

    def requested(self, **fields: Any) -> None:
        """A request was answered. Fields: method, path, version, client, user, status, size in bytes, seconds."""
        self._write("{method} {path} HTTP/{version} {client} {user} {status} {size} {seconds}", fields)

    def _write(self, template: str, fields: dict[str, Any]) -> None:
        if not self.logger.isEnabledFor(logging.INFO):
            return
        fields = {name: printable(value) if isinstance(value, str) else value for name, value in fields.items()}
        shown = {name: _UNKNOWN if value is None else value for name, value in fields.items()}
        if fields.get("seconds") is not None:
            fields["seconds"] = round(fields["seconds"], 3)
            shown["seconds"] = _duration(fields["seconds"])
        if fields.get("size") is not None:
            shown["size"] = f"{fields['size']} B"
        text = template.format_map(shown)
        in_text = frozenset(name for name in fields if f"{{{name}}}" in template or name == "event")
        self.logger.info("%s", text, extra={**fields, "_in_text": in_text})


def open_access_log(target: str | logging.Logger, formatter: logging.Formatter) -> AccessLog:
    """Make an access log that writes to a file, for ``-`` to standard output, or to a logger of the application's.

    Raises: OSError when the file cannot be written.

    Except for the last, its logger is nobody else's: `logging.config.dictConfig` neither finds nor disables it.
    """
    if isinstance(target, logging.Logger):
        return AccessLog(target)
    logger = logging.Logger(_logger.name, logging.INFO)  # noqa: LOG001  # nobody else's
    handler: logging.Handler
    if target == "-":
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() not in ("utf-8", "utf8"):
            sys.stdout.reconfigure(errors="backslashreplace")  # there are arrows in the lines
        handler = logging.StreamHandler(sys.stdout)
    else:
        handler = logging.FileHandler(target, encoding="utf-8")
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    return AccessLog(logger)


_of_process: AccessLog | None = None  # hypercorn's own, in its processes


def use_for_process(log: AccessLog) -> None:
    """Let connections write to this one, in a process whose server is not ours."""
    global _of_process  # noqa: PLW0603  # hypercorn makes its logger by the class's name, and gives it to nobody
    _of_process = log


def process_access_log() -> AccessLog | None:
    """Return where connections write that no server of ours has: to hypercorn's, or to the logger `nexios_trio.access`.

    The logger counts where its own level was set to INFO or below; it is off by default.
    """
    if _of_process is not None:
        return _of_process
    return AccessLog(_logger) if logging.NOTSET < _logger.level <= logging.INFO else None


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
