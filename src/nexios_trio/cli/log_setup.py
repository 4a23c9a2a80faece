"""Where the command's log goes, in which format, and from which level on."""

import logging
import sys
from typing import Final

import attrs
import click
from hypercorn.config import Config

from ..logs import JsonFormatter, TextFormatter
from ..logs.access import open_access_log
from .human import colored

__all__ = ["LOG_FORMATS", "LOG_LEVELS", "LogSetup"]

LOG_FORMATS: Final = ("text", "json")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
DEFAULT_LEVEL: Final = "info"


@attrs.frozen
class LogSetup:
    """What the options say about logs.

    An application that sets up logging for itself keeps its handlers. Until it does, and if it does not, every record
    of every logger goes to standard error in one format.

    Args:
        format: one of LOG_FORMATS; None where it was not given: text, and an application's handlers keep theirs.
        level: one of LOG_LEVELS; None where it was not given: info, and an application's own level stays.
    """

    format: str | None
    level: str | None

    def formatter(self, *, colors: bool = False) -> logging.Formatter:
        """Make a formatter of the chosen format."""
        return JsonFormatter() if self.format == "json" else TextFormatter(colors=colors and colored() is not False)

    def use_in(self, config: Config) -> Config:
        """Write hypercorn's access log, if it has a place of its own, in the chosen format, too.

        Returns: the config. Raises: click.UsageError.
        """
        if isinstance(config.accesslog, str) and config.access_log_format == Config.access_log_format:
            try:
                config.accesslog = open_access_log(config.accesslog, self.formatter()).logger
            except OSError as error:
                raise click.UsageError(
                    f"cannot write the access log {config.accesslog}: {error.strerror}; accepted are a file, and - for"
                    " standard output"
                ) from None
        return config

    def begin(self) -> None:
        """Set up logging before the application is imported.

        Python's handler of last resort takes what no other handler does, so an application's own configuration, however
        and whenever it comes, meets no handler of ours.
        """
        handler = logging.StreamHandler()
        handler.setFormatter(self.formatter(colors=sys.stderr.isatty()))
        logging.lastResort = handler
        self._set_levels(logging.getLogger("nexios_trio"), logging.getLogger())

    def settle(self) -> None:
        """Let the options win over what the application has set up while it was imported."""
        ours, root = logging.getLogger("nexios_trio"), logging.getLogger()
        if self.level is not None:
            self._set_levels(ours, root)
        if self.format is not None:
            for handler in (*ours.handlers, *root.handlers):
                if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.stderr):
                    handler.setFormatter(self.formatter(colors=handler.stream.isatty()))

    def _set_levels(self, *loggers: logging.Logger) -> None:
        for logger in loggers:
            logger.setLevel((self.level or DEFAULT_LEVEL).upper())
