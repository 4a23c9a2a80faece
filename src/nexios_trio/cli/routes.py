"""`nexios-trio routes`: what an application serves, where, and what stands around it."""

import click

from ..routing.listing import list_routes
from .command import Command
from .human import colored, show_table
from .loading import find_nexios_app, load

__all__ = ["routes"]


@click.command(cls=Command, short_help="What an application serves, where, and by which handler.")
@click.argument("application", metavar="MODULE:APP")
def routes(application: str) -> None:
    """Show the routes of an application in the order in which they are tried: WebSockets, HTTP, and applications that
    are mounted, with the handler of each, and the middleware around WebSocket handlers, outermost first.
    """
    app = load(application)
    ours = find_nexios_app(app)
    if ours is None:
        raise click.UsageError(f"{application!r} is of type {type(app).__name__}; routes are shown of a NexiosApp")
    found = list_routes(ours)
    if not found:
        click.echo("There are no routes.")
        return
    rows = [(row.kind, row.path, row.handler, ", ".join(row.middleware) or "-") for row in found]
    show_table(("KIND", "PATH", "HANDLER", "MIDDLEWARE"), rows)
    around = ours._asgi_stack.names
    if around:
        click.secho(f"Around all of it: {', '.join(around)}", dim=True, color=colored())
