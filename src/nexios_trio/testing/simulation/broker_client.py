"""One node's side of its link to a `BrokerServer`: opened again when lost, requests and their answers, a probe."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from ...engines.base import EngineState
from ...exceptions import EngineError
from .broker_server import Answer, BrokerServer, Event, Link, Question, Reply, Request

__all__ = ["BrokerClient"]

PROBE_SECONDS: Final = 10.0
RECONNECT_SECONDS: Final = 0.1


class _Asked:
    """What other nodes say to one question."""

    def __init__(self) -> None:
        self.count: int | None = None  # of them
        self.replies: list[bytes] = []
        self.is_complete = trio.Event()

    def expect(self, count: int) -> None:
        self.count = count
        self._check()

    def add(self, reply: bytes) -> None:
        self.replies.append(reply)
        self._check()

    def _check(self) -> None:
        if len(self.replies) == self.count:
            self.is_complete.set()


class BrokerClient:
    """Owned by an engine, which is told what comes.

    Args:
        deadline: seconds for each call.
    """

    def __init__(self, broker: BrokerServer, node: int, deadline: float) -> None:
        self.state = EngineState.STARTING
        self.link: Link | None = None
        self.changed = trio.Event()  # the link has come or gone; another one each time
        # The engine's: a new link is there; the link is lost; an event came that answers no request of ours.
        self.on_link: Callable[[], None] = _nothing
        self.on_loss: Callable[[], None] = _nothing
        self.on_event: Callable[[Event], None] = lambda event: None
        # Called now and then with a function to be called when everything is well.
        self.probe: Callable[[Callable[[], None]], None] = lambda well: well()
        self._broker = broker
        self._node = node
        self._deadline = deadline
        self._number = 0
        self._answers: dict[int, Callable[[Any], None]] = {}  # what each answer is for
        self._asked: dict[int, _Asked] = {}

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[trio.Nursery]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_link, name="broker link")
            try:
                with trio.move_on_after(self._deadline):
                    while self.link is None:
                        await self.changed.wait()
                yield nursery
            finally:
                nursery.cancel_scope.cancel(reason="the engine ends")

    async def _keep_link(self) -> None:
        try:
            while True:
                link = self._broker.connect(self._node)
                if link is not None:
                    await self._use(link)
                self.state = EngineState.DOWN
                await trio.sleep(RECONNECT_SECONDS)
        finally:
            self.state = EngineState.DOWN

    async def _use(self, link: Link) -> None:
        """Talk over this link until it is lost."""
        self.link, self.state = link, EngineState.UP
        self._tell()
        self.on_link()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._probe, link)
                await link.run(self._receive)
                nursery.cancel_scope.cancel(reason="the link is lost")
        finally:
            self.link = None
            self._answers.clear()
            self._tell()
            self.on_loss()

    async def _probe(self, link: Link) -> None:
        """Lose a link at whose other end nobody is."""
        while True:
            await trio.sleep(PROBE_SECONDS)
            well = trio.Event()
            self.probe(well.set)
            with trio.move_on_after(self._deadline):
                await well.wait()
            if not well.is_set():
                link.lose()
                return

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    # Requests

    def request(self, name: str, *args: Any, then: Callable[[Any], None] | None = None) -> int:
        """Send a request, if there is a link; `then` gets the answer, if there is one over the same link."""
        if self.link is None:
            return 0
        self._number += 1
        if then is not None:
            self._answers[self._number] = then
        self.link.send(Request(self._number, name, args))
        return self._number

    async def call(self, name: str, *args: Any) -> Any:
        """Ask, over another link if one is lost, and return the answer. Raises: EngineError."""
        answers: list[Any] = []
        with trio.move_on_after(self._deadline):
            while not answers:
                news = trio.Event()

                def got(answer: Any, news: trio.Event = news) -> None:
                    answers.append(answer)
                    news.set()

                self.request(name, *args, then=got)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_wait_then_set, self.changed, news)
                    await news.wait()
                    nursery.cancel_scope.cancel(reason="answered")
        if not answers:
            raise EngineError(f"no answer to {name} in {self._deadline:g} s")
        return answers[0]

    async def ask(self, data: bytes) -> list[bytes]:
        """Ask the other nodes, and return what those said that did in time. Raises: EngineError."""
        await trio.lowlevel.checkpoint()
        asked = _Asked()
        number = self.request("ask", self._number + 1, data, then=asked.expect)
        if not number:
            raise EngineError("there is no link")
        self._asked[number] = asked
        try:
            with trio.move_on_after(self._deadline):
                await asked.is_complete.wait()
        finally:
            del self._asked[number]
        if asked.count is None:
            raise EngineError(f"nobody could be asked in {self._deadline:g} s")
        return asked.replies

    def _receive(self, event: Event) -> None:
        match event:
            case Answer(number, value):
                then = self._answers.pop(number, None)
                if then is not None:
                    then(value)
            case Reply(number, data):
                if number in self._asked:
                    self._asked[number].add(data)
            case _:
                self.on_event(event)

    def reply(self, question: Question, data: bytes) -> None:
        """Say what this node answers."""
        self.request("reply", question.node, question.number, data)


def _nothing() -> None: ...


async def _wait_then_set(first: trio.Event, then: trio.Event) -> None:
    await first.wait()
    then.set()
