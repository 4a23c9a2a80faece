"""What a worker has from its parent: a number, a link on its standard input, a slot among the workers' loads, and a
line to the hub.
"""

import os
import signal
import socket
from contextlib import suppress
from functools import partial
from typing import Any, Final

import attrs
import orjson
import trio

from ..engines.base import Engine
from ..engines.default import make_engines_with
from ..engines.hub.engine import HubEngine
from ..engines.hub.link import HubLink
from ..transports.server_context import ServerOverview
from .worker_loads import WorkerLoad
from .worker_reports import ANSWER_SECONDS, NO_ANSWER, Questions, find_answer

__all__ = ["FAILED", "NEWCOMERS_SECONDS", "READY", "RETIRE", "ParentLink", "WorkerPlace"]

READY: Final = b"ready\n"  # to the parent
FAILED: Final = b"failed "  # to the parent, with the reason as JSON, and the last word
RETIRE: Final = b"retire\n"  # from the parent: another worker is ready in this one's place
PAGE_SECONDS: Final = 2 * ANSWER_SECONDS  # the parent asks all workers for it
NEWCOMERS_SECONDS: Final = 1.0  # that handshakes which have begun may take when a worker is retired


@attrs.frozen
class WorkerPlace:
    """What the parent says to a worker on its command line.

    Args:
        number: from 0.
        slot: of its load.
        loads: the descriptor of all loads.
        hub: the descriptor of a socket whose other end the hub has.
    """

    number: int
    slot: int
    loads: int
    hub: int

    def to_argument(self) -> str:
        return f"{self.number},{self.slot},{self.loads},{self.hub}"

    @classmethod
    def from_argument(cls, argument: str) -> "WorkerPlace":
        """Raises: ValueError."""
        number, slot, loads, hub = map(int, argument.split(","))
        return cls(number, slot, loads, hub)


@attrs.define(eq=False)
class ParentLink:
    """A worker's end of the link."""

    number: int
    load: WorkerLoad
    hub: HubLink
    _stream: trio.SocketStream
    is_retired: bool = attrs.field(default=False, init=False)
    _is_lost: bool = attrs.field(default=False, init=False)  # the parent, or its hub
    overview: ServerOverview = attrs.field(init=False)  # the server's, about which it is asked
    _questions: Questions = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.overview = ServerOverview(ask_parent=self.ask)
        self._questions = Questions(self._stream, partial(find_answer, self.overview))

    @classmethod
    def take(cls, place: WorkerPlace) -> "ParentLink":
        """Take what is inherited, so that the processes that this one starts do not.

        Applications that are made from here on share their groups with those of the other workers.
        Standard input, where the link was, is empty from here on; SIGHUP is the parent's, and does nothing here.
        """
        signal.signal(signal.SIGHUP, lambda number, frame: None)  # not SIG_IGN, which other programs would inherit
        link = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=os.dup(0))))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        load = WorkerLoad(place.loads, place.slot)
        os.close(place.loads)
        line = socket.socket(fileno=place.hub)
        line.set_inheritable(False)
        hub = HubLink(line, Engine.deadline)
        make_engines_with(lambda: HubEngine(hub))
        return cls(place.number, load, hub, link)

    def say_ready(self) -> None:
        """Tell the parent that connections are accepted."""
        self._questions.put(READY)

    def say_failed(self, why: str) -> None:
        """Tell the parent why this worker cannot start, which says it once for all. Also before `follow`."""
        with suppress(OSError):  # the parent is gone
            os.write(self._stream.socket.fileno(), FAILED + orjson.dumps(why) + b"\n")

    async def ask(self, *question: str | int) -> Any:
        """Ask the parent for what it knows of all workers. Returns None if it does not answer. Checkpoint: always."""
        answer = await self._questions.ask(*question, seconds=PAGE_SECONDS if question[0] == "page" else ANSWER_SECONDS)
        if answer is not NO_ANSWER:
            self.hub.note_answer()
            return answer
        if question == ("live",):
            self.hub.note_silence()
        return None

    async def carry(self) -> None:
        """Carry what boxes and the hub say to each other. Stop as if by a signal when that line ends."""
        await self.hub.run(self._stop)

    async def follow(self) -> None:
        """Ask, and answer the parent. Stop as if by a signal when it says so, or is gone."""
        async with self._stream:
            await self._questions.run(self._obey)
            self._stop()
            await trio.sleep_forever()

    def _obey(self, line: bytes) -> None:
        if line == RETIRE.strip():
            self._stop()
            self.is_retired = True

    def _stop(self) -> None:
        """Stop, unless that was said already: the two lines to the parent end together."""
        if not self.is_retired and not self._is_lost:
            self._is_lost = True
            signal.raise_signal(signal.SIGTERM)
