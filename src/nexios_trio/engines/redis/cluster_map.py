"""Which server of a Cluster has which slots: asked of whoever answers."""

from bisect import bisect_right
from typing import Any, Final

from ...exceptions import EngineError
from .address import Place, RedisAddress
from .connect import ServerMisconfigured, say_hello
from .link import RedisLink, RedisRefusal
from .talk import in_time, talk_to

__all__ = ["ClusterMap", "SlotMap"]

MAX_KNOWN: Final = 100  # places that may be asked


class SlotMap:
    """Args:
    ranges: first and last slot, and the primary that has them.
    """

    def __init__(self, ranges: list[tuple[int, int, Place]]) -> None:
        self._ranges = sorted(ranges)
        self._starts = [begin for begin, _, _ in self._ranges]
        self.places = [place for _, _, place in self._ranges]

    def owner(self, slot: int) -> Place | None:
        """Return who has a slot; None where nobody has it at the moment."""
        at = bisect_right(self._starts, slot) - 1
        return self.places[at] if at >= 0 and slot <= self._ranges[at][1] else None


class ClusterMap:
    """Owned by a client.

    Args:
        address: with the places to ask first.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._known: list[Place] = list(address.seeds)  # who has answered last, first

    async def read(self, first: Place | None) -> SlotMap:
        """Return what the first that answers says.

        Args:
            first: who is to be asked first.

        Checkpoint: always. Raises: EngineError when none answers; ServerMisconfigured when one is in no Cluster.
        """
        problem: EngineError | None = None
        for place in [*([] if first is None else [first]), *self._known]:
            try:
                found = await self._ask(place)
            except EngineError as error:
                problem = problem or error.with_traceback(None)
                if isinstance(error, ServerMisconfigured):
                    raise
            else:
                places = dict.fromkeys([place, *found.places, *self._known])
                self._known = list(places)[:MAX_KNOWN]
                return found
        raise EngineError(f"nobody of {self._address} tells who has which slots: {problem}")

    async def _ask(self, place: Place) -> SlotMap:
        address = self._address.at(*place)

        async def ask(link: RedisLink) -> SlotMap:
            await in_time(say_hello(link, address))
            try:
                return _read_slots(await in_time(link.call("CLUSTER", "SLOTS")), place[0])
            except RedisRefusal as refusal:
                raise _no_cluster(address, refusal) from None

        found = await talk_to(address, ask)
        if not found.places:
            raise EngineError(f"{address} knows of no slots")
        return found


def _no_cluster(address: RedisAddress, refusal: RedisRefusal) -> EngineError:
    if "cluster support disabled" in str(refusal):
        return ServerMisconfigured(f"{address} is in no Cluster: name it as redis://…")
    return ServerMisconfigured(f"{address} does not tell who has which slots: {refusal}")


def _read_slots(answer: list[Any], host: str) -> SlotMap:
    """Read the answer; a server that does not know its own address is where it was asked."""
    found: list[tuple[int, int, Place]] = []
    for begin, end, primary, *_ in answer:
        name = bytes(primary[0] or b"").decode()
        found.append((begin, end, (name if name not in ("", "?") else host, primary[1])))
    return SlotMap(found)
