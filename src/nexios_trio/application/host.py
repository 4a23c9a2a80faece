"""What an application has to do with the server, or the other application, that calls it."""

import logging

import attrs

from ..config.settings import Settings
from ..transports.epoll import Poller
from ..transports.server_context import SERVER_WIDE, current_server

__all__ = ["Host"]

logger = logging.getLogger("nexios_trio.app")

_OF_CONNECTIONS = tuple(field.name for field in attrs.fields(Settings) if field.name not in SERVER_WIDE)


class Host:
    """Owned by the application. Says once what is to be said."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_plain_way_told = False

    def give_settings(self) -> bool:
        """Give our own server, if this is one, the settings that it was not told of before it served.

        Returns: False when this very connection was begun with other limits.
        """
        server, ours = current_server.get(), self._settings
        if server is None or server.settings is ours:
            return True
        before = server.settings
        if not server.adopt_settings(ours):
            return True
        late = [name for name in SERVER_WIDE if getattr(before, name) != getattr(ours, name)]
        if late:
            logger.warning(
                "the server learns only now of the application's %s: where it is mounted in another one, enter"
                " `async with app.running():` in that one's lifespan",
                ", ".join(late),
            )
        return all(getattr(before, name) == getattr(ours, name) for name in _OF_CONNECTIONS)

    def poller(self, own: Poller | None) -> Poller | None:
        """Return what a socket is watched by that plain ASGI stands for: none, unless it can be another server's."""
        if current_server.get() is None:
            return own
        if not self._is_plain_way_told:
            self._is_plain_way_told = True
            logger.info("WebSockets go the plain ASGI way: `receive` or `send` is wrapped by what stands in between")
        return None
