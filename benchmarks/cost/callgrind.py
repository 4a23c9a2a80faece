"""A server under valgrind's callgrind, which counts the instructions that it executes in user space.

No count depends on luck: it is read over valgrind's own channel, which answers when the count is complete, and only
while the server is at rest, which means that all its threads sleep in the kernel.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from benchmarks.machine import Missing
from benchmarks.servers import Kit, Running, Server, serving

START_SECONDS: Final = 240.0  # in which a server must listen, under valgrind and beside other work
REST_SECONDS: Final = 60.0  # in which a server must come to rest
ANSWER_SECONDS: Final = 60.0  # in which valgrind must answer
SETTLE_SECONDS: Final = 30.0
SETTLED_SECONDS: Final = 1.5  # without more than so many instructions
SETTLED_INSTRUCTIONS: Final = 10_000
POLL_SECONDS: Final = 0.0005
QUIET_POLLS: Final = 3  # in a row without a running thread, to be at rest
# The same order of every set and dict, and the same modules compiled, in every run.
ENVIRONMENT: Final = {"PYTHONHASHSEED": "0"}
_EVENTS = re.compile(r"^events-\d+: (\d+)$", re.MULTILINE)


def require_valgrind() -> None:
    """Raises: Missing when valgrind is not installed."""
    missing = [name for name in ("valgrind", "vgdb") if shutil.which(name) is None]
    if missing:
        raise Missing(
            f"{' and '.join(missing)} not found, and valgrind counts the instructions: "
            "install it (`make system`, or apt-get install valgrind)"
        )


@attrs.frozen
class CountedServer:
    """A server that runs under callgrind.

    Args:
        running: the server.
        prefix: where valgrind and `vgdb` meet; nobody else uses it.
        is_tls: it speaks TLS.
    """

    running: Running
    prefix: str
    is_tls: bool = False

    @property
    def port(self) -> int:
        return self.running.port

    def count(self) -> int:
        """Return how many instructions it has executed. It comes to rest first.

        Raises: RuntimeError when it does not come to rest, has ended, or valgrind does not answer.
        """
        self.wait_until_at_rest()
        return parse_status(self._ask("status internal"))

    def begin_to_count(self) -> None:
        """Until now it ran without being counted, which is several times as fast."""
        self._ask("instrumentation on")

    def wait_until_at_rest(self) -> None:
        """Wait until no thread of it has anything to do. Raises: RuntimeError."""
        self._wait_for_states("S", QUIET_POLLS)

    def settle(self) -> None:
        """Wait until next to nothing happens by itself; timers of new connections run for some seconds.

        Gives up quietly after `SETTLE_SECONDS`: some servers do something all the time.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        before = self.count()
        while time.monotonic() < deadline:
            time.sleep(SETTLED_SECONDS)
            now = self.count()
            if now - before <= SETTLED_INSTRUCTIONS:
                return
            before = now

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop it for the block: all that is sent within arrives in one turn of its loop.

        Raises: RuntimeError.
        """
        self.wait_until_at_rest()
        pid = self.running.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            self._wait_for_states("T", 1)
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _wait_for_states(self, state: str, polls: int) -> None:
        process = self.running.process
        deadline = time.monotonic() + REST_SECONDS
        quiet = 0
        while quiet < polls:
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with status {process.returncode}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the server did not come to rest within {REST_SECONDS:g} s")
            quiet = quiet + 1 if thread_states(process.pid) == {state} else 0
            time.sleep(POLL_SECONDS)

    def _ask(self, command: str) -> str:
        # One millisecond, after which `vgdb` wakes a server that sleeps; with 0 it would never.
        asked = [*("vgdb", f"--vgdb-prefix={self.prefix}", f"--pid={self.running.process.pid}"), "--max-invoke-ms=1"]
        try:
            done = subprocess.run(
                [*asked, *command.split()], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"valgrind did not answer {command!r} within {ANSWER_SECONDS:g} s") from error
        if done.returncode:
            raise RuntimeError(f"valgrind did not take {command!r}: {done.stderr.strip()[-300:]}")
        return done.stdout


def parse_status(answer: str) -> int:
    """Return the instructions of all threads. Raises: RuntimeError when the answer names none."""
    found = _EVENTS.findall(answer)
    if not found:
        raise RuntimeError(f"callgrind's status names no count: {answer.strip()[-300:]!r}")
    return sum(map(int, found))


def thread_states(pid: int) -> set[str]:
    """Return the letters that `/proc` shows for the threads of a process."""
    states = set()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # a thread that has just ended
            states.add(stat.read_text().rpartition(")")[2].split()[0])
    return states


@contextmanager
def counted_server(server: Server, kit: Kit) -> Iterator[CountedServer]:
    """`server` under callgrind, until the end of the block.

    Raises: Missing; RuntimeError when it does not start.
    """
    require_valgrind()
    with tempfile.TemporaryDirectory() as directory:
        prefix = f"{directory}/vgdb"
        wrapper = [
            *("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"),
            *(f"--callgrind-out-file={directory}/out", f"--vgdb-prefix={prefix}"),
        ]
        with serving(server, kit, wrapper=wrapper, environment=ENVIRONMENT, seconds=START_SECONDS) as running:
            counted = CountedServer(running, prefix, server.is_tls)
            counted.wait_until_at_rest()
            counted.begin_to_count()
            yield counted
