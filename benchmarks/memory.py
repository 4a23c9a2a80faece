"""What an idle connection holds, object by object.

Our server runs in this process, with clients that are sockets made before. What is there once they are connected and
wait, and was not before, is the connections': the objects that the garbage collector knows, and what those refer to.
Python's allocators are asked as well, since not everything is an object that is found so.
"""

import gc
import socket
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import trio
from hypercorn.config import Config
from trio.testing import wait_all_tasks_blocked

from nexios_trio import serve

from .app import app
from .cost.client import HANDSHAKE
from .report import aligned

CONNECTIONS: Final = 500
WARM: Final = 50  # that come and go before, until everything is made that is made once
RARE: Final = 0.1  # objects for each connection, below which they are nobody's in particular
NAMED_KEYS: Final = 2  # of a dictionary, by which it is known again


@attrs.frozen
class Kind:
    """Objects that are alike.

    Args:
        name: of their type, and what tells them from others of it.
        each: how many a connection has.
        size: bytes that they take, for each connection.
    """

    name: str
    each: float
    size: float


@attrs.frozen
class Holding:
    """What a connection holds.

    Args:
        kinds: largest first.
        allocated: bytes, as Python's allocators count them.
    """

    kinds: list[Kind]
    allocated: float


def held(path: str = "/echo", connections: int | None = None) -> Holding:
    """Return what a connection to `path` of the benchmarks' application holds while its handler waits for a message."""
    return trio.run(_held, path, CONNECTIONS if connections is None else connections)


def table(holding: Holding) -> str:
    """Return the kinds as a table, with the sum of what was found, and what the allocators count."""
    rows = [["", "objects", "bytes"]]
    rows += [[kind.name, f"{kind.each:.1f}", f"{kind.size:,.0f}"] for kind in holding.kinds]
    rows.append(["found", "", f"{sum(kind.size for kind in holding.kinds):,.0f}"])
    rows.append(["allocated", "", f"{holding.allocated:,.0f}"])
    return aligned(rows)


async def _held(path: str, connections: int) -> Holding:
    config = Config.from_mapping({"bind": ["127.0.0.1:0"], "errorlog": None})
    stop = trio.Event()

    async def serve_app(*, task_status: trio.TaskStatus[list[str]]) -> None:
        await serve(app, config, shutdown_trigger=stop.wait, task_status=task_status)

    clients = [socket.socket() for _ in range(WARM + connections)]
    async with trio.open_nursery() as nursery:
        address, *_ = await nursery.start(serve_app)
        try:
            await _connect(clients[:WARM], address, path)
            _close(clients[:WARM])
            await wait_all_tasks_blocked()
            gc.collect()
            before = _reached(gc.get_objects())  # kept, or what is made later may have their ids
            known = {id(one) for one in before}
            known |= {id(before), id(known)}
            tracemalloc.start()
            await _connect(clients[WARM:], address, path)
            gc.collect()
            allocated = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            found = _reached([one for one in gc.get_objects() if id(one) not in known], known)
        finally:
            _close(clients)
            stop.set()
    return Holding(_kinds(found, connections), allocated / connections)


async def _connect(clients: Sequence[socket.socket], address: str, path: str) -> None:
    host, _, port = address.rpartition("/")[2].rpartition(":")
    request = HANDSHAKE.format(path=path, port=port, more="").encode()

    def connect() -> None:
        for client in clients:
            client.connect((host, int(port)))
            client.sendall(request)
            while not client.recv(4096).endswith(b"\r\n\r\n"):
                pass

    await trio.to_thread.run_sync(connect)
    await wait_all_tasks_blocked()


def _close(clients: Iterable[socket.socket]) -> None:
    for client in clients:
        client.close()


def _reached(objects: Iterable[object], known: set[int] | None = None) -> list[object]:
    """Return the objects, and what the collector does not know that they refer to."""
    found = list(objects)
    seen = {id(one) for one in found} | (known or set())
    for one in found:  # which grows
        for other in gc.get_referents(one):
            if id(other) not in seen and not gc.is_tracked(other):
                seen.add(id(other))
                found.append(other)
    return found


def _kinds(objects: Iterable[object], connections: int) -> list[Kind]:
    numbers: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for one in objects:
        name = _name(one)
        numbers[name] += 1
        sizes[name] += sys.getsizeof(one)
    kinds = [Kind(name, numbers[name] / connections, sizes[name] / connections) for name in numbers]
    return sorted((kind for kind in kinds if kind.each >= RARE), key=lambda kind: -kind.size)


def _name(one: Any) -> str:
    kind = type(one).__name__
    if isinstance(one, dict):
        keys = [key for key in one if isinstance(key, str)][:NAMED_KEYS]
        return f"{kind} of {', '.join(keys)}" if keys else kind
    name = (
        getattr(one, "__qualname__", None)
        if kind in ("coroutine", "function", "method", "builtin_function_or_method")
        else None
    )
    return f"{kind} {name}" if name else kind
