"""A worker, as its parent sees it."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Final

import attrs
import orjson
import trio

from .parent_link import FAILED, READY, RETIRE, WorkerPlace
from .worker_reports import FindAnswer, Questions

__all__ = ["Worker", "start_worker"]

LAST_BYTES: Final = 65536  # that a worker says before it ends


@attrs.define(eq=False)
class Worker:
    """One process, and the parent's end of its link.

    Args:
        predecessor: whose place it takes, once it is ready.
        answer: what it asks.
    """

    place: WorkerPlace
    process: trio.Process
    link: trio.SocketStream
    hub: socket.socket  # the hub's end
    predecessor: "Worker | None"
    _answer: FindAnswer
    settled: trio.Event = attrs.field(factory=trio.Event, init=False)  # ready, or over
    ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    is_ready: bool = attrs.field(default=False, init=False)
    has_successor: bool = attrs.field(default=False, init=False)  # started, perhaps not ready
    is_retired: bool = attrs.field(default=False, init=False)  # the successor is ready
    problem: str = attrs.field(default="", init=False)  # why it cannot start, in its own words
    questions: Questions = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.questions = Questions(self.link, self._answer)

    @property
    def name(self) -> str:
        return f"worker {self.place.number} (process {self.process.pid})"

    async def listen(self) -> None:
        """Hear that it is ready, ask and answer, until it ends."""
        await self.questions.run(self._note)

    def _note(self, line: bytes) -> None:
        if line == READY.strip():
            self.is_ready = True
            self.settled.set()
        elif line.startswith(FAILED):
            self.problem = orjson.loads(line.removeprefix(FAILED))

    def describe_end(self, status: int) -> str:
        """Return how the process ended, in words."""
        if self.problem:
            return f"{self.name}: {self.problem}"
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return f"{self.name} ended {how}" if self.is_ready else f"{self.name} ended {how} before it was ready"

    def retire(self) -> None:
        """Tell it to stop, because its successor is ready."""
        self.is_retired = True
        self.questions.put(RETIRE)

    def end(self) -> None:
        """Let go of it, and kill it if it still runs."""
        self.process.kill()
        with suppress(OSError):  # it has said nothing more
            for line in os.read(self.link.socket.fileno(), LAST_BYTES).splitlines():
                self._note(line)
        self.link.socket.close()
        self.hub.close()
        self.settled.set()
        self.ended.set()


async def start_worker(
    command: Callable[[WorkerPlace], Sequence[str]],
    make_place: Callable[[int], WorkerPlace],
    inherited: Sequence[int],
    predecessor: Worker | None,
    answer: FindAnswer,
) -> Worker:
    """Start a process with one end of a link as its standard input.

    Args:
        make_place: called with the descriptor of its line to the hub.
        inherited: other descriptors.
        answer: finds what the worker asks.

    Raises: OSError, for want of descriptors, processes, memory or the program: nothing is left of it.
    """
    with ExitStack() as ours_too, ExitStack() as theirs:
        link, their_link = socket.socketpair()
        ours_too.enter_context(link)
        theirs.enter_context(their_link)
        hub, their_hub = socket.socketpair()
        ours_too.enter_context(hub)
        theirs.enter_context(their_hub)
        place = make_place(their_hub.fileno())
        process = await trio.lowlevel.open_process(
            command(place),
            stdin=their_link.fileno(),
            pass_fds=[*inherited, place.hub],
            process_group=0,  # the terminal's Ctrl-C reaches the parent alone
        )
        ours_too.pop_all()
    return Worker(place, process, trio.SocketStream(trio.socket.from_stdlib_socket(link)), hub, predecessor, answer)
