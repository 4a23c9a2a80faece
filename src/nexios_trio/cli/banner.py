"""What `run` says when it serves: a summary of the application, and one line that it is ready."""

import logging
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import attrs
import click

from ..application import NexiosApp
from ..asgi_types import ASGIApp
from ..engines.hub.engine import HubEngine
from ..logs import JsonFormatter
from ..routing.listing import MOUNT, WEBSOCKET, list_routes
from .human import colored
from .loading import find_nexios_app, settings_of
from .options import given_names
from .setting_sources import DEFAULT, find_sources

__all__ = ["Banner", "describe_engine"]

LOGGER: Final = "nexios_trio.command"


@attrs.frozen
class Banner:
    """Says it, or less.

    Args:
        given: settings of the command line, NAME=VALUE.
        has_summary: say more than one line.
        is_json: say that line as the log is written, and no more.
    """

    application: str
    given: Sequence[str]
    has_summary: bool
    is_json: bool

    def begin(self) -> None:
        """Say on standard error who is at work, before the application is imported, which may take a while."""
        if self.has_summary and not self.is_json:
            python, trio = platform.python_version(), version("trio")
            click.secho(f"nexios-trio {version('nexios-trio')}", err=True, bold=True, nl=False, color=colored())
            click.secho(f"  Python {python}, trio {trio}", err=True, dim=True, color=colored())

    def summarize(self, app: ASGIApp, workers: int | None) -> None:
        """Say on standard error what is served.

        Args:
            workers: None where the line that follows tells of them.
        """
        if not self.has_summary or self.is_json:
            return
        ours = find_nexios_app(app)
        if ours is not None:
            _show("routes", _count_routes(ours))
        if workers is not None:
            _show("workers", str(workers))
        if ours is not None:
            _show("engine", describe_engine(ours))
        rows = find_sources(settings_of(app), given_names(self.given), os.environ)
        changed = [f"{row.name} {row.value} ({row.source})" for row in rows if row.source != DEFAULT]
        if changed:
            _show("settings", ", ".join(changed))

    def announce(self, addresses: Sequence[str], more: str = "") -> None:
        """Say on standard output, on one line, that the server is ready."""
        if self.is_json:
            text = f"Serving {self.application} on {' and '.join(addresses)}{more}"
            values: dict[str, Any] = {"name": LOGGER, "levelno": logging.INFO, "levelname": "INFO", "msg": text}
            record = logging.makeLogRecord({**values, "addresses": list(addresses)})
            click.echo(JsonFormatter().format(record))
        else:
            where = " and ".join(click.style(address, fg="green", bold=True) for address in addresses)
            click.echo(f"Serving {self.application} on {where}{more} (Ctrl-C stops it)", color=colored())
        sys.stdout.flush()


def _show(label: str, text: str) -> None:
    click.secho(f"  {label:8}  ", err=True, dim=True, nl=False, color=colored())
    click.echo(text, err=True)


def _count_routes(app: NexiosApp) -> str:
    kinds = [row.kind for row in list_routes(app)]
    websockets, mounts = kinds.count(WEBSOCKET), kinds.count(MOUNT)
    more = f", {mounts} mounted" if mounts else ""
    return f"{websockets} WebSocket, {len(kinds) - websockets - mounts} HTTP{more}"


def describe_engine(app: NexiosApp) -> str:
    """Return in words what carries the application's groups, and where that is."""
    engine = app.box.engine
    name = type(engine).__name__.removesuffix("Engine").lower() or "unnamed"
    if engine.is_local:
        return f"{name}, for the groups of one process"
    if isinstance(engine, HubEngine):
        return f"{name}, for the groups of all workers"
    address = getattr(engine, "address", None)
    # Applications of one name share their groups: where two do not hear each other, this is where they differ.
    parts = [name, address, app.box.name and f"as {app.box.name}"]
    return ", ".join(str(part) for part in parts if part)
