"""What can happen to engines and their server: a proxy before each engine, and a server that can be started again."""

import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio

from nexios_trio.engines.base import Engine
from nexios_trio.engines.redis.engine import RedisEngine
from tests.engines.redis.server import RedisProcess


class _Way:
    """One connection of an engine's, through the proxy."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope = scope
        self.may_pass = trio.Event()
        self.may_pass.set()
        self.loses_answers = False


class FaultProxy:
    """Passes on what an engine and its server say to each other, as long as it is let."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.port = 0
        self.is_refusing = False
        self.ways: dict[_Way, None] = {}
        self.opened = 0

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, client: trio.SocketStream) -> None:
        if self.is_refusing:
            return
        try:
            server = await trio.open_unix_socket(self._path)
        except OSError:
            return
        async with client, server, trio.open_nursery() as nursery:
            way = _Way(nursery.cancel_scope)
            self.ways[way] = None
            self.opened += 1
            try:
                nursery.start_soon(self._pass, way, client, server, False)
                await self._pass(way, server, client, True)
            finally:
                del self.ways[way]

    async def _pass(self, way: _Way, source: trio.SocketStream, target: trio.SocketStream, is_answer: bool) -> None:
        try:
            while data := await source.receive_some(65_536):
                await way.may_pass.wait()
                if not (is_answer and way.loses_answers):
                    await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        way.scope.cancel()

    def cut(self) -> None:
        """Break all connections."""
        for way in list(self.ways):
            way.scope.cancel()


class RedisFaults:
    """`EngineFaults` for engines of one server."""

    def __init__(self, server: RedisProcess, name: str, *, deadline: float = 3.0, probe_seconds: float = 0.3) -> None:
        self.server = server
        self._name = name
        self._deadline = deadline
        self._probe_seconds = probe_seconds
        self.proxies: dict[Engine, FaultProxy] = {}

    @asynccontextmanager
    async def engine(self) -> AsyncGenerator[RedisEngine]:
        """An engine behind a proxy of its own."""
        proxy = FaultProxy(self.server.path)
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            engine = RedisEngine(f"redis://127.0.0.1:{proxy.port}", probe_seconds=self._probe_seconds)
            engine.name, engine.deadline = self._name, self._deadline
            self.proxies[engine] = proxy
            yield engine
            nursery.cancel_scope.cancel()

    @contextmanager
    def cut_off(self, engine: Engine) -> Generator[None]:
        proxy = self.proxies[engine]
        proxy.is_refusing = True
        proxy.cut()
        try:
            yield
        finally:
            proxy.is_refusing = False

    @contextmanager
    def stalled(self, engine: Engine) -> Generator[None]:
        ways = list(self.proxies[engine].ways)
        for way in ways:
            way.may_pass = trio.Event()
        try:
            yield
        finally:
            for way in ways:
                way.may_pass.set()

    @contextmanager
    def losing_answers(self, engine: Engine) -> Generator[None]:
        ways = list(self.proxies[engine].ways)
        for way in ways:
            way.loses_answers = True
        try:
            yield
        finally:
            for way in ways:
                way.scope.cancel()

    @contextmanager
    def deaf(self, engine: Engine) -> Generator[None]:
        """What is published is lost on the last step: no proxy can take it out of the middle of what is said."""
        client: Any = engine.client  # type: ignore[attr-defined]
        take, client.on_message = client.on_message, lambda channel, payload: None
        try:
            yield
        finally:
            client.on_message = take

    async def restart(self, *, loses: int) -> None:
        """Lose the last messages of each group as a server does that had not written them yet."""
        await trio.to_thread.run_sync(lose_last, self.server, self._name, loses)
        await trio.to_thread.run_sync(self._start_again)

    def _start_again(self) -> None:
        self.server.stop(signal.SIGKILL)
        self.server.start()


def lose_last(server: RedisProcess, name: str, count: int) -> None:
    prefix = f"nx:{name}:".encode()
    with server.talk() as ask:
        for meta in ask("KEYS", prefix + b"m:*"):
            stream = prefix + b"h:" + meta.removeprefix(prefix + b"m:")
            top = int(ask("HGET", meta, "o"))
            left = max(0, top - count)
            ask("HSET", meta, "o", left)
            rows = ask("XRANGE", stream, "-", f"0-{left}")
            ask("DEL", stream)
            for number, fields in rows:
                ask("XADD", stream, number, *fields)
        for receipt in ask("KEYS", prefix + b"k:*"):
            ask("DEL", receipt)
