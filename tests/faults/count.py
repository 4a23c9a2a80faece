"""What members were given, against what publishers were told. Pure.

A publisher sends one message after the other, so its numbers rise in every group. A member's record is what came to it,
in order, over all its connections, with every notice that something may be missing:

    Came        a message
    Notice      something may be missing from one place in the record up to another: a gap that it was told of, or a
                return at which it was told that it had not been given everything
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from math import inf

import attrs

from nexios_trio.core.position import Position

LATE_EVENTS = 50  # the notice of a gap is a task of its own; so much may come before it at most


@attrs.frozen
class Sent:
    """A message, as its publisher knows it."""

    publisher: int
    number: int
    group: str
    position: Position | None  # None: nobody has said that it is there
    tries: int
    known_at: float = 0.0  # the time at which somebody has said that it is there
    is_refused: bool = False  # somebody has said that nothing was done


@attrs.frozen
class Came:
    """A message, as it came to a member."""

    publisher: int
    number: int
    position: Position


@attrs.frozen
class Notice:
    """Something may be missing: behind the event `begin` of the record, and before its event `end`.

    Or later, of what was known to be there before it came: what is left of that comes first, and then what is new.
    """

    begin: int
    end: int
    time: float = inf  # at which it came; of one clock for all


@attrs.define
class Member:
    """What came to a client in one group."""

    name: str
    group: str
    came: dict[int, Came] = attrs.Factory(dict)  # by its place in the record
    notices: list[Notice] = attrs.Factory(list)
    repeated: int = 0  # a gap that it was told of again
    size: int = 0  # of the record
    _gaps: set[tuple[str, str]] = attrs.Factory(set)

    def add(self, message: Came) -> None:
        self.came[self.size] = message
        self.size += 1

    def add_return(self, begin: int, recovered: bool, time: float, was_sent_away: bool = False) -> None:
        """It has connected at `begin`, and joined now.

        Args:
            was_sent_away: it had to come back, since there was a gap: that is about all since the last notice.
        """
        if not recovered:
            self.notices.append(Notice(self._last_notice() if was_sent_away else begin - 1, self.size, time))
        self.size += 1

    def add_gap(self, after: str, upto: str, time: float) -> None:
        """It was told of a gap."""
        self.repeated += (after, upto) in self._gaps
        self._gaps.add((after, upto))
        self.notices.append(Notice(self._begin_of_gap(after, upto), self.size, time))
        self.size += 1

    def _last_notice(self) -> int:
        return max((notice.end for notice in self.notices), default=0) - 1

    def _begin_of_gap(self, after: str, upto: str) -> int:
        """Behind the last message before it. A mark, which ends at the same number, is about all since the last notice."""
        first, last = (None if text == "None" else Position.parse(text) for text in (after, upto))
        if first is not None and last is not None and first.offset == last.offset:
            return self._last_notice()
        for place in reversed(self.came):
            if self.came[place].position == first:
                return place
        return max(-1, self.size - LATE_EVENTS)


@attrs.frozen
class Result:
    """Counts of one run, of all members together."""

    sent: int  # messages of which a publisher was told that they are there
    received: int
    doubled: int
    misordered: int
    announced: int
    silent: int
    unknown: int  # messages of which nobody has said whether they are there
    refused: int  # messages of which somebody has said that they are not
    phantom: int  # of those, the ones that came all the same
    retold: int  # gaps that one member was told of twice

    def __str__(self) -> str:
        return " ".join(f"{name} {value}" for name, value in attrs.asdict(self).items())

    @property
    def is_sound(self) -> bool:
        return not (self.doubled or self.misordered or self.silent or self.phantom or self.retold)


def count(members: Iterable[Member], sent: Iterable[Sent]) -> Result:
    members = list(members)
    by_name = {(each.publisher, each.number): each for each in sent}
    announced = sum(len(member.notices) for member in members)
    doubled = misordered = silent = phantom = 0
    refused = {name for name, each in by_name.items() if each.is_refused}
    for member in members:
        times = Counter((came.publisher, came.number) for came in member.came.values())
        doubled += sum(number - 1 for number in times.values())
        misordered += _count_misordered(member, by_name, is_announced=announced > 0)
        silent += sum(not _is_told(member, each) for each in _missing(member, by_name.values(), times))
        phantom += sum(name in refused for name in times)
    places: dict[tuple[str, Position], tuple[int, int]] = {}
    for member in members:
        for came in member.came.values():
            here = came.publisher, came.number
            misordered += places.setdefault((member.group, came.position), here) != here
    known = [each for each in by_name.values() if each.position is not None]
    return Result(
        sent=len(known),
        received=sum(len(member.came) for member in members),
        doubled=doubled,
        misordered=misordered,
        announced=announced,
        silent=silent,
        unknown=len(by_name) - len(known) - len(refused),
        refused=len(refused),
        phantom=phantom,
        retold=sum(member.repeated for member in members),
    )


def _count_misordered(member: Member, sent: dict[tuple[int, int], Sent], *, is_announced: bool) -> int:
    """Of each publisher, and by position.

    A message of which nobody knows may come late: what was sent over a link that is lost may still be under way. So may,
    over an announced change, what was tried twice.
    """
    wrong = 0
    last: dict[int, int] = defaultdict(lambda: -1)
    offsets: dict[str, int] = {}
    for came in member.came.values():
        offset = offsets.get(came.position.epoch, 0)
        wrong += came.position.offset <= offset
        offsets[came.position.epoch] = max(offset, came.position.offset)
        known = sent.get((came.publisher, came.number))
        if known is None or known.position is None or (is_announced and known.tries > 1):
            continue
        wrong += came.number < last[came.publisher]
        last[came.publisher] = max(last[came.publisher], came.number)
    return wrong


def _missing(member: Member, sent: Iterable[Sent], times: Counter[tuple[int, int]]) -> list[Sent]:
    return [
        each
        for each in sent
        if each.position is not None and each.group == member.group and (each.publisher, each.number) not in times
    ]


def _is_told(member: Member, missing: Sent) -> bool:
    """Whether a notice stands where the message would have come: between those of its publisher around it."""
    before, after = -1, member.size
    for place, came in member.came.items():
        if came.publisher == missing.publisher:
            if came.number < missing.number:
                before = max(before, place)
            else:
                after = min(after, place)
    return any(
        notice.begin < after and (notice.end > before or missing.known_at < notice.time) for notice in member.notices
    )
