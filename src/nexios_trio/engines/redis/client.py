"""One node's side of a Redis or Valkey server: a link, another one when that is lost, scripts, and a probe.

One loop opens the first link and every later one. Its owner is told what comes over a link, and that it has come or
gone. What the owner asks by `run_script` is answered over the same link or not at all; `call` asks again over the next
one, for what may be asked twice.
"""

import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from ...exceptions import EngineError
from ..base import EngineState
from .address import RedisAddress
from .connect import CONNECT_SECONDS, RedisServer, ServerMisconfigured, greet, open_stream, silent
from .link import LinkLost, RedisLink, RedisRefusal, Then, Word, ignore
from .refusals import is_elsewhere
from .scripts import SCRIPTS, script_text
from .sentinels import Sentinels

__all__ = ["Reach", "RedisClient", "is_elsewhere"]

logger = logging.getLogger("nexios_trio.box")

FIRST_DELAY_SECONDS: Final = 0.05
MAX_DELAY_SECONDS: Final = 2.0
HELD_SECONDS: Final = 5.0  # a link that was up for so long was a good one
PROBE_SECONDS: Final = 10.0

Reach = Callable[[bytes], bool]  # tells whether a key, or a channel, is reached by that link


def reach_all(key: bytes) -> bool:
    """For the link of a client that has only one server."""
    return True


class RedisClient:
    """Owned by an engine.

    Args:
        deadline: returns the seconds for each call.
        probe_seconds: between two probes.
        on_end: of a server in a Cluster; see `RedisLink`.
    """

    publish = "PUBLISH"  # the command

    def __init__(
        self,
        address: RedisAddress,
        deadline: Callable[[], float],
        probe_seconds: float = PROBE_SECONDS,
        on_end: Callable[[bytes], None] | None = None,
    ) -> None:
        self.address = address
        self._on_end = on_end
        self.state = EngineState.STARTING
        self.link: RedisLink | None = None
        self.server: RedisServer | None = None
        self.problem: EngineError | None = None  # why there is no link
        # The owner's. Told: a new link is there; it is lost; something was published on a channel.
        self.on_link: Callable[[Reach], None] = lambda reach: None
        self.on_loss: Callable[[Reach], None] = lambda reach: None
        self.on_change: Callable[[], None] = lambda: None  # of the state, or the problem
        self.on_message: Callable[[bytes, bytes], None] = lambda channel, payload: None
        # Called now and then with a function to be called when everything is well.
        self.probe: Callable[[RedisClient, Reach, Callable[[], None]], None] = lambda client, reach, well: well()
        # Awaited with the first link, and a part of the keys, before anything is asked. Raises: ServerMisconfigured.
        self.check: Callable[[RedisClient, RedisLink, int], Awaitable[None]] = _no_check
        self._deadline = deadline
        self._probe_seconds = probe_seconds
        self._sentinels = Sentinels(address) if address.master else None
        self._hashes: dict[str, str] = {}  # of the scripts, by name, at the present server
        self._changed = trio.Event()  # the link has come, or there is a problem; another one each time

    # Its life

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[trio.Nursery]:
        """Keep a link for the length of the block, which has a nursery of the same length.

        Raises: EngineError, on entry, when there was none within the deadline; at once for what people have to mend.
        """
        self.state, self.problem = EngineState.STARTING, None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keep_link, name="redis link")
            problem = await self._first_problem()
            if problem is None:
                try:
                    yield nursery
                finally:
                    nursery.cancel_scope.cancel(reason="the engine ends")
            nursery.cancel_scope.cancel(reason="the engine cannot start")
        if problem is not None:
            raise problem

    async def _first_problem(self) -> EngineError | None:
        with trio.move_on_after(self._deadline()):
            while self.state is not EngineState.UP:
                if isinstance(self.problem, ServerMisconfigured):
                    return self.problem
                await self._changed.wait()
        if self.state is EngineState.UP:
            return None
        return self.problem or silent(self.address, self._deadline())

    async def keep_link(self) -> None:
        """Keep a link. Checkpoint: always; never returns, and does not raise."""
        delay = FIRST_DELAY_SECONDS
        try:
            while True:
                begun = trio.current_time()
                self.problem = await self._use_one()
                self._tell()
                if trio.current_time() - begun > HELD_SECONDS:
                    delay = FIRST_DELAY_SECONDS
                await trio.sleep(delay * random.uniform(0.5, 1.0))  # not all nodes at once
                delay = min(2 * delay, MAX_DELAY_SECONDS)
        finally:
            self.state = EngineState.DOWN

    async def _use_one(self) -> EngineError:
        """Talk over one link until it is lost. Returns why it was, or was never there."""
        address = self.address
        try:
            if self._sentinels is not None:
                address = await self._sentinels.find()
            stream = await open_stream(address)
        except EngineError as error:
            return error.with_traceback(None)
        link = RedisLink(stream, self._receive, self._on_end)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run, name="redis link: reader")
            try:
                problem = await self._begin(link, address)
                if problem is None:
                    if self._sentinels is not None:
                        nursery.start_soon(self._follow, self._sentinels, link, address)
                    nursery.start_soon(self._keep_probing, link, name="redis link: probe")
                    await link.over.wait()
            finally:
                self._end(link)
            nursery.cancel_scope.cancel(reason="the link is lost")
        return problem or link.lost or EngineError("the link was closed")

    async def _begin(self, link: RedisLink, address: RedisAddress) -> EngineError | None:
        """Make it the link. Returns why that cannot be."""
        try:
            with trio.move_on_after(CONNECT_SECONDS):
                self._note_link(await self._prepare(link, address), address)
                return None
        except EngineError as error:
            return error.with_traceback(None)
        return silent(address, CONNECT_SECONDS)

    async def _prepare(self, link: RedisLink, address: RedisAddress) -> RedisServer:
        self.server = server = await greet(link, address)
        if server.is_in_cluster is not (self._on_end is not None):
            raise _misnamed(address, server.is_in_cluster)
        await self._load_scripts(link, server)
        if server.is_replica:
            if self._sentinels is not None or self._on_end is not None:
                raise EngineError(f"{address} is a replica still, or again")
            raise ServerMisconfigured(f"{address} is a replica, and takes nothing: name its primary")
        if self.state is EngineState.STARTING:
            await self.check(self, link, 0)
        self.link = link  # what waits is sent now, and once
        self.on_link(reach_all)
        await link.call("PING")  # answered when all that `on_link` asked for is done
        return server

    def _note_link(self, server: RedisServer, address: RedisAddress) -> None:
        if self.state is EngineState.STARTING and server.may_forget:
            logger.warning(
                "%s may forget what groups have kept, and their numbering: its maxmemory-policy is %s; noeviction would"
                " refuse new messages when it is full",
                *(address, server.eviction),
            )
        logger.info("linked to %s at %s", server.name, address)
        self.state, self.problem = EngineState.UP, None
        self._tell()

    async def _follow(self, sentinels: Sentinels, link: RedisLink, address: RedisAddress) -> None:
        """Lose a link to a server that is the primary no more."""
        await sentinels.follow((address.host, address.port), lambda: link.lose("the primary is another server"))

    def _end(self, link: RedisLink) -> None:
        if self.link is not link:
            return
        self.link = None
        if self.state is EngineState.UP:
            self.state = EngineState.DOWN
            if link.lost is not None:
                logger.warning("%s. Groups do not reach this process until there is another one", link.lost)
        link.lose("it is of no use")
        self.on_loss(reach_all)

    async def _load_scripts(self, link: RedisLink, server: RedisServer) -> None:
        for name in SCRIPTS:
            text = script_text(name, server.run_id, self._on_end is not None)
            try:
                self._hashes[name] = bytes(await link.call("SCRIPT", "LOAD", text)).decode()
            except RedisRefusal as refusal:
                kind = EngineError if is_elsewhere(refusal) else ServerMisconfigured
                raise kind(f"{self.address} takes no scripts: {refusal}") from None

    async def _keep_probing(self, link: RedisLink) -> None:
        """Lose a link at whose other end nobody is."""
        while True:
            await trio.sleep(self._probe_seconds)
            well = trio.Event()
            self.probe(self, reach_all, well.set)
            with trio.move_on_after(self._deadline()) as scope:
                await well.wait()
            if scope.cancelled_caught:
                link.lose(f"nothing comes back in {self._deadline():g} s")
                return

    def _receive(self, channel: bytes, payload: bytes) -> None:
        self.on_message(channel, payload)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
        self.on_change()

    # Asking

    def place_of(self, key: bytes) -> object:
        """Return something that is the same for keys that one script may reach."""
        return None

    def run_script(self, name: str, keys: list[bytes], args: tuple[Word, ...], then: Then = ignore) -> bool:
        """Have a script run, if there is a link: returns whether there is. `then` is told as by `RedisLink.post`."""
        link = self.link
        if link is None or link.lost is not None:
            return False
        link.post(*self.words(name, keys, args), then=then)
        return True

    def words(self, name: str, keys: list[bytes], args: tuple[Word, ...]) -> tuple[Word, ...]:
        """Return the command that has a script run."""
        return ("EVALSHA", self._hashes[name], len(keys), *keys, *args)

    def leave(self, answer: RedisRefusal) -> None:
        """Lose the link, since `is_elsewhere` is true of this answer."""
        if self.link is not None:
            self.link.lose(f"the server is another one, or not ready: {answer}")

    async def call(self, name: str, keys: list[bytes], *args: Word) -> Any:
        """Have a script run, over another link if one is lost, and return its answer. It may run twice.

        Checkpoint: always. Raises: EngineError.
        """
        return await self._ask(lambda: self.words(name, keys, args))

    async def command(self, *words: Word) -> Any:
        """Do what `call` does, with a command."""
        return await self._ask(lambda: words)

    async def _ask(self, words: Callable[[], tuple[Word, ...]]) -> Any:
        with trio.move_on_after(self._deadline()):
            while True:
                link = self.link
                if link is None or link.lost is not None:
                    await self._changed.wait()
                    continue
                try:
                    return await link.call(*words())
                except LinkLost:
                    continue
                except RedisRefusal as refusal:
                    if not is_elsewhere(refusal):
                        raise EngineError(f"{self.address} refuses: {refusal}") from None
                    self.leave(refusal)
        raise EngineError(f"no answer from {self.address} in {self._deadline():g} s: {self.problem or 'it is silent'}")


def _misnamed(address: RedisAddress, is_in_cluster: bool) -> ServerMisconfigured:
    scheme = "redis+cluster" if is_in_cluster else "redis"
    return ServerMisconfigured(f"{address} is {'in a' if is_in_cluster else 'in no'} Cluster: name it as {scheme}://…")


async def _no_check(client: RedisClient, link: RedisLink, part: int) -> None:
    """For an owner that needs none."""
