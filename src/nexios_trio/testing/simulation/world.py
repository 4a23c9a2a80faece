"""A virtual world: servers, clients and a network between them, in virtual time, the same for the same seed."""

import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from types import TracebackType
from typing import Any

import trio
import trio.testing

from ...asgi_types import ASGIApp
from ..checks.delivery import MARK, DeliveryObserver, Record
from ..checks.leaks import LeakBaseline, check_none, leaks_of
from ..client.client import Client
from ..client.connect import open_client
from ..client.link import Link
from ..client.request import HeaderValues, QueryValues, make_scope
from ..errors import ConnectionOver
from ..internals import box_of
from ..servers.table import ServerName
from .deadlock import DeadlockDetector
from .determinism import deterministic, frozen_world, jump_ahead
from .faults import Faults
from .makers import maker
from .network import Net, Traffic
from .node import Node, call
from .timeline import Timeline

__all__ = ["World"]

MAX_DELIVERY_SECONDS = 5.0  # seconds after which a message to a client that reads must be there


class World(Faults):
    """`async with World(app, seed=7) as w:`, in a run on a virtual clock (the `autojump_clock` fixture, or `run`).

    Inside, `time.time()`, UUIDs, `random` and trio's order of tasks depend on the seed and on virtual time alone, so
    that the same test makes the same `timeline`. Leaving the block stops the servers, and then nothing may be left. A
    failure inside shows the seed and the end of the timeline.

    Args:
        app: the application that every server runs. A server that stops forgets its histories; use `make` where it
            must have forgotten everything when it starts again, and for several servers.
        make: makes a server's application.
        seed: of chance.
        clock: "autojump" (time passes only when everybody waits), or None to leave the run's clock as it is.
        net: the network between clients and servers.
        nodes: how many servers. Several share groups and history, where the boxes of their applications were given no
            engine; see `cut_engine`.
        server: whose ASGI events the applications get: "hypercorn" or "direct".
        buffer: bytes that each direction of a connection holds when its reader does not read.
        timeout: seconds for every wait of a client, for startup and for shutdown.
        check: whether to look for gaps and leaks at the end of a block that did not fail, and to count memory channels.
    """

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        make: Callable[[], ASGIApp] | None = None,
        seed: int = 0,
        clock: str | None = "autojump",
        net: Net | None = None,
        nodes: int = 1,
        server: ServerName = "hypercorn",
        buffer: int = 65536,
        timeout: float = 60.0,
        check: bool = True,
    ) -> None:
        self.seed = seed
        self.net = net or Net()
        self.server: ServerName = server
        self.nodes: list[Node] = []
        self.clients: list[Client] = []  # those that are connected
        self.timeline = Timeline(lambda: self.now)
        self._make = maker(app, make, nodes)
        self._count = nodes
        self._clock = clock
        self._buffer = buffer
        self._timeout = timeout
        self._check = check
        self._chance = random.Random(seed)
        self._traffic = Traffic(self.net, self._chance)
        self._observer = DeliveryObserver()
        self._gaps: list[str] = []
        self._records: dict[Client, Record] = {}
        self._names = 0
        self._begin = 0.0
        self._settled = 0.0
        self._baseline = LeakBaseline()
        self._detector = DeadlockDetector()
        self._start_soon: Callable[..., None] = _not_running
        self._start: Callable[..., Any] = _not_running
        self._block: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> "World":
        self._block = self._open()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._block is not None
        try:
            handled = await self._block.__aexit__(kind, error, traceback)
        except Exception as failure:
            failure.add_note(self.story())
            raise
        if isinstance(error, Exception) and not handled:
            error.add_note(self.story())
        return handled

    # Time and faults

    @property
    def now(self) -> float:
        """Virtual seconds since the world began."""
        return trio.current_time() - self._begin

    async def until(self, when: float) -> None:
        """Sleep until `now` is `when`."""
        await trio.sleep_until(self._begin + when)

    def at(self, when: float, fault: Callable[..., Any], *args: Any) -> None:
        """Call a function, sync or async, when `now` is `when`: `w.at(3600, w.restart)`, `w.at(60, ws.stall)`."""
        self._start_soon(self._call_at, when, fault, args)

    async def restart(self, node: int = 0, *, down: float = 0.0, kill: bool = False) -> None:
        """Stop a server and start it again, with a new application where the world was given `make`.

        Args:
            down: seconds in between, in which nobody can connect.
            kill: end it without a word to anybody.
        """
        server = self.nodes[node]
        await (server.kill() if kill else server.stop())
        await trio.sleep(down)
        server.renew()
        await self._start_node(server)

    async def settle(self, seconds: float | None = None) -> None:
        """Let everything that is on its way arrive: by default a second, and ten round trips."""
        await trio.sleep(1 + 10 * (self.net.rtt + self.net.jitter) if seconds is None else seconds)
        await trio.testing.wait_all_tasks_blocked()
        self._settled = trio.current_time()

    # Clients

    @asynccontextmanager
    async def connect(
        self,
        url: str = "/",
        *,
        name: str | None = None,
        node: int = 0,
        headers: HeaderValues = (),
        query: QueryValues = (),
        cookies: Mapping[str, str] | None = None,
        subprotocols: Iterable[str] = (),
        timeout: float | None = None,
    ) -> AsyncGenerator[Client]:
        """A client for the length of the block. Leaving it says goodbye, and waits for nobody.

        Args:
            name: in the timeline.
            node: the server.
            timeout: seconds of its waits. For the others see `nexios_trio.testing.connect`.
        Raises: ConnectionOver when the server is down; Denied.
        """
        self._names += 1
        name = name or f"client {self._names}"
        server = self.nodes[node]
        if not server.is_up:
            await trio.lowlevel.checkpoint()
            self.timeline.note(name, "finds nobody")
            raise ConnectionOver("a server", 1006, "", f"{server.name} is down")
        scope = make_scope(url, headers, query, cookies, list(subprotocols), ("127.0.0.1", self._names))
        link = Link(self._buffer, self._traffic.path(), self._traffic.path())
        client = open_client(link, server.app, scope, self.server, timeout or self._timeout)
        record = scope["extensions"][MARK] = self._records[client] = Record(name)
        client.name, client.background, client.note = name, server.background, partial(self._note_client, record)
        self.timeline.note(name, "connects to", f"{server.name}{url}")
        server.serve(client)
        try:
            await client.wait_for_handshake()
            self.clients.append(client)
            yield client
        finally:
            self._forget(client)

    def _forget(self, client: Client) -> None:
        self.clients = [each for each in self.clients if each is not client]
        client.close_as_tab()
        problem = self._records.pop(client).problem(-inf)
        if problem is not None:
            self._gaps.append(problem)

    def _note_client(self, record: Record, what: str, data: Any) -> None:
        self._detector.progress()
        if what == "got":
            record.got(data)
        self.timeline.note(record.name, what, data)

    # Judgement

    def assert_gap_free(self) -> None:
        """Fail if a client was not given a group message that it was owed, or not in order.

        A client that reads must have what was sent before the last `settle`, or more than five seconds ago. The end of
        a connection may cut off the last messages.
        """
        due = max(self._settled, trio.current_time() - MAX_DELIVERY_SECONDS)
        records = self._records.items()
        late = [record.problem(due if client.must_have_received(due) else -inf) for client, record in records]
        check_none("every group message to arrive, in order", [*self._gaps, *filter(None, late)])

    def assert_no_leaks(self) -> None:
        """Fail if anything outlived its connection: a task, a membership, an entry in a registry, a memory channel."""
        left = [problem for node in self.nodes for problem in leaks_of(node, self._baseline)]
        if not left and not any(node.clients for node in self.nodes) and (more := self._baseline.memory_channels()):
            left = [f"{more} more memory channel(s) than before are alive"]
        check_none("nothing to outlive its connection", left)

    def story(self, last: int = 60) -> str:
        """The seed, and the end of the timeline."""
        return f"World(seed={self.seed}), the last of {self.timeline.count} events:\n{self.timeline.text(last)}"

    # Inside

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[None]:
        if self._clock is not None:
            jump_ahead(self._clock)
        failure: Exception | None = None
        baseline = self._baseline.taken(counting=self._check)
        detector = self._detector.installed(self._clock is not None)
        with deterministic(self.seed), frozen_world(self.seed), baseline, detector:
            self._begin = self._settled = trio.current_time()
            async with trio.open_nursery() as nursery:
                self._detector.scope = nursery.cancel_scope
                await self._begin_in(nursery)
                try:
                    yield
                    await self._end()
                except Exception as error:
                    failure = error
                finally:
                    self._start_soon = self._start = _not_running
                nursery.cancel_scope.cancel(reason="the world ends")
            if failure is not None:
                raise failure

    async def _begin_in(self, nursery: trio.Nursery) -> None:
        self._start_soon, self._start = nursery.start_soon, nursery.start
        nursery.start_soon(self._traffic.run, name="network")
        for number in range(self._count):
            node = Node(
                f"node {number}" if self._count > 1 else "server", self._make, self.timeline.note, self._timeout
            )
            self.nodes.append(node)
            await self._start_node(node)
        self._baseline.begin()

    async def _start_node(self, node: Node) -> None:
        box = box_of(node.app)
        if box is not None:
            self._observer.watch(box)
        await self._start(node.live, name=node.name)

    async def _end(self) -> None:
        if self._check:
            await self.settle()
            self.assert_gap_free()
        for node in self.nodes:
            if node.is_up:
                await node.stop()
        if self._check:
            self._baseline.end()
            self.assert_no_leaks()

    async def _call_at(self, when: float, fault: Callable[..., Any], args: tuple[Any, ...]) -> None:
        await self.until(when)
        await call(fault, args)


def _not_running(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the world is not running: use it inside `async with World(...) as w:`")
