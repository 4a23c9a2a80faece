"""The orders and their shop, each a process of its own, with the real command."""

import json
import os
import sys
from pathlib import Path

import pytest
import trio

from tests.server.processes import PROJECT, QUICK, command
from tests.server.support import frame

KEY = "correct-horse-battery-staple"


@pytest.mark.slow
async def test_watchers_see_each_order_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXIOS_API_KEY", f"an-older-key-of-this-kind,{KEY}")
    async with command(tmp_path / "log", "examples.orders:app", *QUICK) as server, await server.connect() as watcher:
        await watcher.handshake("/orders")
        await watcher.send(frame(1, b"1"))  # answered once it is a member
        assert json.loads((await watcher.frame())[1]) == {"error": "watchers only listen"}
        url = f"http://127.0.0.1:{server.port}/api"
        environment = os.environ | {"NEXIOS_API_KEY": KEY, "NEXIOS_API_URL": url}
        for state in ("paid", "paid", "sent"):
            shop = (sys.executable, "-m", "examples.orders_shop", "7", state)
            await trio.run_process(shop, cwd=PROJECT, env=environment)
        assert [json.loads((await watcher.frame())[1])["state"] for _ in range(2)] == ["paid", "sent"]
        shop = (sys.executable, "-m", "examples.orders_shop", "8", "paid")
        environment["NEXIOS_API_KEY"] = "a-key-of-somebody-else"
        done = await trio.run_process(shop, cwd=PROJECT, env=environment, check=False, capture_stderr=True)
        assert done.returncode == 1
        assert done.stderr.decode() == f"not announced: {url}: 401: the key is not one of mount_api\n"
