"""The model behind `ResumeMachine`: what was sent to each group, and what each client has got of it, over all its
connections.

The engine numbers messages, so the model is told by receipts and by the clients which message has which position. Then
it is simple: a client's messages have rising positions without a hole, but for those that were not for it; where they
have one, it must have been told, and for a reason.
"""

from collections.abc import Iterator, Sequence
from math import inf

import attrs

from ...core.position import Position
from ...engines.receipt import Receipt

__all__ = ["Log", "Reader", "Sent"]


@attrs.define(eq=False)
class Sent:
    """A message.

    Args:
        excluded: the number of the client that must not get it.
        receipts: of the first try, and of those after it, which have the same key.
    """

    number: int
    node: int
    excluded: int | None = None
    is_transient: bool = False
    key: str | None = None
    receipts: list[Receipt] = attrs.Factory(list)
    is_there: bool = False  # it has a position, or was given to somebody
    may_be_there: bool = False

    def look(self) -> Iterator[Position]:
        """Yield the positions that receipts tell now."""
        for receipt in [each for each in self.receipts if each.is_settled]:
            self.receipts.remove(receipt)
            if receipt.error is not None:
                self.may_be_there = self.may_be_there or receipt.error.maybe_published
            else:
                self.is_there = True
                if receipt.position is not None:
                    yield receipt.position

    @property
    def is_failed(self) -> bool:
        """Every try has failed for certain."""
        return not self.receipts and not self.is_there and not self.may_be_there


class Log:
    """What was sent to one group.

    Args:
        kept: how many messages the group keeps at least; 0 where nobody can rely on any.
    """

    def __init__(self, name: str, kept: int) -> None:
        self.name = name
        self.kept = kept
        self.sent: dict[int, Sent] = {}
        self.at: dict[Position, int] = {}
        self.is_shaken = False  # messages were lost, and not everybody may have noticed yet

    def look(self) -> None:
        """Take note of what receipts tell."""
        for sent in self.sent.values():
            for position in sent.look():
                self.note(sent.number, position)

    def note(self, number: int, position: Position) -> None:
        """Note that a message has this position."""
        there = self.at.setdefault(position, number)
        assert there == number, f"group {self.name!r} has messages {there} and {number} at position {position}"

    @property
    def epoch(self) -> str | None:
        """That of what was numbered last."""
        return next(reversed(self.at)).epoch if self.at else None

    def lose(self) -> None:
        """Note that what is shared has forgotten something."""
        self.is_shaken = True
        for sent in self.sent.values():
            sent.key = None  # receipts are forgotten too: another try may be another message

    def after(self, position: Position) -> int:
        """Count what may have come after it in its epoch."""
        known = [each for each in self.at if each.epoch == position.epoch and each > position]
        numbers = set(self.at.values())
        open_ones = [sent for sent in self.sent.values() if sent.number not in numbers and not sent.is_transient]
        return len(known) + len([sent for sent in open_ones if not sent.is_failed])

    def owed(self, reader: int, positions: Sequence[Position]) -> list[Position]:
        """Return those of the positions whose messages the client should have got."""
        open_ones = set(self.sent) - {number for position, number in self.at.items() if position in positions}
        hidden = len([number for number in open_ones if self.sent[number].excluded == reader])
        unknown = [position for position in positions if position not in self.at]
        known = [position for position in positions if position in self.at]
        owed = [position for position in known if self.sent[self.at[position]].excluded != reader]
        return owed + unknown[hidden:]


@attrs.define(eq=False)
class Reader:
    """What one client has got, and the judge of it."""

    number: int
    log: Log
    position: Position | None = None
    got: list[int] = attrs.Factory(list)
    is_told: bool = False  # that messages are gone, since the last one
    jump: str | None = None  # messages that are missing, and it was not told
    first: float = 0  # from this one on a newcomer may miss none, where a group keeps some messages and others not

    @property
    def name(self) -> str:
        return f"client {self.number}"

    def connects(self) -> None:
        """Note that it connects."""
        self.first = 0 if self.position or self.log.kept else inf

    def is_member(self, count: int) -> None:
        """Note that it is in the group, after so many messages."""
        self.first = min(self.first, count + 1)

    def tell(self) -> None:
        """Note that it was told that messages are gone."""
        if self.jump is not None:  # the handler of a gap has a task of its own
            self.jump = None
            return
        self.is_told = True
        seen = self.position
        if seen is None or self.log.is_shaken or seen.epoch != self.log.epoch:
            return
        after, kept = self.log.after(seen), self.log.kept
        assert after > kept or (not kept and after), (
            f"{self.name} was told that messages of {self.log.name!r} are gone after {seen}, and none is: {after} came"
            f" since, {kept} are kept"
        )

    def take(self, number: int, position: Position | None) -> None:
        """Judge a message that it got."""
        sent = self.log.sent[number]
        where = f"{self.name} in group {self.log.name!r}"
        assert number not in self.got, f"{where} got message {number} twice"
        assert sent.excluded != self.number, f"{where} got message {number}, which was not for it"
        assert not sent.is_failed, f"{where} got message {number}, whose sending had failed"
        self.got.append(number)
        sent.is_there = True
        if sent.is_transient:
            assert position is None, f"{where} got a transient message at position {position}"
            return
        assert position is not None, f"{where} got message {number} without a position"
        self.log.note(number, position)
        before, self.position = self.position, position
        if before is not None and before.epoch == position.epoch:
            assert position > before, f"{where} got position {position} after {before}"
            between = [Position(offset, before.epoch) for offset in range(before.offset + 1, position.offset)]
            missing = [each for each in self.log.owed(self.number, between) if self.log.at.get(each, 0) >= self.first]
            self._expect_told(bool(missing), before, position)
        elif before is not None:
            self._expect_told(True, before, position)
        self.is_told = False

    def _expect_told(self, is_missing: bool, before: Position, position: Position) -> None:
        if is_missing and not self.is_told and self.jump is None:
            self.jump = f"{self.name} got {position} after {before} of {self.log.name!r}, and was told of no gap"

    def check(self) -> None:
        """Judge when nothing is on its way to it: what is missing, it must know by now."""
        assert self.jump is None, self.jump
