"""The access log has the same lines whatever serves the application: each lane in a process of its own."""

import re
import sys
from pathlib import Path

import pytest
import trio
import trio_websocket

from tests.e2e.support import DEADLINE, HYPERCORN, Server
from tests.server.support import Raw, upgrade

APPLICATION = "tests.e2e.rooms_app:app"
OURS = "python:nexios_trio.serving.hypercorn_config"
LINE = re.compile(r".* INFO    (?:nexios_trio|hypercorn)\.access: (.*?) +(?:cause=\w+ )?connection=\w+")


def hypercorn(takeover: int, port: int) -> list[str]:
    options = ["-c", OURS, "--access-logfile", "-", "-b", f"127.0.0.1:{port}"]
    return ["env", f"NEXIOS_TAKEOVER={takeover}", "NEXIOS_DRAIN_TIMEOUT=0.5", str(HYPERCORN), *options, APPLICATION]


def runner(port: int) -> list[str]:
    return [sys.executable, "-m", "nexios_trio", "run", APPLICATION, "--access-log", "-", "-b", f"127.0.0.1:{port}"]


@pytest.mark.slow
@pytest.mark.parametrize("lane", ["runner", "takeover", "plain"])
async def test_lines_of_a_websocket(lane: str, tmp_path: Path) -> None:
    commands = {"runner": runner, "takeover": lambda port: hypercorn(1, port), "plain": lambda port: hypercorn(0, port)}
    with Server(tmp_path / "log", commands[lane]) as server:
        with trio.fail_after(DEADLINE):
            async with trio_websocket.open_websocket(
                "127.0.0.1", server.port, "/room?token=secret", use_ssl=False
            ) as ws:
                async with trio_websocket.open_websocket("127.0.0.1", server.port, "/publish", use_ssl=False) as other:
                    await other.send_message("1")
                    assert await ws.get_message() == "1"
            async with Raw(await trio.open_tcp_stream("127.0.0.1", server.port)) as client:
                await client.send(upgrade("/none"))
                assert b" 404 " in await client.until(b"\r\n\r\n")
        server.stop()
    found = [match[1] for line in server.log.read_text().splitlines() if (match := LINE.fullmatch(line))]
    found = sorted(re.sub(r" [\d.]+ m?s\b", "", line) for line in found)
    code = 1006 if lane == "plain" else 1000  # hypercorn keeps the peer's to itself
    assert found == [
        "connect /publish 127.0.0.1 -",
        "connect /room 127.0.0.1 -",
        f"end /publish 127.0.0.1 - {code} ↑1 ↓0",
        f"end /room 127.0.0.1 - {code} ↑0 ↓1",
        "refuse /none 127.0.0.1 - 404",
    ]
    assert "secret" not in server.log.read_text()
