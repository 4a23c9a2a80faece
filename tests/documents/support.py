"""What the tests of the documents share."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from nexios_trio import NexiosApp
from nexios_trio.testing import Client, run_app
from nexios_trio.testing.client import connect


@asynccontextmanager
async def clients(app: NexiosApp, *paths: str, timeout: float = 5.0) -> AsyncGenerator[list[Client]]:
    """The application, running, and a client at each path."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(run_app(app))
        yield [await stack.enter_async_context(connect(app, path, timeout=timeout)) for path in paths]
