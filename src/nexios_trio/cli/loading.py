"""Load the application that a command is about, and look into it."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from ..application import NexiosApp
from ..asgi_types import ASGIApp
from ..config.settings import Settings
from ..engines.default import ENGINE_MISTAKES
from ..logs.tracebacks import trim_traceback
from ..server.app_loader import LoadError, load_application

__all__ = ["FAILED", "NOT_STARTED", "find_nexios_app", "for_user", "load", "settings_of"]

logger = logging.getLogger("nexios_trio.command")

FAILED: Final = 1  # exit status
NOT_STARTED: Final = 3  # exit status, of an application that raises
MAX_WRAPPERS: Final = 32


def load(application: str, tell: Callable[[str], None] | None = None) -> ASGIApp:
    """Load `module:name`. What cannot be loaded ends the command: 2 for what is not there, 3 for what fails.

    Args:
        tell: takes one line about an engine that cannot be, with which the command ends with 1. Logs it by default.
    """
    try:
        return load_application(application)
    except LoadError as error:
        raise click.UsageError(str(error)) from None
    except ENGINE_MISTAKES as error:
        (tell or logger.critical)(f"importing {application} failed: {error}")
        sys.exit(FAILED)
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
