"""What machines have in common that break several servers and what these share: a world, its faults, its end."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import attrs
import trio
import trio.testing

from ...websockets import ChannelBox
from ..client.client import Client
from ..simulation.world import World

__all__ = ["CALM_SECONDS", "Visit", "WorldRun"]

CALM_SECONDS: Final = 15.0  # after the last fault, for what is late
NODES: Final = 3


@attrs.define(eq=False)
class Visit:
    """A client's connection, in a task of its own."""

    client: Client
    node: int
    go: trio.Event = attrs.Factory(trio.Event)


class WorldRun:
    """The part of such a machine that is async."""

    world: World

    def make(self) -> Any:
        raise NotImplementedError

    def box(self, app: Any) -> ChannelBox:
        raise NotImplementedError

    async def _check_at_the_end(self) -> None:
        """Raises: AssertionError when something is wrong, once everybody is back."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """Tell all tasks of the machine to end."""
        raise NotImplementedError

    async def _open(self, seed: int) -> None:
        self._is_wrong = False  # something that must be true is not
        self._quiet_at = 0.0  # when the last fault is over, on the world's clock
        self._stack = AsyncExitStack()
        world = World(make=self.make, nodes=NODES, seed=seed, clock=None, check=False)
        self.world = await self._stack.enter_async_context(world)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._start: Callable[..., Any] = nursery.start

    async def _close(self) -> None:
        failure: AssertionError | None = None
        try:
            if not self._is_wrong:
                await self._check_at_the_end()
        except AssertionError as error:
            failure = error
        self._let_go()
        await trio.testing.wait_all_tasks_blocked()
        try:
            if not self._is_wrong:  # else a fault may go on, and with it what waits
                self.world.assert_no_leaks()
        except AssertionError as error:
            failure = failure or error
        await self._stack.aclose()
        if failure is not None:
            raise failure

    def _box(self, node: int) -> ChannelBox:
        return self.box(self.world.nodes[node].app)

    async def _fail(self, node: int, seconds: float, what: str) -> None:
        getattr(self.world, what)(node, seconds)
        self._quiet_at = max(self._quiet_at, self.world.now + seconds)
        await trio.lowlevel.checkpoint()

    async def _restart(self, node: int, kill: bool) -> None:
        await self.world.restart(node, kill=kill)
