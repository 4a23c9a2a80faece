"""One server of a virtual world: an application's lifespan and its connections, which can stop and start again."""

import inspect
from collections.abc import Callable
from typing import Any

import trio

from ...asgi_types import ASGIApp
from ..checks.stacks import is_users, subtree
from ..client.client import Client
from ..client.lifespan import lifespan_state, run_app

__all__ = ["Node"]

Note = Callable[[str, str, Any], None]  # who, what, data


class Node:
    """A server. Its tasks live in the nursery of the world that it belongs to."""

    def __init__(
        self, name: str, make: Callable[[], ASGIApp], note: Callable[[str, str, Any], None], timeout: float
    ) -> None:
        self.name = name
        self.app: Any = make()
        self.clients: dict[Client, trio.lowlevel.Task | None] = {}  # and the tasks that serve them
        self.state: dict[str, Any] = {}
        self.is_cut = False  # nothing arrives at it, nothing leaves it
        self._make = make
        self._note = note
        self._timeout = timeout
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._start_soon: Callable[..., None] | None = None
        self._task: trio.lowlevel.Task | None = None
        self._own_tasks: set[trio.lowlevel.Task] = set()  # when it began to serve

    @property
    def is_up(self) -> bool:
        return self._start_soon is not None

    async def live(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """From startup to shutdown. `started` once it serves."""
        self._stop, self._stopped = trio.Event(), trio.Event()
        self._task = trio.lowlevel.current_task()
        try:
            async with run_app(self.app, timeout=self._timeout):
                self.state = lifespan_state(self.app)
                async with trio.open_nursery() as nursery:
                    self._start_soon = nursery.start_soon
                    self._note(self.name, "serves", None)
                    await trio.testing.wait_all_tasks_blocked()
                    self._own_tasks = set(self._tasks())
                    task_status.started()
                    try:
                        await self._stop.wait()
                    finally:
                        self._start_soon = None
                    nursery.cancel_scope.cancel(reason="the server stops")
        finally:
            self._task = None
            self._note(self.name, "is down", None)
            self._stopped.set()

    def renew(self) -> None:
        """A new application, as in a new process."""
        self.app = self._make()

    async def stop(self) -> None:
        """Cancel the connections, as a server does that is told to stop; then shut the application down."""
        self._note(self.name, "stops", None)
        self._start_soon = None  # from now on nobody can connect
        self._stop.set()
        await self._stopped.wait()

    async def kill(self) -> None:
        """Stop without a word to anybody: no client hears more than that the connection was lost."""
        self._start_soon = None
        for client in list(self.clients):
            client.cut_server()
        await self.stop()

    def cut(self, is_cut: bool) -> None:
        """Unplug the server's cable, or plug it in again; nobody is told."""
        self.is_cut = is_cut
        for client in self.clients:
            client.half_open() if is_cut else client.heal()

    def serve(self, client: Client) -> None:
        """Begin a connection."""
        assert self._start_soon is not None
        if self.is_cut:
            client.half_open()
        client.scope["state"] = dict(self.state)
        self.clients[client] = None
        self._start_soon(self._serve, client, name=f"{self.name} {client.scope['path']}")

    async def _serve(self, client: Client) -> None:
        self.clients[client] = trio.lowlevel.current_task()
        try:
            await client.run()
        finally:
            del self.clients[client]

    def extra_tasks(self) -> list[trio.lowlevel.Task]:
        """Tasks that serve no connection and are new, where there are more than when it began to serve."""
        tasks = self._tasks()
        if self.is_up and len(tasks) <= len(self._own_tasks):
            return []
        return [task for task in tasks if task not in self._own_tasks or not self.is_up]

    def background(self) -> list[trio.lowlevel.Task]:
        """The tasks that the application has begun itself, and that wait somewhere in its own code."""
        return [task for task in self._tasks() if not task.child_nurseries and is_users(task)]

    def _tasks(self) -> list[trio.lowlevel.Task]:
        if self._task is None:
            return []
        serving = {each for task in self.clients.values() if task is not None for each in subtree(task)}
        return [each for each in subtree(self._task) if each not in serving]


async def call(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Call a function that may be async."""
    result = function(*args)
    if inspect.isawaitable(result):
        await result
