"""Can the application be loaded, and are all its routes reached?"""

import traceback
from collections import Counter
from collections.abc import Generator, Iterator

import click

from ...application import NexiosApp
from ...asgi_types import ASGIApp
from ...routing.listing import MOUNT, list_routes
from ...server.app_loader import LoadError, load_application
from ..loading import find_nexios_app, for_user
from .findings import Finding, note, ok, wrong

__all__ = ["check_application"]


def check_application(application: str) -> Generator[Finding, None, ASGIApp | None]:
    """Returns the application, or None if it cannot be loaded."""
    try:
        app = load_application(application)
    except LoadError as error:
        yield wrong("application", str(error))
        return None
    except Exception as error:
        yield wrong("application", f"importing {application} failed: {type(error).__name__}: {error}")
        click.echo("".join(traceback.format_exception(for_user(error))), err=True, nl=False)
        return None
    ours = find_nexios_app(app)
    if ours is None:
        yield ok("application", f"{application} is of type {type(app).__name__}; nothing more is known of it")
    else:
        yield from _check_routes(application, ours)
    return app


def _check_routes(application: str, app: NexiosApp) -> Iterator[Finding]:
    routes = list_routes(app)
    if routes:
        yield ok("application", f"{application} has {len(routes)} route{'s' * (len(routes) != 1)}")
    else:
        yield note("application", f"{application} has no routes")
    seen = Counter((route.kind, route.path) for route in routes if route.kind != MOUNT)
    for (kind, path), count in seen.items():
        if count > 1:
            yield wrong("application", f"{kind} {path} has {count} routes, of which only the first is ever reached")
