"""`RouteTree`: routes, middleware, mounted trees and applications, and how they are found; users call `routes`."""

from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from ..middleware.chain import Middleware
from .entries import HttpRoute, HttpRow, RegisteredRoute, WebsocketRow
from .mounts import MountedApplication, MountedRow
from .paths import PathPattern
from .route import WebsocketRoute
from .table import Table

__all__ = ["Mount", "RouteTree"]


@frozen(eq=False)
class Mount:
    """A tree inside another. The reference is live: what is added to the inner one later counts."""

    tree: "RouteTree"
    prefix: str | None  # in place of the tree's own

    @property
    def path(self) -> str:
        return self.tree.prefix if self.prefix is None else self.prefix


class RouteTree:
    """Entries in the order of registration; the first that matches wins."""

    prefix: str = ""

    def __init__(self) -> None:
        self._entries: list[RegisteredRoute | MountedApplication | Mount] = []
        self._middleware: list[Middleware] = []
        self._mounted_in: list[tuple[RouteTree, Mount]] = []
        # Built when first needed, thrown away by every change here or further in.
        self._ws_table: Table[WebsocketRow | MountedRow] | None = None
        self._http_table: Table[HttpRow | MountedRow] | None = None

    def _add(self, route: WebsocketRoute | HttpRoute) -> None:
        """Raises TypeError or ValueError, and nothing was changed, for a route that cannot work here."""
        self._register(RegisteredRoute.of(route))

    def _mount_application(self, mounted: MountedApplication) -> None:
        """Raises ValueError, and nothing was changed, for a path or an application that cannot be here."""
        if any(tree._contains(self) for tree in _tree_of(mounted.app)):
            raise ValueError("an application cannot be mounted inside itself")
        if mounted.has_lifespan:
            self._check_not_started(f"an application was mounted at {mounted.path or '/'!r}")
        self._register(mounted)

    def _register(self, entry: RegisteredRoute | MountedApplication) -> None:
        self._check(lambda prefix, is_complete: entry.check(prefix, is_complete=is_complete))
        if isinstance(entry, RegisteredRoute) and entry.is_synchronous:
            self._check_synchronous(entry.handler.name)
        self._entries.append(entry)
        self._changed()

    def _mount(self, tree: "RouteTree", prefix: str | None) -> None:
        """Raises TypeError or ValueError, and nothing was changed, for a tree that cannot work here."""
        if tree._contains(self):
            raise ValueError("a router cannot be mounted inside itself")
        mount = Mount(tree, prefix)

        def check(base: str, is_complete: bool) -> None:
            for inner, registered in tree._walk(base + mount.path):
                registered.check(inner, is_complete=is_complete)

        self._check(check)
        for _, entry in tree._walk(""):
            if isinstance(entry, RegisteredRoute) and entry.is_synchronous:
                self._check_synchronous(entry.handler.name)
        if any(mounted.has_lifespan for mounted in tree._mounted_applications()):
            self._check_not_started("a router with an application in it was mounted")
        tree._mounted_in.append((self, mount))
        self._entries.append(mount)
        self._changed()

    # Finding

    def find_websocket(self, path: str) -> tuple[WebsocketRow | MountedRow, dict[str, Any]] | None:
        """Find the first WebSocket route for `path` (see `paths.request_path`), and its parameters."""
        if self._ws_table is None:
            self._ws_table = Table(list(self._websocket_rows(self.prefix, ())))
        return next(self._ws_table.matches(path), None)

    def find_http(self, path: str) -> Iterator[tuple[HttpRow | MountedRow, dict[str, Any]]]:
        """Find the HTTP routes for `path`, whatever their method, in order of registration."""
        if self._http_table is None:
            self._http_table = Table(list(self._http_rows(self.prefix)))
        return self._http_table.matches(path)

    def _websocket_rows(
        self, prefix: str, outer: tuple[Middleware, ...]
    ) -> Iterator[tuple[PathPattern, WebsocketRow | MountedRow]]:
        middleware = (*outer, *self._middleware)
        for entry in self._entries:
            if isinstance(entry, Mount):
                yield from entry.tree._websocket_rows(prefix + entry.path, middleware)
            elif isinstance(entry, MountedApplication):
                row = MountedRow(entry, entry.pattern(prefix), middleware)
                yield row.pattern, row
            elif isinstance(entry.route, WebsocketRoute):
                pattern = entry.pattern(prefix)
                yield pattern, entry.websocket_row(entry.route, pattern, middleware)

    def _http_rows(self, prefix: str) -> Iterator[tuple[PathPattern, HttpRow | MountedRow]]:
        for entry in self._entries:
            if isinstance(entry, Mount):
                yield from entry.tree._http_rows(prefix + entry.path)
            elif isinstance(entry, MountedApplication):
                row = MountedRow(entry, entry.pattern(prefix))
                yield row.pattern, row
            elif isinstance(entry.route, HttpRoute):
                pattern = entry.pattern(prefix)
                yield pattern, HttpRow(entry.route, pattern.text, entry.handler)

    # The tree

    def _mounted_applications(self) -> Iterator[MountedApplication]:
        """Yield what is mounted here and in routers further in."""
        for entry in self._entries:
            if isinstance(entry, Mount):
                yield from entry.tree._mounted_applications()
            elif isinstance(entry, MountedApplication):
                yield entry

    def _walk(self, prefix: str) -> Iterator[tuple[str, RegisteredRoute | MountedApplication]]:
        """Yield every route here and further in, with the prefix before its own path."""
        for entry in self._entries:
            if isinstance(entry, Mount):
                yield from entry.tree._walk(prefix + entry.path)
            else:
                yield prefix, entry

    def _complete_prefixes(self) -> Iterator[str]:
        """Yield the prefixes that this can be reached under, from an application on."""
        for parent, mount in self._mounted_in:
            for base in parent._complete_prefixes():
                yield base + mount.path

    def _check(self, check: Callable[[str, bool], None]) -> None:
        """Call `check(prefix, is_complete)` for every way from an application to here.

        Where there is none yet, routers further out may still bring parameters.
        """
        check(self.prefix, False)
        for prefix in self._complete_prefixes():
            check(prefix, True)

    def _check_synchronous(self, name: str) -> None:
        """Raise TypeError if a consumer whose `on_receive` is synchronous cannot be in an application around this."""
        for parent, _ in self._mounted_in:
            parent._check_synchronous(name)

    def _check_not_started(self, what: str) -> None:
        """Raise LifecycleError if an application that this is part of has started, too early for what is new here."""
        for parent, _ in self._mounted_in:
            parent._check_not_started(what)

    def _contains(self, other: "RouteTree") -> bool:
        if other is self:
            return True
        trees = [entry.tree for entry in self._entries if isinstance(entry, Mount)]
        trees += [inner for one in self._entries if isinstance(one, MountedApplication) for inner in _tree_of(one.app)]
        return any(tree._contains(other) for tree in trees)

    def _changed(self) -> None:
        self._ws_table = self._http_table = None
        for parent, _ in self._mounted_in:
            parent._changed()


def _tree_of(app: object) -> "list[RouteTree]":
    return [app] if isinstance(app, RouteTree) else []
