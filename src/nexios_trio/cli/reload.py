"""`nexios-trio run --reload`: start again whenever a file changes."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import trio
from hypercorn.config import Config

from ..server import early_signals
from ..server.errors import sole
from ..server.hypercorn.http_server import prepare, tls_context
from ..server.listeners import Listener, open_listeners
from ..server.reload import CannotWatch, Reloader, ReloadLink
from .banner import Banner
from .options import usage_error
from .process import write_pid

__all__ = ["serve_with_reload", "take_reload_link"]

logger = logging.getLogger("nexios_trio.command")

PATTERNS: Final = ("*.py",)


def serve_with_reload(
    config: Config, options: dict[str, Any], banner: Banner, arguments: Callable[[Sequence[Listener]], list[str]]
) -> int:
    """Serve with one process after the other. Returns the exit status.

    Args:
        arguments: of the command that serves on these sockets.
    """
    _check(config, options)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # what it tells of changes, we say by their names
    folders = [folder.resolve() for folder in options["reload_dir"]] or [Path.cwd()]
    try:
        ours = prepare(config)
        tls_context(ours)
        with open_listeners(ours) as listeners:
            addresses = [listener.address for listener in listeners]
            write_pid(config)

            def on_ready(seconds: float | None) -> None:
                if seconds is None:
                    banner.announce(addresses, f" with reload of changes in {_shown(folders)}")
                else:
                    logger.info("reloaded in %.1f s", seconds)

            again = arguments(listeners)
            reloader = Reloader(
                lambda number: [*again, "--no-banner"] if number else again,
                [listener.sock.fileno() for listener in listeners],
                folders,
                [*PATTERNS, *options["reload_include"]],
                on_ready,
            )
            banner.begin()
            return trio.run(reloader.run)
    except (OSError, ValueError) as error:
        raise usage_error(error) from None
    except BaseExceptionGroup as group:
        failure = sole(group)
        if isinstance(failure, CannotWatch):
            raise click.UsageError(str(failure)) from None
        raise


def _check(config: Config, options: dict[str, Any]) -> None:
    if (options["workers"] or 1) > 1:
        raise click.UsageError("--reload serves with one process: leave --workers out, or --reload")
    if config.workers > 1:
        click.echo(
            f"Note: --reload serves with one process; workers = {config.workers} of the file is left out", err=True
        )


def _shown(folders: Sequence[Path]) -> str:
    return " and ".join(map(str, folders))


def take_reload_link(descriptor: int | None) -> ReloadLink | None:
    """In a process of a Reloader: wait until it is its turn, and end if it will never be. None in any other process."""
    if descriptor is None:
        return None
    link = ReloadLink(descriptor)
    if not link.wait_for_turn():
        sys.exit(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        early_signals.keep(number)
    return link
