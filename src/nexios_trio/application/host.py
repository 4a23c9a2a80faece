"""What an application has to do with the server, or the other application, that calls it."""

import logging

from ..config.settings import Settings
from ..transports.epoll import IS_AVAILABLE, Poller
from ..transports.server_context import SERVER_WIDE, current_server

__all__ = ["Host"]

logger = logging.getLogger("nexios_trio.app")

# Settings that a server's transport goes by, also where our own stands behind it.
_OF_TRANSPORTS = (
    "max_message_size",
    "max_fragments",
    "inbox_messages",
    "inbox_bytes",
    "outbox_messages",
    "outbox_bytes",
    "send_buffer",
    "write_timeout",
    "min_read_rate",
    "close_timeout",
    "ping_interval",
    "ping_timeout",
)


class Host:
    """Owned by the application. Says once what is to be said."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_plain_way_told = False
        self._is_refusal_told = False

    def are_limits_ours(self) -> bool:
        """Tell whether a WebSocket whose transport we cannot reach is bounded as we want. Log, once, if it is not."""
        server, ours = current_server.get(), self._settings
        if server is None or server.overrules or server.settings is ours:
            return True
        different = [name for name in _OF_TRANSPORTS if getattr(server.settings, name) != getattr(ours, name)]
        if different and not self._is_refusal_told:
            self._is_refusal_told = True
            logger.warning(
                "WebSockets are refused with 503: the server bounds them by another %s than the application's, and what"
                " stands in between hides them. Let it pass scope['extensions'] on as they are, or give the settings to"
                " `serve(settings=...)`",
                ", ".join(different),
            )
        return not different

    def give_settings(self) -> None:
        """Give our own server, if this is one, the settings that it was not told of before it served."""
        server, ours = current_server.get(), self._settings
        if server is None or server.settings is ours:
            return
        before = server.settings
        if not server.adopt_settings(ours):
            return
        late = [name for name in SERVER_WIDE if getattr(before, name) != getattr(ours, name)]
        if late:
            logger.warning(
                "the server learns only now of the application's %s: where it is mounted in another one, enter"
                " `async with app.running():` in that one's lifespan",
                ", ".join(late),
            )

    def poller(self, own: Poller | None) -> Poller | None:
        """Return what a socket is watched by that plain ASGI stands for: none, unless it can be another server's."""
        if current_server.get() is None:
            return own
        if IS_AVAILABLE and not self._is_plain_way_told:  # else the server has said so
            self._is_plain_way_told = True
            logger.info(
                "WebSockets go the plain ASGI way: `receive` or `send` is wrapped by what stands in between. A delivery"
                " costs more than on the fast lane, which they have where a NexiosApp is the outer application: `mount`"
                " another one in it, and put middleware around it with `add_middleware`"
            )
        return None
