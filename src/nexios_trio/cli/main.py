"""The command `nexios-trio`.

Exit status: 0 when the server was stopped in order, 1 when the application failed while serving or stopping, or a
worker ended by itself, 2 for a mistake on the command line or in a setting, 3 when the application did not start.
"""

import difflib
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import attrs
import click
import trio
from hypercorn.config import Config

from ..application import NexiosApp
from ..config.settings import Settings
from ..exceptions import SettingsError
from ..server import ServerError, StartupFailed, serve
from ..server.app_loader import LoadError, load_application
from ..server.errors import sole
from ..server.hypercorn.http_server import prepare, tls_context
from ..server.lifespan import App
from ..server.listeners import Listener, open_listeners
from ..server.supervisor import Supervisor, follow_parent, say_ready

__all__ = ["main"]

logger = logging.getLogger("nexios_trio.command")

FAILED: Final = 1
NOT_STARTED: Final = 3
LEVELS: Final = ("debug", "info", "warning", "error")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nexios-trio")
def main() -> None:
    """The real-time layer for Trio."""


@main.command(epilog="A setting is also read from NEXIOS_NAME in the environment; --show-settings lists them all.")
@click.argument("application", metavar="MODULE:APP", required=False)
@click.option("-b", "--bind", multiple=True, metavar="ADDRESS", help="HOST:PORT, unix:PATH or fd://NUMBER; several.")
@click.option("--insecure-bind", multiple=True, metavar="ADDRESS", help="The same without TLS, next to --bind with it.")
@click.option(
    "-c", "--config", metavar="FILE", help="hypercorn's configuration: a TOML file, file:PY or python:MODULE."
)
@click.option("-w", "--workers", type=click.IntRange(1), metavar="N", help="Processes on the same addresses.")
@click.option("--certfile", metavar="FILE", help="TLS certificate chain.")
@click.option("--keyfile", metavar="FILE", help="TLS private key.")
@click.option("--root-path", metavar="PATH", help="What a proxy in front cuts off, as in /chat.")
@click.option("--access-log", metavar="FILE", help="Where requests are logged; - for standard output.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.option("-s", "--set", "given", multiple=True, metavar="NAME=VALUE", help="A setting, as in max_connections=500.")
@click.option("--show-settings", is_flag=True, help="List every setting and its value, and exit.")
@click.option("--worker", type=int, hidden=True)
def run(application: str | None, **options: Any) -> None:
    """Serve an ASGI application, such as chat.main:app, until SIGTERM or Ctrl-C."""
    settings = _settings(options["given"])
    if options["show_settings"]:
        _show(settings)
        return
    if application is None:
        raise click.UsageError("say what to serve: nexios-trio run MODULE:APP")
    config = _config(options)
    worker: int | None = options["worker"]
    workers = options["workers"] or config.workers
    if worker is None and workers > 1:
        sys.exit(_supervise(application, config, settings, workers, options))
    sys.exit(_serve(application, config, options["given"], options["log_level"], worker))


# One process


def _serve(application: str, config: Config, given: Sequence[str], level: str, worker: int | None) -> int:
    app = _load(application)
    _log_to_stderr(level)
    _check_settings(app, given)
    if worker == 0:
        _warn_of_islands(app)
    if worker is None:
        _write_pid(config)
    else:  # while the server serves it has handlers of its own; a signal that comes behind its end is an old one
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    announcement = _Announcement(application, worker is not None)
    try:
        trio.run(_run, app, config, announcement)
    except BaseExceptionGroup as group:
        return _status_of(sole(group), announcement.is_made)
    return 0


def _status_of(failure: BaseException, was_ready: bool) -> int:
    """The exit status of a server that failed. What cannot be the configuration's fault is raised."""
    match failure:
        case StartupFailed():
            logger.critical("%s", failure, exc_info=failure.__cause__)
            return NOT_STARTED
        case ServerError():
            logger.critical("%s", failure, exc_info=failure.__cause__)
            return FAILED
        case OSError() | ValueError() if not was_ready:
            raise _usage_error(failure)
        case _:
            raise failure


def _usage_error(error: OSError | ValueError) -> click.UsageError:
    return click.UsageError(str((isinstance(error, OSError) and error.strerror) or error))


async def _run(app: App, config: Config, announcement: "_Announcement") -> None:
    async with trio.open_nursery() as nursery:
        if announcement.is_worker:
            nursery.start_soon(follow_parent)
        await serve(app, config, task_status=announcement)
        nursery.cancel_scope.cancel(reason="the server has stopped")


@attrs.define
class _Announcement(trio.TaskStatus[list[str]]):
    """Says that the server is ready: to people, or to the parent of a worker."""

    application: str
    is_worker: bool
    is_made: bool = False

    def started(self, value: list[str] | None = None) -> None:
        self.is_made = True
        if self.is_worker:
            say_ready()
        else:
            _announce(self.application, value or [])


def _announce(application: str, addresses: Sequence[str], workers: str = "") -> None:
    click.echo(f"Serving {application} on {' and '.join(addresses)}{workers} (Ctrl-C stops it)")
    sys.stdout.flush()


def _load(application: str) -> App:
    try:
        return load_application(application)
    except LoadError as error:
        raise click.UsageError(str(error)) from None
    except Exception:
        logger.critical("importing %s failed", application, exc_info=True)
        sys.exit(NOT_STARTED)


def _check_settings(app: App, given: Sequence[str]) -> None:
    """--set works through the environment, which an application may overrule in its code."""
    own = getattr(app, "settings", None)
    if not isinstance(own, Settings):
        return
    wanted = Settings.from_environ(os.environ)
    for name in (item.partition("=")[0].strip() for item in given):
        if getattr(own, name) != getattr(wanted, name):
            raise click.UsageError(f"--set cannot change {name}: the application sets it in its own code")


# Several processes


def _supervise(application: str, config: Config, settings: Settings, count: int, options: dict[str, Any]) -> int:
    _log_to_stderr(options["log_level"])
    with ExitStack() as stack:
        try:
            ours = prepare(config)
            tls_context(ours)
            listeners = stack.enter_context(open_listeners(ours))
        except (OSError, ValueError) as error:
            raise _usage_error(error) from None
        addresses = [listener.address for listener in listeners]
        command = _worker_command(application, listeners, options)
        _write_pid(config)
        supervisor = Supervisor(
            lambda number: [*command, "--worker", str(number)],
            count,
            [listener.sock.fileno() for listener in listeners],
            settings.drain_timeout,
            lambda: _announce(application, addresses, f" with {count} workers"),
        )
        return trio.run(supervisor.run)


def _worker_command(application: str, listeners: Sequence[Listener], options: dict[str, Any]) -> list[str]:
    """This command again, on inherited sockets. The settings are in the environment."""
    command = [sys.executable, "-m", "nexios_trio.cli", "run", application]
    for name in ("config", "certfile", "keyfile", "root_path", "access_log", "log_level"):
        if options[name] is not None:
            command += [f"--{name.replace('_', '-')}", options[name]]
    has_tls = any(listener.is_secure for listener in listeners)
    for listener in listeners:
        is_insecure = has_tls and not listener.is_secure
        command += ["--insecure-bind" if is_insecure else "--bind", f"fd://{listener.sock.fileno()}"]
    return [*command, *(f"--set={item}" for item in options["given"])]


def _warn_of_islands(app: App) -> None:
    if isinstance(app, NexiosApp) and app.box.engine.is_local:
        logger.warning(
            "every worker has its own groups: a group send reaches the members in its own process only, "
            "unless the box has an engine that connects processes"
        )


# What was given


def _config(options: dict[str, Any]) -> Config:
    """hypercorn's configuration: the file's, then the options."""
    config = _read_config(options["config"]) if options["config"] else Config()
    for name in ("bind", "insecure_bind"):
        if options[name]:
            setattr(config, name, list(options[name]))
    for option, name in (("certfile", "certfile"), ("keyfile", "keyfile"), ("root_path", "root_path")):
        if options[option] is not None:
            setattr(config, name, options[option])
    if options["access_log"] is not None:
        config.accesslog = options["access_log"]
    return config


def _read_config(source: str) -> Config:
    try:
        if source.startswith("python:"):
            return Config.from_object(source.removeprefix("python:"))
        if source.startswith("file:"):
            return Config.from_pyfile(source.removeprefix("file:"))
        return Config.from_toml(source)
    except (OSError, ValueError, ImportError, AttributeError, SyntaxError) as error:
        problem = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise click.UsageError(
            f"--config {source}: {problem}; accepted are a TOML file, file:PYTHON_FILE and python:MODULE"
        ) from None


def _settings(given: Sequence[str]) -> Settings:
    """The settings of the environment, into which those of the command line are put first."""
    rows = {row.name: row.variable for row in Settings().describe()}
    for item in given:
        name, equals, value = item.partition("=")
        name = name.strip()
        if not equals:
            raise click.UsageError(f"--set {item}: accepted is NAME=VALUE, as in max_connections=500")
        if name not in rows:
            close = difflib.get_close_matches(name, rows, 1)
            hint = f"did you mean {close[0]}?" if close else "--show-settings lists them"
            raise click.UsageError(f"--set {item}: there is no such setting; {hint}")
        os.environ[rows[name]] = value
    try:
        return Settings.from_environ(os.environ)
    except SettingsError as error:
        raise click.UsageError(_as_given(str(error), given, rows)) from None


def _as_given(problem: str, given: Sequence[str], variables: Mapping[str, str]) -> str:
    """A problem with a variable, in terms of the option that has set it."""
    for name in (item.partition("=")[0].strip() for item in given):
        problem = problem.replace(f"{variables[name]}=", f"--set {name}=")
    return problem


def _show(settings: Settings) -> None:
    rows = settings.describe()
    wide = max(len(row.name) for row in rows)
    for row in rows:
        unit = f" {row.unit}" if row.unit else ""
        was = f" (default {row.default})" if row.value != row.default else ""
        click.echo(f"{row.name:{wide}}  {row.value}{unit}{was}\n{'':{wide}}  {row.meaning}")


def _write_pid(config: Config) -> None:
    if config.pid_path is not None:
        with open(config.pid_path, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")


def _log_to_stderr(level: str) -> None:
    """Unless the application has set up logging for itself."""
    ours = logging.getLogger("nexios_trio")
    ours.setLevel(level.upper())
    if not ours.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s [%(process)d] %(levelname)s %(message)s"))
        ours.addHandler(handler)
