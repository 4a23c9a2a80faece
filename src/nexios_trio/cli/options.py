"""Read what the command line, the environment and hypercorn's configuration say."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click
from hypercorn.config import Config

from ..config.settings import Settings
from ..engines.default import ENGINE_MISTAKES, ENGINE_VARIABLE, make_engine
from ..exceptions import SettingsError
from ..server.hypercorn.options import unknown_options
from ..server.listeners import DEFAULT_HOST, DEFAULT_PORT

__all__ = [
    "given_names",
    "read_options",
    "read_root_path",
    "read_settings",
    "read_umask",
    "usage_error",
    "use_engine",
]


def read_umask(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """Read the permissions that a new file does not get, as the shell's umask takes them. A callback of click's."""
    if value is None:
        return None
    if re.fullmatch(r"(0o)?[0-7]{1,4}", value) is None:
        raise click.BadParameter(f"{value!r}: accepted are octal digits, as in 007")
    return int(value.removeprefix("0o"), 8)


def read_root_path(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Read what every path begins with, for proxies. A callback of click's."""
    if value and not value.startswith("/"):
        raise click.BadParameter(f"{value!r}: accepted is a path that begins with /, as in /chat")
    return value


def read_options(options: dict[str, Any]) -> Config:
    """Read hypercorn's configuration: the file's, then the options."""
    config = _read_config(options["config"]) if options["config"] else Config()
    if binds := _read_binds(options):
        config.bind = binds
    if options["insecure_bind"]:
        config.insecure_bind = list(options["insecure_bind"])
    for name in ("certfile", "keyfile", "root_path", "umask"):
        if options[name] is not None:
            setattr(config, name, options[name])
    if options["access_log"] is not None:
        config.accesslog = options["access_log"]
    if options["insecure_bind"] and not config.ssl_enabled:
        raise click.UsageError(
            "--insecure-bind is for a server with TLS, and needs --certfile and --keyfile; give --bind"
        )
    return config


def _read_binds(options: Mapping[str, Any]) -> list[str]:
    """Read where to listen: --bind, or --host and --port. Nothing where neither is given."""
    host, port, binds = options["host"], options["port"], list(options["bind"])
    if host is None and port is None:
        for bind in filter(str.isdecimal, binds):
            click.echo(f"Note: -b {bind} is taken for -b {DEFAULT_HOST}:{bind}", err=True)
        return binds
    if binds:
        raise click.UsageError("--bind says all that --host and --port do: give one or the other")
    host = DEFAULT_HOST if host is None else host
    if host.startswith(("unix:", "fd://")):
        raise click.UsageError(f"--host takes a name or an address; give --bind {host}")
    if ":" in host and not host.startswith("["):
        if host.count(":") == 1:
            raise click.UsageError(f"--host {host} has a port in it; give --bind {host}")
        host = f"[{host}]"
    return [f"{host}:{DEFAULT_PORT if port is None else port}"]


def _read_config(source: str) -> Config:
    try:
        if source.startswith("python:"):
            return Config.from_object(source.removeprefix("python:"))
        if source.startswith("file:"):
            return Config.from_pyfile(source.removeprefix("file:"))
        config = Config.from_toml(source)
        for problem in unknown_options(config):
            click.echo(f"Warning: --config {source}: {problem}", err=True)
        return config
    except (OSError, ValueError, ImportError, AttributeError, SyntaxError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise click.UsageError(
            f"--config {source}: {reason}; accepted are a TOML file, file:PYTHON_FILE and python:MODULE"
        ) from None


def read_settings(given: Sequence[str]) -> Settings:
    """Read the settings of the environment, into which those of the command line are put first."""
    rows = {row.name: row.variable for row in Settings().describe()}
    for item in given:
        name, equals, value = item.partition("=")
        name = name.strip()
        if not equals:
            raise click.UsageError(f"--set {item}: accepted is NAME=VALUE, as in max_connections=500")
        if name not in rows:
            close = difflib.get_close_matches(name, rows, 1)
            hint = f"did you mean {close[0]}?" if close else "nexios-trio settings lists them"
            raise click.UsageError(f"--set {item}: there is no such setting; {hint}")
        os.environ[rows[name]] = value
    try:
        return Settings.from_environ(os.environ)
    except SettingsError as error:
        raise click.UsageError(_as_given(str(error), given, rows)) from None


def use_engine(url: str | None) -> None:
    """Put the engine of the command line into the environment, where applications and workers find it.

    Raises: click.ClickException for one that cannot be, there or in the environment.
    """
    source, url = ("--engine", url) if url is not None else (ENGINE_VARIABLE, os.environ.get(ENGINE_VARIABLE))
    if not url:
        return
    try:
        make_engine(url)
    except ENGINE_MISTAKES as error:
        kind = click.UsageError if source == "--engine" else click.ClickException
        raise kind(f"{source}: {error}") from None
    os.environ[ENGINE_VARIABLE] = url


def given_names(given: Sequence[str]) -> list[str]:
    """Return the names of NAME=VALUE."""
    return [item.partition("=")[0].strip() for item in given]


def _as_given(problem: str, given: Sequence[str], variables: Mapping[str, str]) -> str:
    """A problem with a variable, in terms of the option that has set it."""
    for name in given_names(given):
        problem = problem.replace(f"{variables[name]}=", f"--set {name}=")
    return problem


def usage_error(error: OSError | ValueError) -> click.UsageError:
    """Make a usage error of one that only the configuration can have caused."""
    return click.UsageError(str((isinstance(error, OSError) and error.strerror) or error))
