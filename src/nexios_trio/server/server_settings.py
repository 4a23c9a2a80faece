"""Decide whose settings a server goes by: given ones, its application's, or the environment's."""

import logging

import attrs

from ..config.settings import Settings
from ..transports.server_context import SERVER_WIDE

__all__ = ["ServerSettings"]

logger = logging.getLogger("nexios_trio.server")


@attrs.define(eq=False)
class ServerSettings:
    """The settings of one server. Whoever needs one reads it from here when it is needed: they may change.

    An application hands its own up when it starts, or with its first connection. The first one's stay.

    Args:
        is_explicit: they were given to `serve`, which overrules every application.
    """

    settings: Settings
    is_explicit: bool = False
    _is_adopted: bool = attrs.field(default=False, init=False)
    _has_warned: bool = attrs.field(default=False, init=False)

    def adopt(self, settings: Settings) -> bool:
        """Go by an application's settings from here on, unless we must not; returns whether anything has changed."""
        if self.is_explicit:
            return False
        if self._is_adopted:
            self._warn_of_differences(settings)
            return False
        self._is_adopted = True
        has_changed = settings != self.settings
        self.settings = settings
        return has_changed

    def _warn_of_differences(self, settings: Settings) -> None:
        different = [name for name in SERVER_WIDE if getattr(settings, name) != getattr(self.settings, name)]
        if different and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "two applications want different settings of the server, and the first one's stay: %s; "
                "serve(settings=...) decides for all",
                ", ".join(different),
            )
