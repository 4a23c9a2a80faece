"""`nexios-trio run` in a process of its own."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from tests.server.support import DEADLINE, Running

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("nexios-trio")
QUICK = ("--set", "drain_jitter=0", "--set", "drain_timeout=2")


class Command(Running):
    """A running `nexios-trio run`."""

    def __init__(self, process: trio.Process, line: str, log: Path) -> None:
        text = json.loads(line)["message"] if line.startswith("{") else line
        super().__init__([text.partition(" on ")[2].split()[0]], trio.Event(), trio.Event())
        self.process = process
        self.line = line
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def status(self) -> int:
        """The exit status, once there is one."""
        with trio.fail_after(DEADLINE):
            return await self.process.wait()


@asynccontextmanager
async def command(
    log: Path,
    *arguments: str,
    bind: str | None = "127.0.0.1:0",
    program: Sequence[str] = (str(COMMAND),),
    folder: Path = PROJECT,
) -> AsyncIterator[Command]:
    """`nexios-trio run ARGUMENTS` until the end of the block, from when it says that it serves.

    Args:
        folder: where it runs.
    """
    line, process = await start(log, *arguments, bind=bind, program=program, folder=folder)
    try:
        assert "Serving " in line, f"{line}\n{text_of(log)}"
        yield Command(process, line, log)
    finally:
        kill(process)
        with trio.CancelScope(shield=True):
            await process.wait()


async def failed(log: Path, *arguments: str, bind: str | None = "127.0.0.1:0", folder: Path = PROJECT) -> int:
    """The exit status of a command that does not get so far."""
    line, process = await start(log, *arguments, bind=bind, folder=folder)
    try:
        assert line == ""
        with trio.fail_after(DEADLINE):
            return await process.wait()
    finally:
        kill(process)


async def start(
    log: Path,
    *arguments: str,
    bind: str | None,
    program: Sequence[str] = (str(COMMAND),),
    folder: Path = PROJECT,
) -> tuple[str, trio.Process]:
    """The first line that it prints, or nothing; it is in a process group of its own. No banner, unless asked for."""
    banner = () if "--banner" in arguments else ("--no-banner",)
    with log.open("ab") as errors:
        process = await trio.lowlevel.open_process(
            [*program, "run", *arguments, *banner, *(() if bind is None else ("-b", bind))],
            cwd=folder,
            stdout=-1,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdout is not None
    line = b""
    with trio.fail_after(DEADLINE):
        async with process.stdout:
            while not line.endswith(b"\n") and (data := await process.stdout.receive_some()):
                line += data
    return line.decode(), process


def kill(process: trio.Process) -> None:
    """The whole group: workers have groups of their own, but follow their parent."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def text_of(log: Path) -> str:
    return log.read_text()
