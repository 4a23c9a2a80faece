"""Serve an application in this process."""

import logging
import os
import signal
from collections.abc import Sequence

import attrs
import click
import trio
from hypercorn.config import Config

from ..application import NexiosApp
from ..asgi_types import ASGIApp
from ..config.settings import Settings
from ..exceptions import EngineError
from ..observability.workers import be_worker
from ..server import ServerError, StartupFailed, early_signals, serve
from ..server.errors import sole
from ..server.parent_link import ParentLink, WorkerPlace
from ..server.reload import ReloadLink
from ..server.watchdog import DEVELOPMENT_SECONDS, default_block_warning
from .banner import Banner
from .loading import FAILED, NOT_STARTED, for_user, load
from .log_setup import LogSetup
from .options import given_names, usage_error

__all__ = ["serve_in_this_process", "write_pid"]

logger = logging.getLogger("nexios_trio.command")


def serve_in_this_process(
    application: str,
    config: Config,
    banner: Banner,
    logs: LogSetup,
    worker: WorkerPlace | None,
    health_bind: Sequence[str] = (),
    reload_link: ReloadLink | None = None,
) -> int:
    """Serve until stopped. Returns the exit status.

    Args:
        worker: what the parent of several workers gave to this one; None for a process of its own.
        health_bind: as for `serve`.
        reload_link: the parent that starts this process anew when files change.
    """
    parent = None if worker is None else ParentLink.take(worker)  # before the application starts processes of its own
    if worker is None and reload_link is None:  # else the parent has done so
        banner.begin()
    app = load(application, None if parent is None else parent.say_failed)
    logs.settle()
    _check_settings(app, banner.given)
    if parent is not None:
        be_worker(parent.number)
    if parent is not None and parent.number == 0:
        _warn_of_islands(app)
    if parent is not None:
        early_signals.keep(signal.SIGTERM)
    elif reload_link is None:
        write_pid(config)
    announcement = _Announcement(app, banner, parent, reload_link)
    try:
        trio.run(_run, app, config, announcement, health_bind)
    except BaseExceptionGroup as group:
        return _status_of(sole(group), announcement.is_made)
    finally:
        if parent is not None:  # which may pass on a signal that this worker has had already
            early_signals.ignore(signal.SIGTERM)
    return 0


def _status_of(failure: BaseException, was_ready: bool) -> int:
    """The exit status of a server that failed. What cannot be the configuration's fault is raised."""
    match failure:
        case StartupFailed(__cause__=EngineError()):  # which was told
            return FAILED
        case StartupFailed():
            logger.critical("%s", failure, exc_info=for_user(failure.__cause__))
            return NOT_STARTED
        case ServerError():
            logger.critical("%s", failure, exc_info=failure.__cause__)
            return FAILED
        case OSError() | ValueError() if not was_ready:
            raise usage_error(failure)
        case _:
            raise failure


async def _run(app: ASGIApp, config: Config, announcement: "_Announcement", health_bind: Sequence[str]) -> None:
    async with trio.open_nursery() as nursery:
        if announcement.parent is not None:
            nursery.start_soon(announcement.parent.follow)
        if announcement.reload_link is not None:
            nursery.start_soon(announcement.reload_link.follow, nursery.cancel_scope)
            default_block_warning.set(DEVELOPMENT_SECONDS)
        try:
            await serve(
                app,
                config,
                health_bind=health_bind,
                parent=announcement.parent,
                owns_process=True,
                task_status=announcement,
            )
        except StartupFailed as failure:
            if isinstance(failure.__cause__, EngineError):
                announcement.fail(f"the application failed to start: {failure.__cause__}")
            raise
        nursery.cancel_scope.cancel(reason="the server has stopped")


@attrs.define
class _Announcement(trio.TaskStatus[list[str]]):
    """Says that the server is ready: to people, or to the parent process."""

    app: ASGIApp
    banner: Banner
    parent: ParentLink | None
    reload_link: ReloadLink | None
    is_made: bool = False

    def started(self, value: list[str] | None = None) -> None:
        self.is_made = True
        if self.parent is None or self.parent.number == 0:
            self.banner.summarize(self.app, 1 if self.parent is None else None)
        if self.parent is not None:
            self.parent.say_ready()
        elif self.reload_link is not None:
            self.reload_link.say_ready()
        else:
            self.banner.announce(value or [])

    def fail(self, problem: str) -> None:
        """Say, once for all workers, why it does not start."""
        if self.parent is None:
            logger.critical("%s", problem)
        else:
            self.parent.say_failed(problem)


def _check_settings(app: ASGIApp, given: Sequence[str]) -> None:
    """--set works through the environment, which an application may overrule in its code."""
    own = getattr(app, "settings", None)
    if not isinstance(own, Settings):
        return
    wanted = Settings.from_environ(os.environ)
    for name in given_names(given):
        if getattr(own, name) != getattr(wanted, name):
            raise click.UsageError(f"--set cannot change {name}: the application sets it in its own code")


def _warn_of_islands(app: ASGIApp) -> None:
    if isinstance(app, NexiosApp) and app.box.engine.is_local:
        logger.warning(
            "every worker has its own groups: a group send reaches the members in its own process only, "
            "unless the box has an engine that connects processes"
        )


def write_pid(config: Config) -> None:
    """Write this process' number where the configuration wants it."""
    if config.pid_path is not None:
        with open(config.pid_path, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
