"""Load the application that a command is about, and look into it."""

import logging
import os
import sys
from typing import Any, Final

import click

from ..application import NexiosApp
from ..asgi_types import ASGIApp
from ..config.settings import Settings
from ..logs.tracebacks import trim_traceback
from ..server.app_loader import LoadError, load_application

__all__ = ["NOT_STARTED", "find_nexios_app", "for_user", "load", "settings_of"]

logger = logging.getLogger("nexios_trio.command")

NOT_STARTED: Final = 3  # exit status
MAX_WRAPPERS: Final = 32


def load(application: str) -> ASGIApp:
    """Load `module:name`. What cannot be loaded ends the command: 2 for what is not there, 3 for what fails."""
    try:
        return load_application(application)
    except LoadError as error:
        raise click.UsageError(str(error)) from None
    except Exception as error:
        logger.critical("importing %s failed", application, exc_info=for_user(error))
        sys.exit(NOT_STARTED)


def for_user(error: BaseException | None) -> BaseException | None:
    """Return the error with a traceback that begins with the user's code; the whole one where details are logged."""
    if error is not None and not logger.isEnabledFor(logging.DEBUG):
        trim_traceback(error)
    return error


def find_nexios_app(app: Any) -> NexiosApp | None:
    """Find the NexiosApp inside of ASGI middleware: most keeps what it wraps as `app`; None if there is none."""
    for _ in range(MAX_WRAPPERS):
        if app is None or isinstance(app, NexiosApp):
            return app
        app = getattr(app, "app", None)
    return None


def settings_of(app: Any) -> Settings:
    """Return the settings that the server will go by: the application's, or those of the environment."""
    found = find_nexios_app(app)
    own = getattr(app, "settings", None) if found is None else found.settings
    return own if isinstance(own, Settings) else Settings.from_environ(os.environ)
