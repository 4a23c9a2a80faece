"""`nexios-trio check`: what is wrong with an application and its configuration, before it serves."""

import sys
from typing import Any, Final

import click

from .checks.everything import find_all
from .checks.findings import NOTE, OK, WRONG, Finding
from .command import Command
from .human import colored
from .serving_options import serving_options

__all__ = ["check"]

LOOKS: Final[dict[str, dict[str, Any]]] = {
    OK: {"fg": "green"},
    NOTE: {"fg": "yellow"},
    WRONG: {"fg": "red", "bold": True},
}


@click.command(cls=Command, short_help="What is wrong with an application and its configuration.")
@click.argument("application", metavar="MODULE:APP")
@serving_options
@click.option("--through", metavar="URL", help="Ask for a WebSocket there, and see what arrives here: behind a proxy.")
def check(application: str, **options: Any) -> None:
    """Check what `run` with the same options would serve, without serving: the application, settings, addresses, TLS,
    proxies, the engine's server, and the system's limits.

    With --through wss://chat.example.com/ws something does serve, for a moment, where the application would: it shows
    what the proxies in front make of a browser's handshake.

    Exit status 1 when something is wrong; a note is no more than that.
    """
    wrong = 0
    for finding in find_all(application, options):
        _show(finding)
        wrong += finding.level == WRONG
    if wrong:
        click.secho(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.", bold=True, color=colored())
        sys.exit(1)
    click.secho("Nothing is wrong.", bold=True, color=colored())


def _show(finding: Finding) -> None:
    click.secho(f"{finding.level:5}", nl=False, color=colored(), **LOOKS[finding.level])
    click.echo(f"  {finding.subject:11}  {finding.text}")
