"""A place in the messages of one group."""

import re
from typing import Final

import attrs

__all__ = ["Position"]

_POSITION: Final = re.compile(r"(?P<epoch>[A-Za-z0-9._-]{1,64}):(?P<offset>0|[1-9][0-9]{0,17})")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@attrs.frozen
class Position:
    """A place in one group's history: `offset` counts from 1 within an `epoch`; two epochs do not compare."""

    offset: int
    epoch: str

    def __lt__(self, other: object) -> bool:
        return self._offset_beside(other) > self.offset

    def __le__(self, other: object) -> bool:
        return self._offset_beside(other) >= self.offset

    def __gt__(self, other: object) -> bool:
        return self._offset_beside(other) < self.offset

    def __ge__(self, other: object) -> bool:
        return self._offset_beside(other) <= self.offset

    def __str__(self) -> str:
        """Write it as one word, which a client keeps and sends back, and `parse` reads."""
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: object) -> "Position":
        """Read what `str(position)` wrote, as a client sends it back. Raises: ValueError for anything else."""
        match = _POSITION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"a position is what str(position) has written, EPOCH:OFFSET, not {_shortened(text)}")
        return cls(int(match["offset"]), match["epoch"])

    def _offset_beside(self, other: object) -> int:
        """The offset of a position that this one compares with."""
        if not isinstance(other, Position):
            raise TypeError(f"a Position compares with another one, not with {type(other).__name__}")
        if other.epoch != self.epoch:
            raise TypeError(f"positions of two epochs do not compare: {self.epoch!r} and {other.epoch!r}")
        return other.offset
