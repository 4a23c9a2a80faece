"""Sentinels of Redis or Valkey: they are asked which server is the primary, and tell when it is another one.

Each is asked in turn, who has answered last first; the others are learned from those. What one tells is believed when
the server itself says that it is a primary.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

import trio

from ...exceptions import EngineError
from .address import Place, RedisAddress
from .connect import ServerMisconfigured, greet, say_hello
from .link import RedisLink, RedisRefusal
from .talk import ASK_SECONDS, OnMessage, Use, ignore_message, in_time, talk_to

__all__ = ["Sentinels"]

logger = logging.getLogger("nexios_trio.box")

AGAIN_SECONDS: Final = 1.0  # until they are asked again, where none has answered
LOOK_SECONDS: Final = 10.0  # until one is asked again that has told nothing
CHANGE: Final = b"+switch-master"  # the channel on which they tell of it

T = TypeVar("T")


class Sentinels:
    """Owned by a client.

    Args:
        address: with their places, and the name that they have for the servers.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._known: list[Place] = list(address.seeds)  # who has answered last, first

    async def find(self) -> RedisAddress:
        """Return the address of the primary, as the first of them tells that answers.

        Checkpoint: always. Raises: EngineError when none answers; ServerMisconfigured for a name that none knows.
        """
        problem: EngineError | None = None
        is_unknown = False
        for place in list(self._known):
            try:
                with trio.move_on_after(ASK_SECONDS):
                    found = await self._talk(place, self._ask_and_learn)
                    if found is not None:
                        self._remember(place, *self._known)
                        return self._address.at(*found)
                    is_unknown = True
            except EngineError as error:
                problem = problem or error.with_traceback(None)
        if is_unknown:
            raise ServerMisconfigured(f"{self._address}: its Sentinels know nothing of that name")
        if isinstance(problem, ServerMisconfigured):
            raise problem
        raise EngineError(f"no Sentinel of {self._address} answers: {problem or 'they are silent'}")

    async def follow(self, primary: Place, on_other: Callable[[], None]) -> None:
        """Wait until the primary is another one; then call `on_other`. As long as no Sentinel answers, nothing changes.

        Checkpoint: always; does not raise.
        """
        while True:
            for place in list(self._known):
                try:
                    await self._follow_by(place, primary)
                except EngineError as error:
                    logger.debug("a Sentinel tells nothing: %s", error)
                else:
                    on_other()
                    return
            await trio.sleep(AGAIN_SECONDS)

    async def _follow_by(self, place: Place, primary: Place) -> None:
        """Return when the primary is another one. Raises: EngineError when this Sentinel tells no more."""
        news, told = trio.open_memory_channel[None](1)

        def note(*message: bytes) -> None:
            if not news.statistics().current_buffer_used:
                news.send_nowait(None)

        async def wait(link: RedisLink) -> None:
            await in_time(link.call_subscribe(CHANGE))
            while True:
                found = await in_time(self._ask(link))
                if found not in (None, primary) and await self._is_primary(found):
                    return
                with trio.move_on_after(LOOK_SECONDS):
                    await told.receive()

        await self._talk(place, wait, note)

    async def _ask(self, link: RedisLink) -> Place | None:
        try:
            found = await link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.master)
        except RedisRefusal as refusal:
            if "unknown command" in str(refusal):
                raise EngineError("it is no Sentinel, which listen on 26379 unless told otherwise") from None
            raise
        return None if found is None else (bytes(found[0]).decode(), int(found[1]))

    async def _ask_and_learn(self, link: RedisLink) -> Place | None:
        found = await self._ask(link)
        if found is not None:
            others = map(_place_of, await link.call("SENTINEL", "SENTINELS", self._address.master))
            self._remember(*self._known, *others)
        return found

    def _remember(self, *places: Place) -> None:
        self._known = list(dict.fromkeys(places))

    async def _is_primary(self, place: Place) -> bool:
        address = self._address.at(*place)
        return not (await in_time(talk_to(address, lambda link: greet(link, address)))).is_replica

    async def _talk(self, place: Place, use: Use[T], on_message: OnMessage = ignore_message) -> T:
        """Do something with a link to a Sentinel. Raises: EngineError."""
        address = self._address.sentinel_at(*place)

        async def use_after_hello(link: RedisLink) -> T:
            try:
                await in_time(say_hello(link, address))
            except ServerMisconfigured as error:
                raise ServerMisconfigured(f"a Sentinel: {error}; ?sentinel_password= is its own") from None
            return await use(link)

        return await talk_to(address, use_after_hello, on_message)


def _place_of(facts: Any) -> Place:
    """Read what is told of another Sentinel: a map in RESP3, and pairs before."""
    pairs = facts if isinstance(facts, dict) else dict(zip(facts[::2], facts[1::2], strict=True))
    return bytes(pairs[b"ip"]).decode(), int(pairs[b"port"])
