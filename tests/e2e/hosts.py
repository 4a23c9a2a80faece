"""Applications on a server of this very process: hypercorn's, or our runner."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config

from nexios_trio import serve as serve_directly

Server = Callable[..., Awaitable[None]]


@asynccontextmanager
async def served(app: Any, serve: Any, **options: Any) -> AsyncGenerator[tuple[int, trio.Event]]:
    """The port, and what stops the server; at the end of the block it is stopped."""
    config = Config.from_mapping({"bind": ["127.0.0.1:0"], "graceful_timeout": 0, "errorlog": None, **options})
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(serve, app, config, shutdown_trigger=stop.wait))
        yield int(address.rpartition(":")[2]), stop
        stop.set()


SERVERS = pytest.mark.parametrize("serve", [hypercorn.trio.serve, serve_directly], ids=["hypercorn", "runner"])
