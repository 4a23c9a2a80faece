"""The model behind `PresenceMachine`: when each connection was in its group, and what may be told of that.

It is told when a channel joins and leaves. What the others can know of that is less certain while its node is cut off,
and for a while after. The judgement is simple then: who is certainly there must be seen, who cannot be there must not
be, and nobody leaves who was not away for the length of a grace.
"""

from collections.abc import Iterable, Iterator
from math import inf

import attrs

from ...core.position import Position

__all__ = ["RECOVERY_SECONDS", "Faults", "Stay", "Stays", "View"]

RECOVERY_SECONDS = 7.0  # after a fault, for a link that is asked for again, and for what is said again over it
RETRY_SECONDS = 1.5  # after which a renewal that failed has been tried again
GRACE_STEP_SECONDS = 0.2  # by which the end of a grace may be late

Interval = tuple[float, float]


class Faults:
    """When a node could not be relied on, on one clock.

    Args:
        lease: seconds for which the others believe that it lives.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._harmless = lease * 2 / 3 - RETRY_SECONDS  # seconds, within which it renews its lease in any case
        self._times: list[Interval] = []
        self._cuts: list[Interval] = []  # when it certainly had no link
        self._restarts: list[float] = []

    def note(self, begin: float, end: float, *, is_cut: bool) -> None:
        """Note that its link is not what it should be. Faults that follow one another closely are one.

        Args:
            is_cut: there is none; else it stalls, and may be replaced before the end.
        """
        if is_cut:
            self._cuts = [(start, min(stop, end) if stop > begin else stop) for start, stop in self._cuts]
            self._cuts.append((begin, min([end, *(stop for _, stop in self._cuts if stop > begin)])))
        if self._times and begin <= self._times[-1][1] + RECOVERY_SECONDS:
            begin, before = self._times.pop()
            end = max(end, before)
        self._times.append((begin, end))

    def restarted(self, now: float) -> None:
        """Note that it is another process now, with a link of its own."""
        self._restarts.append(now)
        self._cuts = [(begin, min(end, now)) for begin, end in self._cuts]

    def are_over(self, now: float) -> bool:
        """Tell whether nothing is late any more because of a fault."""
        return all(end + RECOVERY_SECONDS < now for _, end in self._times)

    def may_delay(self, begin: float, end: float) -> bool:
        """Tell whether what happened, or was due, in this time may have been told late."""
        faults = any(start <= end and begin <= stop + RECOVERY_SECONDS for start, stop in self._times)
        return faults or any(begin <= time <= end for time in self._restarts)

    def is_dead(self, grace: float, begin: float, end: float) -> bool:
        """Tell whether the others must take it for dead in all of this time, and have seen its users leave."""
        late = self._lease * 4 / 3 + grace + GRACE_STEP_SECONDS
        return any(start + late < begin and end < stop for start, stop in self._cuts)

    def certain(self, begin: float, end: float) -> Iterator[Interval]:
        """Yield the parts of a stay in which the others must know of it."""
        for start, stop in self._times:
            if stop + RECOVERY_SECONDS <= begin or (begin < start and stop - start < self._harmless):
                continue
            if begin < start:
                yield begin, min(end, start + self._harmless)
            begin = max(begin, stop + RECOVERY_SECONDS)
        if begin <= end:
            yield begin, end


@attrs.define(eq=False)
class Stay:
    """A connection in a group.

    Args:
        key: its user; or the id of a channel that has none.
        faults: of its node.
        name: of the client.
        since: when it has joined; `gone`, when it has left.
    """

    group: str
    key: str
    name: str
    node: int
    faults: Faults
    since: float
    gone: float = inf
    info: object = None  # what it has said of itself

    def is_possible(self, lease: float, grace: float, begin: float, end: float) -> bool:
        """Tell whether others may see it at some time in between."""
        is_time = self.since <= end and begin <= self._possible_until(lease, grace)
        return is_time and not self.faults.is_dead(grace, begin, end)

    def _possible_until(self, lease: float, grace: float) -> float:
        end = self.gone
        if end < inf:
            end += grace + GRACE_STEP_SECONDS
            if self.faults.may_delay(self.gone, end):
                end += lease * 4 / 3 + RECOVERY_SECONDS
        return end


class Stays:
    """All of them.

    Args:
        lease, grace: seconds, as the application has them.
    """

    def __init__(self, lease: float, grace: float) -> None:
        self.lease = lease
        self.grace = grace
        self.all: list[Stay] = []

    def of(self, group: str, key: str) -> list[Stay]:
        return [stay for stay in self.all if stay.group == group and stay.key == key]

    def keys(self, group: str) -> set[str]:
        return {stay.key for stay in self.all if stay.group == group}

    def is_certain(self, group: str, key: str, now: float) -> bool:
        """Tell whether everybody must see the user."""
        return any(begin <= now < end for begin, end in self._certain(group, key))

    def is_possible(self, group: str, key: str, begin: float, end: float) -> bool:
        """Tell whether somebody may see the user at some time in between."""
        stays = self.of(group, key)
        return any(stay.is_possible(self.lease, self.grace, begin, end) for stay in stays)

    def may_have_left(self, group: str, key: str, since: float, now: float) -> bool:
        """Tell whether the user may have been away for the length of a grace, up to some time in between."""
        times = _between(self._certain(group, key), now)
        return any(end > since and end - begin >= self.grace - 1e-6 for begin, end in times)

    def _certain(self, group: str, key: str) -> list[Interval]:
        return [span for stay in self.of(group, key) for span in stay.faults.certain(stay.since, stay.gone)]


def _between(spans: Iterable[Interval], now: float) -> Iterator[Interval]:
    """Yield what none of them covers, up to now."""
    reached = -inf
    for begin, end in sorted(spans):
        if begin > reached:
            yield reached, begin
        reached = max(reached, end)
    if reached < now:
        yield reached, now


class View:
    """What one watcher was told, and the judge of it.

    Args:
        faults: of its node.
        present: the users who were there when it began, `now`.
    """

    def __init__(
        self, name: str, group: str, faults: Faults, stays: Stays, present: dict[str, object], now: float
    ) -> None:
        self.name = name
        self.group = group
        self.faults = faults
        self.present = present
        self._stays = stays
        self._since = dict.fromkeys(present, now)  # from when on it may have left; -inf where it was told late
        self._version: Position | None = None

    def tell(self, kind: str, key: str, info: object, version: Position, now: float) -> None:
        """Judge a change."""
        where = f"{self.name} was told that {key!r} has {kind} in group {self.group!r}"
        before, self._version = self._version, version
        in_order = before is None or version.epoch != before.epoch or version.offset >= before.offset
        assert in_order, f"{where} as version {version}, after {before}"
        if kind == "joined":
            assert key not in self.present, f"{where} a second time"
            begin = now if self.faults.are_over(now) else -inf
            possible = self._stays.is_possible(self.group, key, begin, now)
            assert possible, f"{where}, and no connection is, nor was"
            self._since[key] = now if self.faults.are_over(now) else -inf
        else:
            assert key in self.present, f"{where} of whom it had heard nothing"
        if kind == "left":
            away = self._stays.may_have_left(self.group, key, self._since.pop(key), now)
            assert away, f"{where}, who was there, or back within {self._stays.grace:g} s"
            del self.present[key]
        else:
            self.present[key] = info

    def check(self, now: float) -> None:
        """Judge what it shows, when nothing is on its way to it."""
        if not self.faults.are_over(now):
            return
        for key in self.present:
            possible = self._stays.is_possible(self.group, key, now, now)
            assert possible, f"{self.name} shows {key!r} in group {self.group!r}, who has left"
        for key in self._stays.keys(self.group) - self.present.keys():
            certain = self._stays.is_certain(self.group, key, now)
            assert not certain, f"{self.name} does not show {key!r} in group {self.group!r}, who is there"
