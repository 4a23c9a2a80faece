"""What a parent and its workers ask each other, for health and metrics: lines of JSON, on the link between them.

    to a worker     ["live"]            ["ready"]                           ["page", "/metrics"]
    its answer      [["live"], {}]      [["ready"], {"engine": "down"}]     [["page", "/metrics"], "..."]

A worker asks `["live"]`, and `["page", "/metrics", 0]` for that page of the first application of every worker, as one.
Who stands still does not answer, and is asked no second time until it has, so that nothing piles up.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import attrs
import orjson
import trio

from ..asgi_types import ASGIApp, Event
from ..transports.server_context import ServerOverview

__all__ = ["ANSWER_SECONDS", "NO_ANSWER", "Questions", "find_answer"]

logger = logging.getLogger("nexios_trio.workers")

ANSWER_SECONDS: Final = 0.9  # who asks the parent gives up after a second
MAX_QUESTIONS: Final = 16  # each way, without an answer
MAX_ANSWER_BYTES: Final = 16_777_216
RECEIVE_BYTES: Final = 65536
NO_ANSWER: Final[Any] = object()

Receive = Callable[[int], Awaitable[bytes]]
FindAnswer = Callable[[Any], Awaitable[Any]]


class Lines:
    """Lines from a stream, until there are no more."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parts: list[bytes] = []  # of a line that is not whole yet

    async def next(self) -> list[bytes]:
        """Wait for lines. Returns those that have come whole, without their ends; none when the stream is over."""
        while data := await self._receive_some():
            first, *others = data.split(b"\n")
            self._parts.append(first)
            if others:
                *whole, rest = [b"".join(self._parts), *others]
                self._parts = [rest]
                return whole
        return []

    async def _receive_some(self) -> bytes:
        try:
            return await self._receive(RECEIVE_BYTES)
        except trio.BrokenResourceError:  # the other process was killed, and has left something unread
            return b""


@attrs.define(eq=False)
class _Question:
    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: Any = NO_ANSWER


class Questions:
    """One end of the link, the parent's or a worker's.

    Args:
        answer: finds the answer to a question, or None.
    """

    def __init__(self, link: trio.SocketStream, answer: FindAnswer) -> None:
        self._link = link
        self._answer = answer
        self._asked: dict[str, _Question] = {}
        self._lines: deque[bytes] = deque()  # to be sent: two times MAX_QUESTIONS at most, and a word about readiness
        self._idle = trio.lowlevel.ParkingLot()
        self._is_over = False

    async def ask(self, *question: str | int, seconds: float = ANSWER_SECONDS) -> Any:
        """Ask, and wait so long at most. Returns the answer, or NO_ANSWER. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        line = orjson.dumps(question).decode()
        asked = self._asked.get(line)
        if asked is None and len(self._asked) < MAX_QUESTIONS and not self._is_over:
            asked = self._asked[line] = _Question()
            self.put(f"{line}\n".encode())
        if asked is None:
            return NO_ANSWER
        with trio.move_on_after(seconds):
            await asked.answered.wait()
        return asked.answer

    def put(self, line: bytes) -> None:
        """Send a line as soon as the other end takes it."""
        self._lines.append(line)
        self._idle.unpark_all()

    async def run(self, obey: Callable[[bytes], None]) -> None:
        """Send and answer, until the other end is closed. Then, and when cancelled, whoever waits has no answer.

        Args:
            obey: takes a line that is no question, and no answer.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                received = Lines(self._link.receive_some)
                while lines := await received.next():
                    for line in lines:
                        if line.startswith(b"["):
                            self._take(line, nursery)
                        else:
                            obey(line)
                nursery.cancel_scope.cancel(reason="the other process is gone")
        finally:
            self._is_over = True
            for asked in self._asked.values():
                asked.answered.set()
            self._asked.clear()

    async def _write(self) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # which the reader finds out
            while True:
                while self._lines:
                    await self._link.send_all(self._lines.popleft())
                await self._idle.park()

    def _take(self, line: bytes, nursery: trio.Nursery) -> None:
        """Take a question, or an answer; that to nothing that was asked is dropped."""
        said: Any = None
        with suppress(ValueError):
            said = orjson.loads(line)
        match said:
            case [list() as question, answer]:
                asked = self._asked.pop(orjson.dumps(question).decode(), None)
                if asked is not None:
                    asked.answer = answer
                    asked.answered.set()
            case [str(), *_] if len(nursery.child_tasks) <= MAX_QUESTIONS:  # one more: what writes
                nursery.start_soon(self._find, said)
            case _:
                pass

    async def _find(self, question: Any) -> None:
        try:
            line = orjson.dumps([question, await self._answer(question)])
            if len(line) > MAX_ANSWER_BYTES:
                raise ValueError(f"{len(line)} bytes; at most {MAX_ANSWER_BYTES} are an answer")
        except Exception:
            logger.exception("%s was asked, and has no answer", question)
            line = orjson.dumps([question, None])
        self.put(line + b"\n")


async def find_answer(overview: ServerOverview, question: Any) -> Any:
    """In a worker: return what its parent asks, or None. Checkpoint: always."""
    await trio.lowlevel.checkpoint()
    match question:
        case ["live"]:
            return {}
        case ["ready"]:
            return await overview.problems()
        case ["page", str() as path, *which]:
            page = overview.page(path, *which)
            return None if page is None else await _text_of(page, path)
        case _:  # of a parent that knows more
            return None


async def _text_of(page: ASGIApp, path: str) -> str:
    parts: list[bytes] = []

    async def receive() -> Event:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        parts.append(event.get("body", b""))

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    await page({**scope, "headers": [], "root_path": "", "http_version": "1.1"}, receive, send)
    return b"".join(parts).decode()
