"""What a worker has from its parent: a number, a link on its standard input, a slot among the workers' loads, and a
line to the hub.
"""

import os
import signal
import socket
from contextlib import suppress
from typing import Final

import attrs
import trio

from ..engines.base import Engine
from ..engines.default import make_engines_with
from ..engines.hub_engine import HubEngine
from ..engines.hub_link import HubLink
from ..transports.server_context import ServerOverview
from .worker_loads import WorkerLoad
from .worker_reports import Lines, answer_question

__all__ = ["NEWCOMERS_SECONDS", "READY", "RETIRE", "ParentLink", "WorkerPlace"]

READY: Final = b"ready\n"  # to the parent
RETIRE: Final = b"retire\n"  # from the parent: another worker is ready in this one's place
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
    _descriptor: int
    is_retired: bool = attrs.field(default=False, init=False)
    overview: ServerOverview = attrs.field(factory=ServerOverview, init=False)  # the server's, about which it is asked
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    @classmethod
    def take(cls, place: WorkerPlace) -> "ParentLink":
        """Take what is inherited, so that the processes that this one starts do not.

        Applications that are made from here on share their groups with those of the other workers.
        Standard input, where the link was, is empty from here on; SIGHUP is the parent's, and does nothing here.
        """
        signal.signal(signal.SIGHUP, lambda number, frame: None)  # not SIG_IGN, which other programs would inherit
        link = os.dup(0)
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
        with suppress(BrokenPipeError):  # the parent is gone, as `follow` finds out
            os.write(self._descriptor, READY)

    async def follow(self) -> None:
        """Answer the parent's questions. Stop as if by a signal when it says so, or is gone."""
        with socket.socket(fileno=os.dup(self._descriptor)) as link:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(link))
            async with trio.open_nursery() as nursery:
                lines = Lines(stream.receive_some)
                while not self.is_retired and (said := await lines.next()):
                    for line in said:
                        if line == RETIRE.strip():
                            self.is_retired = True
                        else:
                            nursery.start_soon(self._answer, stream, line)
                signal.raise_signal(signal.SIGTERM)
                await trio.sleep_forever()

    async def _answer(self, stream: trio.SocketStream, line: bytes) -> None:
        answer = await answer_question(line, self.overview)
        with suppress(trio.BrokenResourceError):
            async with self._sending:
                await stream.send_all(answer)
