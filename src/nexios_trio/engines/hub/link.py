"""A worker's line to the hub in its parent, which all boxes of the worker share.

A request has a number, and its answer the same one. All answers come on one ordered line with the messages. Who waits
for one is told after `deadline` seconds that there was none; the line stays as it is, and what is answered late is
still delivered. A line that has ended never comes back: it ends with the parent, or because one of the two has said
what the other cannot read. Either way the worker stops, and where the parent lives another one is started.
"""

import logging
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Final, Protocol

import trio

from ...exceptions import EngineError, LifecycleError
from .bodies import UNREADABLE, unpack_answer, unpack_text
from .frames import HUB_VERSION, Frame, Kind, frame
from .socket import HubSocket

__all__ = ["Call", "HubLink", "Listener", "Request"]

logger = logging.getLogger("nexios_trio.workers")

MAX_NUMBER: Final = 0xFFFF_FFFF
MAX_REQUESTS: Final = 20_000  # that are not answered
MAX_QUEUED_BYTES: Final = 16_777_216
UNASKED: Final = frozenset((Kind.MESSAGE, Kind.GAP, Kind.ASKED))


class Listener(Protocol):
    """An engine, as far as the line brings it something that it has not asked for."""

    def receive(self, said: Frame) -> None:
        """Take a message, a gap or a question."""
        ...


class Request(ABC):
    """Something that waits for an answer."""

    __slots__ = ("answered_by", "box", "deadline", "is_partial", "is_settled")

    def __init__(self, box: int, answered_by: Kind) -> None:
        self.box = box
        self.answered_by: int = answered_by  # another kind is no answer
        self.deadline = 0.0  # as `trio.current_time()`
        self.is_settled = False  # whoever waits has an answer, or was told that there is none
        self.is_partial = False  # what others have answered in time is an answer

    @abstractmethod
    def answer(self, said: Frame) -> bool:
        """Take an answer, settled or not. Returns whether it was the last."""

    def settle_late(self) -> None:
        """Be content with what there is: for those who say `is_partial`."""
        self.fail(EngineError("the other workers do not answer"))

    @abstractmethod
    def fail(self, error: EngineError) -> None:
        """Tell whoever waits that there is no answer; a no-op where that is settled."""


class Call(Request):
    """What a task waits for."""

    __slots__ = ("_error", "_frames", "_over")

    def __init__(self, answered_by: Kind, box: int = 0, *, is_partial: bool = False) -> None:
        """With `is_partial`, what was answered in time is an answer."""
        super().__init__(box, answered_by)
        self._frames: list[Frame] = []
        self._error: EngineError | None = None
        self._over = trio.Event()
        self.is_partial = is_partial

    def answer(self, said: Frame) -> bool:
        self._frames.append(said)
        is_last = said.kind != Kind.ANSWERED or not unpack_answer(said.body)[0]
        if is_last:
            self._settle()
        return is_last

    def fail(self, error: EngineError) -> None:
        if not self.is_settled:
            self._error = error
            self._settle()

    def settle_late(self) -> None:
        self._settle()

    def _settle(self) -> None:
        self.is_settled = True
        self._over.set()

    async def wait(self) -> list[Frame]:
        """Return the answers. Checkpoint: always. Raises: EngineError."""
        await self._over.wait()
        if self._error is not None:
            raise self._error
        return self._frames


class HubLink:
    """Owned by the process.

    Args:
        sock: one end of a pair whose other end `Hub.serve` has. It is closed with `run`.
        deadline: seconds after which there is no answer.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._socket = HubSocket(sock, self._handle)
        self._deadline = deadline
        self._numbers = count(1)
        self._requests: dict[int, Request] = {}
        self._unsettled: deque[Request] = deque()  # by their deadlines; the first is not settled, others may be
        self._expiring = trio.lowlevel.ParkingLot()
        self._boxes: dict[int, Listener] = {}
        self._names: dict[str, int] = {}
        self.is_over = False
        self.is_silent = False  # an answer was due that has not come

    async def run(self, on_end: Callable[[], None] = lambda: None) -> None:
        """Carry frames, also when the line has ended: then every request fails. Never returns.

        Args:
            on_end: called once the line has ended by itself.
        """
        with self._sock:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._expire)
                    nursery.start_soon(self._socket.write)
                    await self._socket.read()
                    with suppress(OSError):
                        self._sock.shutdown(socket.SHUT_RDWR)  # the parent queues nothing more
                    self._end()
                    on_end()
                    await trio.sleep_forever()
            finally:
                self._end()

    def _end(self) -> None:
        self.is_over = True
        for request in list(self._requests.values()):
            request.fail(EngineError("the parent process is gone", maybe_published=True))
        self._requests.clear()
        self._unsettled.clear()

    def _handle(self, said: Frame) -> None:
        if self.is_silent:
            self.note_answer()
        if said.kind in UNASKED:
            listener = self._boxes.get(said.box)
            if listener is not None:
                listener.receive(said)
            return
        request = self._requests.get(said.number)
        if request is not None:
            is_done = True  # also when it raises
            try:
                is_done = said.kind != request.answered_by or request.answer(said)
            finally:
                if is_done:
                    self._requests.pop(said.number, None)
                    if not request.is_settled:
                        request.fail(_no_answer(said, request.answered_by == Kind.POSTED))
        while self._unsettled and self._unsettled[0].is_settled:
            self._unsettled.popleft()

    async def _expire(self) -> None:
        """Tell those who have waited too long."""
        while True:
            if not self._unsettled:
                await self._expiring.park()
            await trio.sleep_until(self._unsettled[0].deadline if self._unsettled else trio.current_time())
            now = trio.current_time()
            while self._unsettled and (self._unsettled[0].is_settled or self._unsettled[0].deadline <= now):
                request = self._unsettled.popleft()
                if request.is_settled:
                    continue
                if request.is_partial:
                    request.settle_late()
                else:
                    self.note_silence()
                    request.fail(EngineError("the parent process does not answer", maybe_published=True))

    def note_silence(self) -> None:
        """Note that the parent does not answer, here or to somebody else in this process."""
        if not self.is_silent:
            self.is_silent = True
            logger.error("the parent process does not answer: groups reach nobody")

    def note_answer(self) -> None:
        """Note that it does."""
        if self.is_silent:
            logger.info("the parent process answers again")
            self.is_silent = False

    # Requests

    @property
    def has_room(self) -> bool:
        """Tell whether more messages may be posted."""
        return len(self._requests) < MAX_REQUESTS and self._socket.queued < MAX_QUEUED_BYTES

    def request(self, request: Request, kind: Kind, group: str = "", *body: bytes) -> None:
        """Ask for something."""
        if self.is_over:
            request.fail(EngineError("the parent process is gone"))
            return
        number = next(self._numbers) & MAX_NUMBER
        request.deadline = trio.current_time() + self._deadline
        self._requests[number] = request
        if not self._unsettled:
            self._expiring.unpark_all()
        self._unsettled.append(request)
        self._socket.put(frame(kind, number, request.box, group, *body))

    def tell(self, kind: Kind, number: int, box: int, group: str = "", *body: bytes) -> None:
        """Say something that has no answer."""
        if not self.is_over:
            self._socket.put(frame(kind, number, box, group, *body))

    async def call(self, call: Call, kind: Kind, group: str = "", *body: bytes) -> list[Frame]:
        """Ask, and wait for the answers. Checkpoint: always. Raises: EngineError."""
        if not self.has_room:
            await trio.lowlevel.checkpoint()
            raise EngineError("too much is on its way to the parent process")
        self.request(call, kind, group, *body)
        return await call.wait()

    # Boxes

    async def open(self, name: str, listener: Listener) -> int:
        """Take part as the box of this name. Returns its number.

        Checkpoint: always. Raises: EngineError; LifecycleError when another box of this process has the name.
        """
        if name in self._names:
            raise LifecycleError(
                f"two boxes of one process are called {name!r}, and would mix their groups: give one of them another"
                " name, as in NexiosApp(name=...)"
            )
        self._names[name] = 0
        try:
            (said,) = await self.call(Call(Kind.OPENED), Kind.OPEN, "", bytes((HUB_VERSION,)), name.encode())
        except BaseException:
            del self._names[name]
            raise
        self._names[name] = said.box
        self._boxes[said.box] = listener
        return said.box

    def close(self, name: str) -> None:
        """Take part no longer: what the box waits for fails."""
        number = self._names.pop(name)
        del self._boxes[number]
        self.tell(Kind.CLOSE, 0, number)
        for key, request in list(self._requests.items()):
            if request.box == number:
                del self._requests[key]  # what is answered from now on is for nobody
                request.fail(EngineError("the application has ended", maybe_published=True))


def _no_answer(said: Frame, maybe_published: bool) -> EngineError:
    """Return what there is instead of an answer."""
    why = f"the parent process answers with a frame of kind {said.kind} that this release cannot read"
    if said.kind == Kind.REFUSED:
        with suppress(*UNREADABLE):
            why = unpack_text(said.body)[0]
    return EngineError(why, maybe_published)
