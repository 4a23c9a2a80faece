"""The chat in a process of its own, and a WebSocket client that is not ours."""

import json
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import pytest
import trio
import trio_websocket

PROJECT = Path(__file__).resolve().parents[2]
HYPERCORN = Path(sys.executable).with_name("hypercorn")
DEADLINE = 15.0  # seconds for anything that should take milliseconds: the machine may be busy


# Below the ports that the kernel hands to outgoing connections, so that nobody takes ours while we restart; each process
# of a divided run has a range of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(20_000 + WORKER % 10 * 1_000, 21_000 + WORKER % 10 * 1_000)


def free_port() -> int:
    """Return a port of ours that nobody listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Server:
    """A server process in a process group of its own, on one port for all its lives."""

    def __init__(self, log: Path, command: Callable[[int], list[str]], tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self._tls = tls  # its clients'
        self.log = log
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def get(self, path: str) -> tuple[int, HTTPMessage, bytes]:
        """Status, headers and body of the answer."""
        plain = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        secure = HTTPSConnection("localhost", self.port, timeout=DEADLINE, context=self._tls)
        with closing(plain if self._tls is None else secure) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(self.port), cwd=PROJECT, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_for_answer()
        except BaseException:
            self.kill()
            raise

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            self.check()
            try:
                self.get("/")
            except (HTTPException, ConnectionError):  # it does not listen yet, or is not ready
                time.sleep(0.02)
            else:
                return
        pytest.fail(f"no answer on port {self.port} after {DEADLINE} s:\n{self.log.read_text()}")

    @property
    def pid(self) -> int:
        """Of the process, and of its session."""
        assert self._process is not None
        return self._process.pid

    def check(self) -> None:
        """Fail with the log if the process is gone."""
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"the server exited with {self._process.returncode}:\n{self.log.read_text()}")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Ask the server to stop as an operator would; its exit code. Nothing of its group survives."""
        assert self._process is not None
        self._process.send_signal(with_signal)
        try:
            return self._process.wait(DEADLINE)
        finally:
            self.kill()

    def kill(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)


def hypercorn(port: int) -> list[str]:
    return [str(HYPERCORN), "--worker-class", "trio", "-b", f"127.0.0.1:{port}", "examples.chat.app:app"]


class Client:
    """One person in a room, through trio-websocket."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, stream: trio.SocketStream) -> None:
        self.websocket = websocket
        self._stream = stream

    async def send(self, message: Any) -> None:
        await self.send_raw(json.dumps(message))

    async def send_raw(self, frame: str | bytes) -> None:
        with trio.fail_after(DEADLINE):
            await self.websocket.send_message(frame)

    async def say(self, content: str) -> None:
        await self.send({"type": "message", "content": content})

    async def next(self) -> dict[str, Any]:
        with trio.fail_after(DEADLINE):
            message = json.loads(await self.websocket.get_message())
        assert isinstance(message, dict)
        return message

    async def until(self, **expected: Any) -> dict[str, Any]:
        """The next message with these fields; what comes before it is dropped."""
        while True:
            message = await self.next()
            if expected.items() <= message.items():
                return message

    async def vanish(self) -> None:
        """Reset the connection, without a closing handshake."""
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._stream.aclose()

    async def closed(self) -> trio_websocket.CloseReason:
        """What the server closes with, after everything else that it sends."""
        with pytest.raises(trio_websocket.ConnectionClosed) as caught:
            while True:
                await self.next()
        assert caught.value.reason is not None
        return caught.value.reason


@asynccontextmanager
async def connect(server: Server, path: str, **query: str) -> AsyncIterator[Client]:
    resource = path + (f"?{urlencode(query)}" if query else "")
    # The stream is ours: trio-websocket leaves its own open when the server closes first.
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        async with trio.open_nursery() as nursery:
            host = f"127.0.0.1:{server.port}"
            with trio.fail_after(DEADLINE):
                websocket = await trio_websocket.wrap_client_stream(nursery, stream, host, resource)
            yield Client(websocket, stream)
            with trio.fail_after(DEADLINE):
                await websocket.aclose()
            nursery.cancel_scope.cancel()  # its reader may wait for somebody to take a message


@asynccontextmanager
async def joined(server: Server, room: str, username: str) -> AsyncIterator[tuple[Client, dict[str, Any]]]:
    """A person in a room, and the welcome."""
    async with connect(server, f"/ws/chat/{room}", username=username) as client:
        yield client, await client.until(type="welcome")


class Proxy:
    """A way to the server that can be cut. Owned by `open_proxy`."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._connections: set[trio.CancelScope] = set()
        self._is_cut = False

    def cut(self) -> None:
        """End all connections, and new ones at once."""
        self._is_cut = True
        for connection in self._connections:
            connection.cancel()

    def mend(self) -> None:
        self._is_cut = False

    async def relay(self, client: trio.SocketStream) -> None:
        async with client:
            if self._is_cut:
                return
            with trio.CancelScope() as scope:
                self._connections.add(scope)
                try:
                    async with await trio.open_tcp_stream("127.0.0.1", self._target) as server:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(self._pump, server, client, scope)
                            await self._pump(client, server, scope)
                finally:
                    self._connections.discard(scope)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in source:
                await sink.send_all(data)
        scope.cancel()  # one side is gone: so is the other


@asynccontextmanager
async def open_proxy(target: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.relay, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
