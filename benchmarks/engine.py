"""What the engine of a Redis or Valkey server costs beside a bare link to it: `make bench ARGS=engine`.

CPU of this process for a publish, 16 in flight, without the server's; and how long one message takes from one node to
another, beside the server's answer to a PING over the same kind of link. Two nodes of this one process, so the way from
the one to the other is rather too long than too short. Medians of rounds in which everything is measured once.
"""

import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final

import trio

from nexios_trio.core.message import Message
from nexios_trio.core.message_codec import encode_message
from nexios_trio.engines.redis.engine import RedisEngine
from nexios_trio.engines.redis.keys import LIFE_MS
from nexios_trio.engines.redis.link import RedisLink

from .nodes import redis_binary, redis_command
from .report import aligned
from .servers import free_port

ROUNDS: Final = 5
COUNT: Final = 4_000  # publishes of a round
WINDOW: Final = 16
TRIPS: Final = 500
PAYLOAD: Final = {"text": "x" * 100, "at": 12.5}
START_SECONDS: Final = 10.0

Post = Callable[[Callable[[Any], None]], None]  # publishes, and calls back with the answer


class _Nodes:
    """An engine that watches nothing, one that watches "seen" and publishes to it, and one that only watches it."""

    def __init__(self, engines: list[RedisEngine]) -> None:
        self.alone, self.both, self.other = engines
        self.heard: Callable[[], None] = lambda: None
        self.other.attach(lambda group, message: self.heard())

    @property
    def link(self) -> RedisLink:
        link = self.alone.client.link
        assert link is not None
        return link

    def post_bare(self, then: Callable[[Any], None]) -> None:
        self.link.post("PUBLISH", "channel", encode_message(Message(PAYLOAD, 0.0)), then=then)

    def post_script(self, then: Callable[[Any], None]) -> None:
        """What the engine says, without anything around it but the making of the message."""
        keys = self.alone._keys
        names = [*keys.of_group("bare"), keys.index_of("bare"), keys.receipt("bare", "")]
        data = encode_message(Message(PAYLOAD, 0.0))
        args = (keys.nonce, keys.channel("bare"), data, LIFE_MS, 0, "bare", "", 0, 0, 0, "")
        self.link.post(*self.alone.client.words("post", names, args), then=then)

    def post_alone(self, then: Callable[[Any], None]) -> None:
        self.alone.post("unseen", Message(PAYLOAD, 0.0)).then(then)

    def post_watched(self, then: Callable[[Any], None]) -> None:
        self.both.post("own", Message(PAYLOAD, 0.0)).then(then)

    async def script(self) -> float:
        come, begun = trio.Event(), time.perf_counter()
        self.post_script(lambda answer: come.set())
        await come.wait()
        return time.perf_counter() - begun

    async def ping(self) -> float:
        begun = time.perf_counter()
        await self.link.call("PING")
        return time.perf_counter() - begun

    async def send(self) -> float:
        """One message from one node to the other."""
        come, begun = trio.Event(), time.perf_counter()
        self.heard = come.set
        self.alone.post("seen", Message(PAYLOAD, 0.0))
        await come.wait()
        return time.perf_counter() - begun


@contextmanager
def _server() -> Iterator[str]:
    """A server's URL. Raises: Missing."""
    port = free_port()
    with subprocess.Popen(redis_command(redis_binary(), port), stdout=subprocess.DEVNULL) as server:
        try:
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.kill()


@asynccontextmanager
async def _nodes(url: str) -> AsyncIterator[_Nodes]:
    async with AsyncExitStack() as stack:
        engines = [RedisEngine(url) for _ in range(3)]
        nodes = _Nodes(engines)
        for engine in engines:
            engine.name, engine.deadline = "bench", START_SECONDS
            if engine is not nodes.other:
                engine.attach(lambda group, message: None)
            await stack.enter_async_context(engine.run())
        await nodes.both.watch("own")
        await nodes.other.watch("seen")
        yield nodes


async def _publish_cost(post: Post) -> float:
    """Microseconds of CPU for each, with `WINDOW` in flight."""
    answered, sent = 0, 0
    is_over = trio.Event()

    def then(answer: Any) -> None:
        nonlocal answered
        answered += 1
        if sent < COUNT:
            send()
        elif answered == COUNT:
            is_over.set()

    def send() -> None:
        nonlocal sent
        sent += 1
        post(then)

    begun = time.process_time()
    for _ in range(WINDOW):
        send()
    await is_over.wait()
    return (time.process_time() - begun) / COUNT * 1e6


async def _median_trip(trip: Callable[[], Awaitable[float]]) -> float:
    """Microseconds."""
    return statistics.median([await trip() for _ in range(TRIPS)]) * 1e6


async def _measured(url: str, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    async with _nodes(url) as nodes:
        for number in range(rounds + 1):  # the first one warms up
            seen = {
                "PUBLISH": await _publish_cost(nodes.post_bare),
                "the script": await _publish_cost(nodes.post_script),
                "post": await _publish_cost(nodes.post_alone),
                "post, watched here": await _publish_cost(nodes.post_watched),
                "PING": await _median_trip(nodes.ping),
                "the script, p50": await _median_trip(nodes.script),
                "to another node": await _median_trip(nodes.send),
            }
            if number:
                for name, value in seen.items():
                    found.setdefault(name, []).append(value)
    return found


def measured(rounds: int = ROUNDS) -> dict[str, float]:
    """Medians, in microseconds. Raises: Missing where there is no server."""
    with _server() as url:
        return {name: statistics.median(values) for name, values in trio.run(_measured, url, rounds).items()}


def table(found: dict[str, float]) -> str:
    """What each costs, and how many times that is what it is compared with."""
    rows = [["", "µs", "beside"]]
    for name, what, base in (
        ("PUBLISH", "bare link: PUBLISH, CPU", "PUBLISH"),
        ("the script", "bare link: the engine's script, CPU", "PUBLISH"),
        ("post", "engine: publish, CPU", "the script"),
        ("post, watched here", "engine: publish and deliver here, CPU", "the script"),
        ("PING", "bare link: PING and its answer, p50", "PING"),
        ("the script, p50", "bare link: the engine's script and its answer, p50", "PING"),
        ("to another node", "engine: publish, and delivered on another node, p50", "PING"),
    ):
        rows.append([what, f"{found[name]:.1f}", f"{found[name] / found[base]:.2f} of {base}"])
    return aligned(rows)
