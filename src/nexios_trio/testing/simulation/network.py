"""A network in virtual time: how long things take to arrive."""

import random
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf

import attrs
import trio

__all__ = ["Net", "Traffic"]

RETRANSMIT_AFTER = 0.2  # seconds at least, after which a lost packet is sent again


def _check_time(_: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value < inf:
        raise ValueError(f"{attribute.name} is a number of seconds from 0, not {value!r}")


def _check_loss(_: object, __: object, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"loss is the share of packets that are lost, from 0 to below 1, not {value!r}")


def _check_bandwidth(_: object, __: object, value: float) -> None:
    if not value > 0:
        raise ValueError(f"bandwidth is bytes per second, above 0, not {value!r}")


@attrs.frozen(kw_only=True)
class Net:
    """What every connection's path is like. A lost packet is sent again, so that it is late, and so is all behind it.

    Args:
        rtt: seconds there and back.
        jitter: up to so many seconds more, each way, at random.
        loss: share of the packets that are lost.
        bandwidth: bytes per second of each direction of each connection.
    """

    rtt: float = attrs.field(default=0.0, validator=_check_time)
    jitter: float = attrs.field(default=0.0, validator=_check_time)
    loss: float = attrs.field(default=0.0, validator=_check_loss)
    bandwidth: float = attrs.field(default=inf, validator=_check_bandwidth)

    @property
    def is_instant(self) -> bool:
        return self == Net()


class Traffic:
    """All that is on its way, and the one task that lets it arrive."""

    def __init__(self, net: Net, chance: random.Random) -> None:
        self.net = net
        self._chance = chance
        self._due: list[tuple[float, int, Callable[[], None]]] = []  # a heap
        self._count = 0  # keeps what arrives at the same time in order
        self._sleep = trio.CancelScope()

    def path(self) -> "Path | None":
        """One direction of a connection; None where everything arrives at once."""
        return None if self.net.is_instant else Path(self, self.net, self._chance)

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._due, (when, self._count, function))
        if when < self._sleep.deadline:
            self._sleep.deadline = when

    async def run(self) -> None:
        """For ever. Cancellation: between two arrivals."""
        while True:
            with trio.CancelScope(deadline=self._due[0][0] if self._due else inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                heappop(self._due)[2]()


class Path:
    """A `Schedule`: the way of one direction of one connection."""

    def __init__(self, traffic: Traffic, net: Net, chance: random.Random) -> None:
        self.call_at = traffic.call_at
        self._net = net
        self._chance = chance
        self._is_busy_until = -inf  # sending what went before

    def arrival(self, size: int, after: float) -> float:
        net = self._net
        begin = max(trio.current_time(), self._is_busy_until)
        self._is_busy_until = begin + size / net.bandwidth
        when = self._is_busy_until + net.rtt / 2 + net.jitter * self._chance.random()
        while net.loss and self._chance.random() < net.loss:
            when += max(RETRANSMIT_AFTER, net.rtt)
        return max(when, after)
