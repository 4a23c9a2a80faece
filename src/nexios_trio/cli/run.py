"""`nexios-trio run`: serve an application, in this process or in workers."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import click
import trio
from hypercorn.config import Config

from ..config.settings import Settings
from ..server.health_server import health_config
from ..server.hypercorn.http_server import prepare, tls_context
from ..server.listeners import Listener, open_listeners
from ..server.parent_link import WorkerPlace
from ..server.supervisor import Supervisor
from ..server.workers_health import run_with_health
from .banner import Banner
from .command import Command
from .log_setup import LogSetup
from .options import read_options, read_settings, usage_error, use_engine
from .process import serve_in_this_process, write_pid
from .reload import serve_with_reload, take_reload_link
from .serving_options import serving_options
from .settings import show_settings

__all__ = ["run"]


@click.command(
    cls=Command,
    short_help="Serve an ASGI application, until it is stopped.",
    epilog="A setting is also read from NEXIOS_NAME in the environment; --show-settings lists them all.",
)
@click.argument("application", metavar="MODULE:APP", required=False)
@serving_options
@click.option("--show-settings", is_flag=True, help="List every setting and its value, and exit.")
@click.option("--link", type=int, hidden=True)  # what `--reload` gives to each process
@click.option("--worker", hidden=True)  # what the parent of several gives to each
def run(application: str | None, **options: Any) -> None:
    """Serve an ASGI application, such as chat.main:app, until SIGTERM or Ctrl-C."""
    reload_link = take_reload_link(options["link"])  # waits for this process' turn
    settings = read_settings(options["given"])
    use_engine(options["engine"])
    if options["show_settings"]:
        show_settings(settings, options["given"])
        return
    if application is None:
        raise click.UsageError("say what to serve: nexios-trio run MODULE:APP")
    logs = LogSetup(options["log_format"], options["log_level"])
    logs.begin()
    banner = Banner(application, options["given"], options["banner"], options["log_format"] == "json")
    config = logs.use_in(read_options(options))
    worker = None if options["worker"] is None else WorkerPlace.from_argument(options["worker"])
    if options["reload"]:
        sys.exit(serve_with_reload(config, options, banner, lambda found: _arguments(application, found, options)))
    workers = options["workers"] or config.workers
    health: tuple[str, ...] = options["health_bind"]
    if worker is None and workers > 1:
        sys.exit(_supervise(config, settings, workers, banner, options))
    sys.exit(serve_in_this_process(application, config, banner, logs, worker, health, reload_link))


def _supervise(config: Config, settings: Settings, count: int, banner: Banner, options: dict[str, Any]) -> int:
    with ExitStack() as stack:
        try:
            ours = prepare(config)
            tls_context(ours)
            listeners = stack.enter_context(open_listeners(ours))
            health_options = health_config(ours, options["health_bind"])
            health = stack.enter_context(open_listeners(health_options, listeners))
        except (OSError, ValueError) as error:
            raise usage_error(error) from None
        addresses = [listener.address for listener in listeners]
        command = _worker_command(banner.application, listeners, options)
        write_pid(config)
        supervisor = Supervisor(
            lambda place: [*command, "--worker", place.to_argument()],
            count,
            [listener.sock.fileno() for listener in listeners],
            settings.drain_timeout,
            lambda: banner.announce(addresses, f" with {count} workers"),
        )
        banner.begin()
        return trio.run(run_with_health, supervisor, health, ours, settings)


def _worker_command(application: str, listeners: Sequence[Listener], options: dict[str, Any]) -> list[str]:
    """That of a worker, for whose health the parent answers."""
    return [sys.executable, "-m", "nexios_trio", *_arguments(application, listeners, {**options, "health_bind": ()})]


def _arguments(application: str, listeners: Sequence[Listener], options: dict[str, Any]) -> list[str]:
    """This command again, on inherited sockets. The settings are in the environment."""
    command = ["run", application]
    for name in ("config", "certfile", "keyfile", "root_path", "access_log", "log_level", "log_format"):
        if options[name] is not None:
            command += [f"--{name.replace('_', '-')}", options[name]]
    has_tls = any(listener.is_secure for listener in listeners)
    for listener in listeners:
        is_insecure = has_tls and not listener.is_secure
        command += ["--insecure-bind" if is_insecure else "--bind", f"fd://{listener.sock.fileno()}"]
    command += (f"--health-bind={bind}" for bind in options["health_bind"])
    command += [] if options["banner"] else ["--no-banner"]
    return [*command, *(f"--set={item}" for item in options["given"])]
