"""What a parent asks its workers, for health and metrics: a line of JSON each way, on the link between them.

    parent      ["live"]            ["ready"]                           ["page", "/metrics"]
    worker      [["live"], {}]      [["ready"], {"engine": "down"}]     [["page", "/metrics"], "..."]

A worker that stands still does not answer. It is asked no second time until it has, so that its link never fills up.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import attrs
import orjson
import trio

from ..asgi_types import ASGIApp, Event
from ..transports.server_context import ServerOverview

__all__ = ["ANSWER_SECONDS", "NO_ANSWER", "Lines", "WorkerReports", "answer_question"]

logger = logging.getLogger("nexios_trio.workers")

ANSWER_SECONDS: Final = 0.9  # who asks the parent gives up after a second
MAX_QUESTIONS: Final = 16  # to one worker, without an answer
RECEIVE_BYTES: Final = 65536
NO_ANSWER: Final[Any] = object()

Receive = Callable[[int], Awaitable[bytes]]


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


class WorkerReports:
    """The parent's side, of one worker."""

    def __init__(self, link: trio.SocketStream) -> None:
        self._link = link
        self._asked: dict[str, _Question] = {}

    async def ask(self, *question: str) -> Any:
        """Ask, and wait `ANSWER_SECONDS` at most. Returns the answer, or NO_ANSWER. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        line = orjson.dumps(question).decode()
        asked = self._asked.get(line)
        with trio.move_on_after(ANSWER_SECONDS), suppress(OSError, trio.ClosedResourceError):
            if asked is None and len(self._asked) < MAX_QUESTIONS:
                asked = self._asked[line] = _Question()
                await self._link.socket.send(f"{line}\n".encode())
            if asked is not None:
                await asked.answered.wait()
        return NO_ANSWER if asked is None else asked.answer

    def note(self, line: bytes) -> None:
        """Take an answer. What is none is nobody's."""
        with suppress(ValueError, TypeError):
            question, answer = orjson.loads(line)
            asked = self._asked.pop(orjson.dumps(question).decode(), None)
            if asked is not None:
                asked.answer = answer
                asked.answered.set()


async def answer_question(line: bytes, overview: ServerOverview) -> bytes:
    """In a worker: return the line that answers. Checkpoint: always."""
    await trio.lowlevel.checkpoint()
    question: Any = orjson.loads(line)
    try:
        answer = await _find_answer(question, overview)
    except Exception:
        logger.exception("the parent has asked %s and gets no answer", question)
        answer = None
    return orjson.dumps([question, answer]) + b"\n"


async def _find_answer(question: Any, overview: ServerOverview) -> Any:
    answer: Any = None
    match question:
        case ["live"]:
            answer = {}
        case ["ready"]:
            answer = await overview.problems()
        case ["page", str() as path]:
            page = overview.page(path)
            answer = None if page is None else await _text_of(page, path)
        case _:  # of a parent that knows more
            await trio.lowlevel.checkpoint()
    return answer


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
