"""All checks, one after the other."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from hypercorn.config import Config

from ...config.settings import Settings
from ...engines.default import ENGINE_VARIABLE
from ...server.hypercorn.http_server import prepare
from ..loading import settings_of
from ..options import given_names, read_options, read_settings, use_engine
from .addresses import binds_of, check_addresses, is_local
from .application import check_application
from .engine import check_engine_server
from .findings import Finding, ok, wrong
from .proxies import check_proxies
from .system import check_extras, check_limits, check_system
from .through import check_through
from .tls import check_tls

__all__ = ["find_all"]


def find_all(application: str, options: Mapping[str, Any]) -> Iterator[Finding]:
    """Check what `run` with these options would serve. What cannot be checked because of what is wrong is left out."""
    try:
        asked = read_settings(options["given"])
    except click.UsageError as error:
        yield wrong("settings", error.message)
        asked = None
    try:
        use_engine(options["engine"])
    except click.ClickException as error:
        yield wrong("engine", error.message)
        os.environ.pop(ENGINE_VARIABLE, None)  # so that the rest can be checked
    config, problem = _read_config(options)
    if problem is not None:
        yield problem
    app = None
    if asked is not None:
        app = yield from check_application(application)
        yield from check_engine_server(app)
    settings = asked if app is None else settings_of(app)
    if asked is not None and settings is not None:
        is_reachable = config is not None and not all(map(is_local, binds_of(config)))
        yield from _check_settings(settings, asked, options["given"], is_reachable)
    if config is not None:
        yield from check_addresses(config, options["health_bind"])
        yield from check_tls(config)
        if settings is not None:
            yield from check_proxies(config, settings)
            yield from check_limits(config, settings)
            if options["through"] is not None:
                yield from check_through(options["through"], config, settings)
        yield from check_system(app, options["workers"] or config.workers)
    yield from check_extras(needs_reload=options["reload"])


def _read_config(options: Mapping[str, Any]) -> tuple[Config | None, Finding | None]:
    try:
        config = read_options(dict(options))
        prepare(config)
    except click.UsageError as error:
        return None, wrong("options", error.message)
    except ValueError as error:
        return None, wrong("options", str(error))
    return config, None


def _check_settings(settings: Settings, asked: Settings, given: Sequence[str], is_reachable: bool) -> Iterator[Finding]:
    """Compare what the application goes by with what environment and command line ask for."""
    rows = [row for row in settings.describe() if row.variable in os.environ]
    overruled = [row for row in rows if getattr(settings, row.name) != getattr(asked, row.name)]
    for row in overruled:
        how = f"--set {row.name}" if row.name in given_names(given) else row.variable
        yield wrong("settings", f"{how} has no effect: the application sets {row.name} in its own code")
    if settings.debug and is_reachable:
        yield wrong("settings", "debug is on, which shows tracebacks to everybody who can connect")
    elif not overruled:
        changed = sum(row.value != row.default for row in settings.describe())
        yield ok("settings", f"{changed} of {len(settings.describe())} are not at their defaults")
