"""What a worker's engine asks the hub for, and what it does with the answers."""

from typing import Protocol

from ...core.message import Message, Position
from ...exceptions import EngineError
from ..presence import LeaseLost
from ..receipt import Receipt
from .bodies import unpack_position
from .frames import DELIVER, HELD, WATCHED, Frame, Kind
from .link import Request

__all__ = ["GroupWatch", "PostRequest", "RenewRequest", "WatchRequest"]


class GroupWatch:
    """One group that is watched."""

    __slots__ = ("given", "holds", "receipt")

    def __init__(self) -> None:
        self.receipt = Receipt()
        self.holds = False
        self.given: Position | None = None  # what came last


class AskingEngine(Protocol):
    """An engine, as far as answers have it do something."""

    def give(self, group: str, message: Message) -> None:
        """Deliver a message, where the group is watched."""
        ...

    def confirm(self, group: str, watch: GroupWatch, position: Position | None) -> None:
        """Note that a watch holds."""
        ...


class WatchRequest(Request):
    __slots__ = ("_engine", "_group", "_watch")

    def __init__(self, engine: AskingEngine, box: int, group: str, watch: GroupWatch) -> None:
        super().__init__(box, Kind.WATCHED)
        self._engine = engine
        self._group = group
        self._watch = watch

    def answer(self, said: Frame) -> bool:
        if not self.is_settled:
            self.is_settled = True
            self._engine.confirm(self._group, self._watch, unpack_position(said.body)[0])
        return True

    def fail(self, error: EngineError) -> None:
        self.is_settled = True
        self._watch.receipt.fail(error)


class PostRequest(Request):
    """A message of this worker's own, which is delivered when the hub has numbered it, however late that is."""

    __slots__ = ("_engine", "_group", "_message", "_receipt")

    def __init__(self, engine: AskingEngine, box: int, group: str, message: Message, receipt: Receipt) -> None:
        super().__init__(box, Kind.POSTED)
        self._engine = engine
        self._group = group
        self._message = message
        self._receipt = receipt

    def answer(self, said: Frame) -> bool:
        flags = said.body[0]
        position, _ = unpack_position(said.body, 1)
        self._message.position = position
        self.is_settled = True
        try:
            if flags & DELIVER:
                self._engine.give(self._group, self._message)
        finally:
            self._receipt.settle(position, bool(flags & WATCHED))
        return True

    def fail(self, error: EngineError) -> None:
        self.is_settled = True
        self._receipt.fail(error)


class RenewRequest(Request):
    """What this worker says of those who are present by way of it."""

    __slots__ = ("_receipt",)

    def __init__(self, box: int, receipt: Receipt) -> None:
        super().__init__(box, Kind.RENEWED)
        self._receipt = receipt

    def answer(self, said: Frame) -> bool:
        holds = said.body[0] & HELD
        self.is_settled = True
        if holds:
            self._receipt.settle(None)
        else:
            self._receipt.fail(LeaseLost("this worker's lease is over"))
        return True

    def fail(self, error: EngineError) -> None:
        self.is_settled = True
        self._receipt.fail(error)
