"""One node's side of a Redis or Valkey Cluster: what `client` is for one server, for all that have slots.

There is a client for each server, with a link of its own. A key, or a channel, is in a slot, and goes over the link of
the server that has it.

    a link is lost or new    the same as with one server, for the slots of that server
    a slot goes elsewhere    the same, for that slot. Whether its server says so in an answer (MOVED), ends a
                             subscription, or another one tells it: the slot is held, so that nothing more is asked;
                             when all that was on its way to the old server has its answer, the new one is asked
    a slot is on its way     (ASK, TRYAGAIN), or has no server at the moment (CLUSTERDOWN): it is held for a moment

So what was asked in one order is done in that order, at whichever server.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, cast

import trio

from ...exceptions import EngineError
from ..base import EngineState
from .address import Place, RedisAddress
from .client import PROBE_SECONDS, Reach, RedisClient
from .cluster_map import ClusterMap, SlotMap
from .cluster_servers import ClusterLink, ClusterServer, HeldSlot
from .keys import PARTS, slot_of
from .link import LinkLost, RedisLink, RedisRefusal, Then, Word, ignore
from .refusals import is_elsewhere, is_redirect, place_in

__all__ = ["ClusterClient"]

AGAIN_SECONDS: Final = 0.05  # until a slot that is on its way is asked for again
LOOK_SECONDS: Final = 0.02  # between two looks at what is held
MAP_SECONDS: Final = 0.5  # between two questions for the map, while a server is missed

PART_OF_SLOT: Final = {slot_of(b"{%x}" % part): part for part in range(PARTS)}


class ClusterClient(RedisClient):
    """Owned by an engine. See `RedisClient`, whose hooks are told of the slots of one server, or of one slot."""

    publish = "SPUBLISH"

    def __init__(
        self, address: RedisAddress, deadline: Callable[[], float], probe_seconds: float = PROBE_SECONDS
    ) -> None:
        super().__init__(address, deadline, probe_seconds)
        self._map = ClusterMap(address)
        self._servers: dict[Place, ClusterServer] = {}
        self._owners: dict[int, ClusterServer] = {}  # by slot, of those in which we have a part
        self._held: dict[int, HeldSlot] = {}
        self._nursery: trio.Nursery | None = None
        self._wants_map = True
        self._ask_first: Place | None = None
        self._news = trio.Event()  # something is held, or the map is wanted

    # Its life

    async def keep_link(self) -> None:
        """Keep a link to each server. Checkpoint: always; never returns, and does not raise."""
        self.link, self._wants_map = cast(Any, ClusterLink(self)), True
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._keep_map, name="redis cluster: map")
                self._nursery.start_soon(self._keep_releasing, name="redis cluster: slots")
        finally:
            self.state, self.link, self._nursery = EngineState.DOWN, None, None
            for each in (self._servers, self._owners, self._held):
                each.clear()

    async def _keep_map(self) -> None:
        while True:
            if self._wants_map:
                first, self._ask_first, self._wants_map = self._ask_first, None, False
                try:
                    self._use_map(await self._map.read(first))
                except EngineError as error:
                    self.problem, self._wants_map = error.with_traceback(None), True
                    self._tell()
                self._note_state()
                await trio.sleep(MAP_SECONDS)
            else:
                await self._wait_for_news()

    async def _keep_releasing(self) -> None:
        while True:
            if self._held:
                await trio.sleep(LOOK_SECONDS)
                self._release()
            else:
                await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        if self._news.is_set():
            self._news = trio.Event()
        await self._news.wait()

    def _want_map(self, first: Place | None = None) -> None:
        self._ask_first, self._wants_map = first or self._ask_first, True
        self._news.set()

    # Servers

    def _server_at(self, place: Place) -> ClusterServer:
        server = self._servers.get(place)
        if server is None:
            client = RedisClient(self.address.at(*place), self._deadline, self._probe_seconds, self._channel_ended)
            self._servers[place] = server = ClusterServer(place, client)
            client.on_link = lambda reach: self.on_link(self._reach_of(server.slots))
            client.on_loss = lambda reach: self._lose(server)
            client.on_change = self._note_state
            client.on_message = partial(self._receive_from, server)
            client.probe = lambda client, reach, well: self.probe(client, self._reach_of(server.slots), well)
            client.check = lambda client, link, part: self._check_server(server, link)
            if self._nursery is not None:
                self._nursery.start_soon(self._keep_server, server, name=f"redis cluster: {client.address}")
        return server

    async def _keep_server(self, server: ClusterServer) -> None:
        with server.scope:
            await server.client.keep_link()

    async def _check_server(self, server: ClusterServer, link: RedisLink) -> None:
        if server.slots:
            await self.check(server.client, link, PART_OF_SLOT[min(server.slots)])

    def _lose(self, server: ClusterServer) -> None:
        self.on_loss(self._reach_of(server.slots))
        self._want_map()

    def _note_state(self) -> None:
        """A server has come or gone."""
        missed = [server for server in self._servers.values() if server.client.state is not EngineState.UP]
        if missed or not self._owners:
            problems = [server.client.problem for server in missed if server.client.problem is not None]
            self.problem = problems[0] if problems else self.problem
            if self.state is EngineState.UP:
                self.state = EngineState.DOWN
            self._want_map()
        else:
            self.state, self.problem = EngineState.UP, None
        self._tell()

    def _receive_from(self, server: ClusterServer, channel: bytes, payload: bytes) -> None:
        if self.server_of(channel) is server:
            self.on_message(channel, payload)

    # Slots

    def _reach_of(self, slots: Iterable[int]) -> Reach:
        """Return whether a key is in one of the slots, and nothing holds that."""
        reached = {slot for slot in slots if slot not in self._held}
        return lambda key: slot_of(key) in reached

    def _use_map(self, found: SlotMap) -> None:
        moved: dict[ClusterServer, set[int]] = {}
        for slot in PART_OF_SLOT:
            place = found.owner(slot)
            if place is None:
                continue  # it has no server at the moment
            server, owner = self._server_at(place), self._owners.get(slot)
            if owner is None:
                self._owners[slot] = server
                server.slots.add(slot)
            elif owner is not server and slot not in self._held:
                moved.setdefault(owner, set()).add(slot)
        for owner, slots in moved.items():
            self._hold(owner, slots)
        for slot, held in self._held.items():
            held.goes_to = held.goes_to or found.owner(slot)
        self._drop_idle()

    def _hold(self, server: ClusterServer, slots: set[int]) -> None:
        """Ask nothing of these slots until all that is on its way has its answer."""
        self.on_loss(self._reach_of(slots))
        held = [self._held.setdefault(slot, HeldSlot(0.0)) for slot in slots]

        def be_quiet(answer: Any) -> None:
            for each in held:
                each.is_quiet = True

        if server.link is None:
            be_quiet(None)
        else:
            server.link.post("PING", then=be_quiet)
        self._news.set()

    def _release(self) -> None:
        """Ask again for slots that were held."""
        now, found = trio.current_time(), dict[ClusterServer, set[int]]()
        for slot, held in list(self._held.items()):
            if held.is_quiet and now >= held.until:
                del self._held[slot]
                server = self._owners[slot]
                if held.goes_to is not None:
                    server.slots.discard(slot)
                    self._owners[slot] = server = self._server_at(held.goes_to)
                    server.slots.add(slot)
                found.setdefault(server, set()).add(slot)
        for server, slots in found.items():
            reach = self._reach_of(slots)
            self.on_loss(reach)  # again: answers have come meanwhile
            if server.link is not None:
                self.on_link(reach)
        if found:
            self._drop_idle()
            self._note_state()

    def _drop_idle(self) -> None:
        for server in list(self._servers.values()):
            if not server.slots and not any(held.goes_to == server.place for held in self._held.values()):
                del self._servers[server.place]
                server.scope.cancel(reason="the server has no slots any more")

    def _channel_ended(self, channel: bytes) -> None:
        """The server has ended a subscription: the slot has gone."""
        slot = slot_of(channel)
        server = self._owners.get(slot)
        if server is not None and slot not in self._held:
            self._hold(server, {slot})
            self._want_map(server.place)

    def heard(self, server: ClusterServer, key: bytes, then: Then) -> Then:
        """Return `then`, before which we hear the answer."""
        return partial(self._hear, server, key, then)

    def _hear(self, server: ClusterServer, key: bytes, then: Then, answer: Any) -> None:
        if type(answer) is RedisRefusal:
            self._take_refusal(server, key, answer)
        then(answer)

    def _take_refusal(self, server: ClusterServer, key: bytes, refusal: RedisRefusal) -> None:
        slot = slot_of(key)
        if not is_redirect(refusal):
            if is_elsewhere(refusal):
                server.client.leave(refusal)
        elif self._owners.get(slot) is server:
            if slot not in self._held:
                self._hold(server, {slot})
            held = self._held[slot]
            if refusal.code == "MOVED":
                held.goes_to = place_in(refusal, server.place[0])
                self._want_map(held.goes_to)
            else:
                held.until = trio.current_time() + AGAIN_SECONDS
                self._want_map() if refusal.code == "CLUSTERDOWN" else None

    # Asking

    def place_of(self, key: bytes) -> object:
        return slot_of(key)

    def server_of(self, key: bytes) -> ClusterServer | None:
        """Return who has it."""
        return self._owners.get(slot_of(key))

    def reach(self, key: bytes) -> ClusterServer | None:
        """Return who has it, if that may be asked now."""
        slot = slot_of(key)
        server = self._owners.get(slot)
        return server if server is not None and server.link is not None and slot not in self._held else None

    def run_script(self, name: str, keys: list[bytes], args: tuple[Word, ...], then: Then = ignore) -> bool:
        server = self.reach(keys[0])
        if server is None or server.link is None:
            return False
        server.link.post(*server.client.words(name, keys, args), then=self.heard(server, keys[0], then))
        return True

    def leave(self, answer: RedisRefusal) -> None:
        """That was done when the answer came."""

    async def call(self, name: str, keys: list[bytes], *args: Word) -> Any:
        return await self._ask_owner(keys[0], lambda client: client.words(name, keys, args))

    async def command(self, *words: Word) -> Any:
        return await self._ask_owner(cast(bytes, words[1]), lambda client: words)

    async def _ask_owner(self, key: bytes, words: Callable[[RedisClient], tuple[Word, ...]]) -> Any:
        with trio.move_on_after(self._deadline()):
            while True:
                server = self.reach(key)
                if server is None or server.link is None:
                    await self._changed.wait()
                    continue
                try:
                    return await server.link.call(*words(server.client))
                except LinkLost:
                    continue
                except RedisRefusal as refusal:
                    if not is_elsewhere(refusal):
                        raise EngineError(f"{server.client.address} refuses: {refusal}") from None
                    self._take_refusal(server, key, refusal)
        raise EngineError(f"no answer from {self.address} in {self._deadline():g} s: {self.problem or 'it is silent'}")
