"""One address for the health of several workers, which their parent has."""

import os
import re
import signal
from typing import Any

import orjson
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.server.processes import QUICK, Command, command
from tests.server.support import DEADLINE, Running

pytestmark = pytest.mark.slow

APP = "tests.server.apps:observed"
TWO = ("--workers", "2", "--health-bind", "127.0.0.1:0")
ALIVE, READY = (200, {"alive": True}), (200, {"ready": True})


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def health_of(server: Command) -> Running:
    found = re.search(r"health is answered on http://127\.0\.0\.1:(\d+)", server.log)
    assert found is not None, server.log
    return Running([f":{found[1]}"], server._stop, server._stopped)


async def ask(health: Running, path: str) -> tuple[int, Any]:
    head, _, body = (await health.get(path)).partition(b"\r\n\r\n")
    return int(head.split()[1]), orjson.loads(body)


async def worker_pids(server: Command) -> list[int]:
    """By number, once both have answered."""
    found: dict[str, int] = {}
    with trio.fail_after(DEADLINE):
        while len(found) < 2:
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(_ask_pid, server, found)
    return [found["0"], found["1"]]


async def _ask_pid(server: Command, found: dict[str, int]) -> None:
    name, pid = (await ask(server, "/worker"))[1]
    found[name] = pid


async def test_the_parent_answers_for_all(log):
    async with command(log, APP, *QUICK, *TWO) as server:
        health = health_of(server)
        assert [await ask(health, path) for path in ("/healthz", "/readyz")] == [ALIVE, READY]
        first, second = await worker_pids(server)
        os.kill(second, signal.SIGSTOP)
        late = "no answer in 0.9 s"
        assert await ask(health, "/healthz") == (503, {"alive": False, "not_answering": {"worker 1": late}})
        assert await ask(health, "/readyz") == (503, {"ready": False, "not_ready": {"worker 1": late}})
        os.kill(second, signal.SIGCONT)
        assert [await ask(health, path) for path in ("/healthz", "/readyz")] == [ALIVE, READY]
        os.kill(first, signal.SIGUSR1)  # which the application takes for the end of its database
        with trio.fail_after(DEADLINE):
            while (await ask(health, "/readyz"))[0] == 200:
                await trio.sleep(0.05)
        assert (await ask(health, "/readyz"))[1] == {"ready": False, "not_ready": {"worker 0": "database: not ready"}}
        async with await server.connect() as client:
            await client.handshake("/stubborn")
            server.signal()
            assert await client.closed() == 1012
            assert await ask(health, "/readyz") == (503, {"ready": False, "not_ready": {"server": "draining"}})
            assert await ask(health, "/healthz") == ALIVE
        assert await server.status() == 0
    assert "Traceback" not in log.read_text()


async def test_metrics_of_all_workers_are_one_page(log):
    async with command(log, APP, *QUICK, *TWO) as server:
        head, _, body = (await health_of(server).get("/metrics")).partition(b"\r\n\r\n")
        assert b" 200 " in head
        families = {family.name: family for family in text_string_to_metric_families(body.decode())}
        for name in ("nexios_groups", "nexios_server_connections", "process_open_fds"):  # the last is the library's
            assert {sample.labels["worker"] for sample in families[name].samples} == {"0", "1"}
        assert b" 404 " in await health_of(server).get("/nothing")
        server.signal()
        assert await server.status() == 0
