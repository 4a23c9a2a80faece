"""`python -m examples.chat`: the server in this process, until a signal."""

import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.support import Server, joined


def command(port: int) -> list[str]:
    return [sys.executable, "-u", "-m", "examples.chat", "--port", str(port)]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_is_and_stops_on_a_signal(tmp_path: Path, stop: signal.Signals) -> None:
    with Server(tmp_path / "server.log", command) as server:
        async with joined(server, "command", "Ada") as (ada, _):
            await ada.say("hello")
            await ada.until(content="hello")
        assert server.stop(stop) == 0
    said = server.log.read_text()
    assert f"http://127.0.0.1:{server.port}" in said
    assert "two browser tabs" in said
    assert "Traceback" not in said
