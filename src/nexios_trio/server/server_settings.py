"""Decide whose settings a server goes by: given ones, its application's, or the environment's."""

import logging
import os
from collections.abc import Mapping

import attrs

from ..asgi_types import ASGIApp
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
        environ: the variables that they were read from.
    """

    settings: Settings
    is_explicit: bool = False
    environ: Mapping[str, str] = attrs.field(factory=dict)
    _is_adopted: bool = attrs.field(default=False, init=False)
    _has_warned: bool = attrs.field(default=False, init=False)

    @classmethod
    def of(cls, app: ASGIApp, given: Settings | None) -> "ServerSettings":
        """Return what the server of `app` begins with."""
        if given is not None:
            return cls(given, is_explicit=True)
        own = getattr(app, "settings", None)
        if isinstance(own, Settings):
            return cls(own)
        return cls(Settings.from_environ(os.environ), environ=os.environ)

    def adopt(self, settings: Settings) -> bool:
        """Go by an application's settings from here on, unless we must not; returns whether anything has changed."""
        if self.is_explicit:
            return False
        if self._is_adopted:
            self._warn_of_differences(settings)
            return False
        self._is_adopted = True
        has_changed = settings != self.settings
        self._warn_of_overruled(settings)
        self.settings = settings
        return has_changed

    def _warn_of_overruled(self, settings: Settings) -> None:
        rows = [row for row in self.settings.describe() if row.variable in self.environ]
        overruled = [row.name for row in rows if getattr(settings, row.name) != getattr(self.settings, row.name)]
        if overruled:
            names = ", ".join(overruled)
            logger.warning(
                "%s: --set and the environment have no effect, the application sets it in its own code", names
            )

    def _warn_of_differences(self, settings: Settings) -> None:
        different = [name for name in SERVER_WIDE if getattr(settings, name) != getattr(self.settings, name)]
        if different and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "two applications want different settings of the server, and the first one's stay: %s; "
                "serve(settings=...) decides for all",
                ", ".join(different),
            )
