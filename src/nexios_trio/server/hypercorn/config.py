"""Importing this module patches hypercorn: an error ends the connection that it belongs to, alone, and its WebSockets
ping and end in time (`patch`, `websocket_patch`).

It is a configuration for those who stay with hypercorn's own command, as close to our runner as it gets::

    hypercorn -c python:nexios_trio.serving.hypercorn_config -b 127.0.0.1:8000 chat.main:app

Limits come from the environment (``NEXIOS_...``), as the application's own do; what is given on hypercorn's command
line wins. What hypercorn cannot do, whatever its settings
(abort a send, close WebSockets when it stops), the guide on security lists.
"""

import os
from math import inf
from typing import Any

from hypercorn.config import Config
from hypercorn.logging import Logger

from ...config.settings import Settings
from ...logs.access import use_for_process
from .access_log import safe_logger_class
from .patch import patch_tcp_server
from .websocket_patch import patch_websocket_stream

__all__ = ["SafeLogger", "hypercorn_options"]


class SafeLogger(safe_logger_class(Logger)):  # type: ignore[misc]
    """Hypercorn's logger, with lines of ours. Found by its name in the worker processes."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if self.lines is not None:
            use_for_process(self.lines)


def hypercorn_options(settings: Settings) -> dict[str, Any]:
    """Return hypercorn's options where our settings have a say, for `Config.from_mapping`.

    Args:
        settings: times are seconds, sizes bytes, as hypercorn's are.
    """
    ping = settings.ping_interval
    return {
        "worker_class": "trio",
        # HTTP/2 and its upgrade have smuggled requests and filled memory; WebSockets need neither.
        "alpn_protocols": ["http/1.1"],
        "h11_max_incomplete_size": settings.max_handshake_size,
        "keep_alive_timeout": settings.handshake_timeout,  # also how long the first request may take
        # Pings make a peer that is there speak, so silence for longer means that it is not.
        "read_timeout": None if settings.ping_timeout == inf else max(1, int(settings.ping_timeout)),
        "websocket_ping_interval": None if ping == inf else ping,
        # One more, so that it is our own limit that speaks, with a close code; hypercorn counts characters.
        "websocket_max_message_size": settings.max_message_size + 1,
        "graceful_timeout": settings.drain_timeout / 2,
        "shutdown_timeout": settings.drain_timeout,
        "include_server_header": False,
        # The access log, if one is asked for: escaped, and without query strings.
        "logger_class": SafeLogger,
    }


# Its worker processes import this module too, for `SafeLogger`.
patch_tcp_server()
patch_websocket_stream(Settings.from_environ(os.environ).close_timeout)

_options = hypercorn_options(Settings.from_environ(os.environ))

# Hypercorn reads the attributes of this module.
worker_class = _options["worker_class"]
alpn_protocols = _options["alpn_protocols"]
h11_max_incomplete_size = _options["h11_max_incomplete_size"]
keep_alive_timeout = _options["keep_alive_timeout"]
read_timeout = _options["read_timeout"]
websocket_ping_interval = _options["websocket_ping_interval"]
websocket_max_message_size = _options["websocket_max_message_size"]
graceful_timeout = _options["graceful_timeout"]
shutdown_timeout = _options["shutdown_timeout"]
include_server_header = _options["include_server_header"]
logger_class = _options["logger_class"]
