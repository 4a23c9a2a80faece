"""The options of `run`, which `check` takes as well."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from .command import Number
from .log_setup import LOG_FORMATS, LOG_LEVELS
from .options import read_root_path, read_umask

__all__ = ["serving_options"]

Command = TypeVar("Command", bound=Callable[..., Any])
_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)


def serving_options(command: Command) -> Command:
    """Add the options that say what is served, where and how."""
    options = (
        click.option(
            "-b", "--bind", multiple=True, metavar="ADDRESS", help="HOST:PORT, unix:PATH or fd://NUMBER; several."
        ),
        click.option("--host", metavar="HOST", help="In place of --bind: a name or an address.  [default: 127.0.0.1]"),
        click.option(
            "--port", type=Number(0, 65535), metavar="PORT", help="In place of --bind; 0: any.  [default: 8000]"
        ),
        click.option(
            "--insecure-bind", multiple=True, metavar="ADDRESS", help="Without TLS, next to those of --bind with it."
        ),
        click.option("-c", "--config", metavar="FILE", help="hypercorn's: a TOML file, file:PY or python:MODULE."),
        click.option("--engine", metavar="URL", help="Shares groups with other machines, as in redis://HOST."),
        click.option("-w", "--workers", type=Number(1), metavar="N", help="Processes on the same addresses."),
        click.option("--certfile", metavar="FILE", help="TLS certificate chain."),
        click.option("--keyfile", metavar="FILE", help="TLS private key."),
        click.option(
            "--umask", callback=read_umask, metavar="OCTAL", help="Of a Unix socket: 007 lets its group in, 000 all."
        ),
        click.option(
            "--root-path", callback=read_root_path, metavar="PATH", help="What a proxy in front cuts off, as in /chat."
        ),
        click.option("--access-log", metavar="FILE", help="Where requests are logged; - for standard output."),
        click.option(
            "--health-bind", multiple=True, metavar="ADDRESS", help="For /healthz, /readyz and metrics alone."
        ),
        click.option("--log-level", type=click.Choice(LOG_LEVELS), help="Of all loggers; info, unless it is given."),
        click.option("--log-format", type=click.Choice(LOG_FORMATS), help="Lines for people, or JSON objects."),
        click.option("--banner/--no-banner", default=True, help="Say at the start what is served.  [default: banner]"),
        click.option(
            "-s", "--set", "given", multiple=True, metavar="NAME=VALUE", help="A setting, as in max_connections=500."
        ),
        click.option("--reload", is_flag=True, help="Start again when a Python file here, or further in, changes."),
        click.option(
            "--reload-dir", type=_FOLDER, multiple=True, metavar="DIR", help="In place of this directory; several."
        ),
        click.option("--reload-include", multiple=True, metavar="PATTERN", help="Other files, as in *.html; several."),
    )
    for option in reversed(options):
        command = option(command)
    return command
