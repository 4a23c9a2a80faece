"""Document 002 calls asyncio. Whoever leaves that as it is learns from the error what to write instead."""

import asyncio

import pytest

from nexios_trio import NexiosApp
from nexios_trio.testing import Unmet, run_app
from nexios_trio.testing.client import connect


async def test_asyncio_in_a_startup_function():
    app = NexiosApp()

    @app.on_startup
    async def setup():
        await asyncio.sleep(60)

    with pytest.raises(Unmet, match=r"no running event loop\. .*app\.start_soon\(f\)"):
        async with run_app(app):
            pass


async def test_asyncio_in_a_handler(caplog):
    app = NexiosApp()

    @app.ws_route("/ws")
    async def handler(ws):
        await ws.accept()
        await asyncio.sleep(60)

    async with run_app(app), connect(app, "/ws") as client:
        assert await client.receive_close() == (1011, "")
    assert "trio.sleep for asyncio.sleep" in caplog.text
