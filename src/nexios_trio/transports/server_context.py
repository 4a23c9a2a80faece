"""What our own server and the applications in it know of each other.

    server                  sets `current_server` for all its tasks, puts a `DirectOffer` into each WebSocket's scope
    application's lifespan  hands its settings up: `ServerContext.adopt_settings`
    its connections         take the transport from the offer, and give it their application's settings

Neither imports the other.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from math import inf
from typing import Any, Final, Protocol

import attrs
import trio

from ..asgi_types import ASGIApp, Receive, Scope, Send
from ..config.settings import Settings
from ..logs.access import AccessLog
from .base import TRANSPORT_EXTENSION, Transport
from .timers import Timers

__all__ = [
    "SERVER_WIDE",
    "CleanupLimit",
    "ConnectionHost",
    "DirectOffer",
    "Observable",
    "ServerContext",
    "ServerCounts",
    "ServerOverview",
    "current_server",
    "find_offer",
    "serving_as",
]


# Settings that the server decides by before an application has a say: one value for all that it serves.
SERVER_WIDE: Final = (
    "max_connections",
    "max_connections_per_address",
    "trusted_proxies",
    "handshake_timeout",
    "max_handshake_size",
    "compression",
    "drain_timeout",
    "drain_jitter",
    "block_warning",
)


class DirectOffer(dict[str, Any]):
    """A connection's own transport, in `scope["extensions"]`, for the application that knows it.

    To everybody else it is an empty dict, and so is whatever it is copied, pickled or dumped to. Owned by the server,
    which withdraws it when the connection is over: a scope that somebody keeps does not keep the transport.
    """

    __slots__ = ("_apply_settings", "_receive", "_send", "is_ours", "is_taken", "transport")

    def __init__(
        self,
        transport: Transport,
        receive: Receive,
        send: Send,
        apply_settings: Callable[[Settings], None] = lambda settings: None,
    ) -> None:
        super().__init__()
        self.transport: Transport | None = transport
        self._receive: Receive | None = receive
        self._send: Send | None = send
        self._apply_settings: Callable[[Settings], None] | None = apply_settings
        self.is_ours = False  # an application of ours has seen it: that has deadlines of its own
        self.is_taken = False

    def is_untouched(self, receive: Receive, send: Send) -> bool:
        """Tell whether nothing stands between server and application that wants to see the messages."""
        return self._receive == receive and self._send == send

    def apply_settings(self, settings: Settings) -> None:
        """Give the transport its application's settings. To be called before the handshake is answered."""
        self.is_ours = True
        if self._apply_settings is not None:
            self._apply_settings(settings)

    def take(self, receive: Receive, send: Send) -> Transport | None:
        """Take the transport over, with all that is due to it, unless somebody wants to see the messages."""
        if self.transport is None or not self.is_untouched(receive, send):
            return None
        self.is_taken = True
        self._receive = self._send = self._apply_settings = None  # half a KiB that nobody needs while it lasts
        return self.transport

    def withdraw(self) -> None:
        """Let go of everything: the connection is over."""
        self.transport = self._receive = self._send = self._apply_settings = None

    def __copy__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return {}

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, ()


def find_offer(scope: Scope, receive: Receive, send: Send) -> DirectOffer | None:
    """The offer of our own server, if this is a connection of it.

    It stands in the scope, and behind `receive` and `send`: middleware may have copied the one or wrapped the others.
    """
    offer = (scope.get("extensions") or {}).get(TRANSPORT_EXTENSION)
    for method in (receive, send):
        if isinstance(offer, DirectOffer):
            return offer
        offer = getattr(getattr(method, "__self__", None), "offer", None)
    return offer if isinstance(offer, DirectOffer) else None


class IdleConnection(Protocol):
    """A connection of which no task runs."""

    def wake(self) -> None:
        """Start one."""


class ConnectionHost(Protocol):
    """A connection's own server of ours, to an application that is called by nobody else."""

    def apply_settings(self, settings: Settings) -> None:
        """As that of a `DirectOffer`."""

    def start_task(self, context: Context, function: Callable[..., Awaitable[bool]], *args: Any) -> None:
        """Run `function` in a task that begins with `context`; the connection is over when it returns True."""

    def idle(self, connection: IdleConnection) -> None:
        """Keep a connection until its next task; wake it when the server's connections are cancelled."""

    async def leave(self) -> None:
        """Close the socket: as `DirectTransport.leave`."""


class CleanupLimit:
    """Until when the connections of one server may clean up, shielded as that is. Owned by the server."""

    def __init__(self) -> None:
        self.deadline = inf  # as `trio.current_time()`
        self._scopes: set[trio.CancelScope] = set()

    @contextmanager
    def bounding(self, scope: trio.CancelScope) -> Generator[None]:
        """Bound `scope` in the block, now and if the deadline comes nearer."""
        self._scopes.add(scope)
        scope.deadline = min(scope.deadline, self.deadline)
        try:
            yield
        finally:
            self._scopes.discard(scope)

    def end_at(self, when: float) -> None:
        """Let no cleanup, running or to come, go on after `when`."""
        self.deadline = min(self.deadline, when)
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, when)


class Observable(Protocol):
    """An application, as its server asks it for health and metrics."""

    async def problems(self) -> dict[str, str]:
        """Return what is not ready, by name, and why. Checkpoint: always. Bounded in time."""
        ...

    def private_page(self, path: str) -> ASGIApp | None:
        """Find what the application shows at `path` of the server's own address, to nobody else."""
        ...


@attrs.frozen
class ServerCounts:
    """What a server counts of its connections, WebSockets and others."""

    connections: int  # accepted, and not over
    most: int  # that there may be
    without_request: int  # of which no request has come yet
    http: int  # that are HTTP's
    refused: Mapping[str, int]  # since the server began, before any application has seen them, by why


@attrs.define(eq=False)
class ServerOverview:
    """What the server's own address for health tells of server and applications. Both write here what they know."""

    problem: str | None = "starting"  # why the server serves nobody: "starting", "draining"
    applications: list[Observable] = attrs.field(factory=list)  # those that have been told to start, and not to stop
    count: Callable[[], ServerCounts] | None = None  # while connections are served
    ask_parent: Callable[..., Awaitable[Any]] | None = None  # of one of several workers; None for no answer

    async def problems(self) -> dict[str, str]:
        """Return what is not ready, of the server and of the applications in it. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        found = {} if self.problem is None else {"server": self.problem}
        for application in list(self.applications):
            found |= await application.problems()
        return found

    def page(self, path: str, which: int | None = None) -> ASGIApp | None:
        """Find what the applications show on the server's own address: the first that has something, or that one."""
        asked = self.applications if which is None else self.applications[which : which + 1]
        pages = (application.private_page(path) for application in asked)
        return next((page for page in pages if page is not None), None)


class ServerContext(Protocol):
    """A running server of ours, as the applications in it see it. Owned by `server.run`."""

    timers: Timers  # run by the server, from before the lifespan starts until after it has ended
    cleanups: CleanupLimit
    overrules: bool  # its settings were given to `serve`: they hold for every connection, whatever applications say
    overview: ServerOverview
    access_log: AccessLog | None

    @property
    def settings(self) -> Settings:
        """Return what the server decides by."""
        ...

    def adopt_settings(self, settings: Settings) -> bool:
        """Take an application's settings for the server's own, unless it was given some; whether they have changed."""
        ...


# Set by the server before it starts a task, so that its lifespan task and all its connections inherit it.
current_server: ContextVar[ServerContext | None] = ContextVar("nexios_trio.current_server", default=None)


@contextmanager
def serving_as(server: ServerContext) -> Generator[None]:
    """Let the tasks that are started in the block find the server, and the applications in them."""
    token = current_server.set(server)
    try:
        yield
    finally:
        current_server.reset(token)
