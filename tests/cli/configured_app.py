"""An application that sets up logging for itself, with the defaults of `dictConfig`."""

import logging.config
import sys

logging.config.dictConfig(
    {
        "version": 1,
        "formatters": {"own": {"format": "own %(levelname)s %(name)s %(message)s"}},
        "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own", "stream": sys.stderr}},
        "root": {"level": "INFO", "handlers": ["own"]},
    }
)

from tests.cli.logging_app import app as app  # noqa: E402  # its loggers would be disabled
