"""What can happen to engines and their server: a proxy before each engine, and a server that can be started again."""

import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio

from nexios_trio.engines.base import Engine
from nexios_trio.engines.redis.engine import RedisEngine
from tests.engines.redis.server import RedisProcess
from tests.faults.proxy import FaultProxy


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
        proxy.refuse(True)
        try:
            yield
        finally:
            proxy.refuse(False)

    @contextmanager
    def stalled(self, engine: Engine) -> Generator[None]:
        proxy = self.proxies[engine]
        proxy.stall()
        try:
            yield
        finally:
            proxy.go_on()

    @contextmanager
    def losing_answers(self, engine: Engine) -> Generator[None]:
        proxy = self.proxies[engine]
        proxy.lose_answers()
        try:
            yield
        finally:
            proxy.cut()

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
