"""The metrics of several workers: the same page whichever of them is asked, and from their parent."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import orjson
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.server.processes import QUICK, Command, command
from tests.server.support import DEADLINE, Raw
from tests.server.test_workers_health import health_of

pytestmark = pytest.mark.slow

APP = "tests.server.apps:observed"
TWO = (*QUICK, "--workers", "2")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


class Page:
    """Metrics, as Prometheus reads them."""

    def __init__(self, text: bytes) -> None:
        families = list(text_string_to_metric_families(text.decode()))
        assert len({family.name for family in families}) == len(families)
        samples = [sample for family in families for sample in family.samples]
        self.values = {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples}
        assert len(self.values) == len(samples)

    def total(self, name: str, **labels: str) -> float:
        return sum(value for (what, *key), value in self.values.items() if what == name and labels.items() <= {*key})

    @property
    def complete(self) -> tuple[float, float]:
        """How many workers are in it, of how many."""
        return self.values["nexios_workers_answered",], self.values["nexios_workers",]


class Client:
    """A connection that some worker has for as long as it lives."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self.pid = 0

    async def get(self, path: str) -> tuple[int, bytes]:
        await self._raw.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await self._raw.until(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length: ")[2].split()[0])
        return int(head.split()[1]), await self._raw.exactly(size)

    async def page(self, answered: int = 2) -> Page:
        """The page, once it is that of so many workers of the two: each has 0.9 s, and the machine may be busy."""
        with trio.fail_after(DEADLINE):
            while True:
                status, text = await self.get("/metrics")
                assert status == 200, text
                page = Page(text)
                if page.complete == (answered, 2):
                    return page


@asynccontextmanager
async def both(server: Command) -> AsyncIterator[tuple[Client, Client]]:
    """A connection of each worker, by their numbers."""
    found: dict[str, Client] = {}
    async with AsyncExitStack() as stack:
        with trio.fail_after(DEADLINE):
            while len(found) < 2:  # the less loaded one has the next
                client = Client(await stack.enter_async_context(await server.connect()))
                name, client.pid = orjson.loads((await client.get("/worker"))[1])
                found[name] = client
        yield found["0"], found["1"]


async def test_whichever_worker_answers_and_the_parent_show_the_same(log):
    async with command(log, APP, *TWO, "--health-bind", "127.0.0.1:0") as server, AsyncExitStack() as stack:
        for _ in range(6):
            await (await stack.enter_async_context(await server.connect())).handshake("/echo")
        async with both(server) as workers:
            pages = [await worker.page() for worker in workers]
            pages.append(Page((await health_of(server).get("/metrics")).partition(b"\r\n\r\n")[2]))
            for page in pages:
                assert page.total("nexios_connections", protocol="websocket") == 6
                assert page.total("nexios_accepted_total") == 6
                assert page.total("nexios_engine_state", state="up") == 2
                assert page.complete == (2, 2)
            inner = Page((await workers[0].get("/inner/metrics"))[1])  # of the application that is asked
            assert (inner.total("nexios_accepted_total"), inner.complete) == (0, (2, 2))
            assert 0 < pages[0].total("nexios_accepted_total", worker="0") < 6
            assert {*pages[0].values} == {*pages[1].values} == {*pages[2].values}
        server.signal()
        assert await server.status() == 0
    assert "Traceback" not in log.read_text()


async def test_a_worker_that_does_not_answer_is_missing_and_a_new_one_begins_at_0(log):
    async with command(log, APP, *TWO) as server, AsyncExitStack() as stack:
        for _ in range(6):
            await (await stack.enter_async_context(await server.connect())).handshake("/echo")
        async with both(server) as (first, second):
            before = await first.page()
            of_first = before.total("nexios_accepted_total", worker="0")
            os.kill(second.pid, signal.SIGSTOP)
            page = await first.page(1)
            assert page.total("nexios_accepted_total") == of_first
            os.kill(second.pid, signal.SIGCONT)
            assert {*(await second.page()).values} == {*(await first.page()).values}
            os.kill(second.pid, signal.SIGKILL)
            with trio.fail_after(DEADLINE):
                while f"worker 1 (process {second.pid}) ended" not in server.log:
                    await trio.sleep(0.05)  # for another process, which has no condition to wait for
            page = await first.page()
            assert page.total("nexios_accepted_total", worker="0") == of_first
            assert page.total("nexios_accepted_total", worker="1") == 0
            assert page.total("nexios_groups", worker="1") == 0
        server.signal()
        assert await server.status() == 0


async def test_a_parent_that_stands_still(log):
    async with command(log, APP, *TWO) as server, both(server) as (first, _):
        assert (await first.get("/readyz"))[0] == 200
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            assert await first.get("/readyz") == (503, b'{"ready":false,"not_ready":{"engine":"down"}}')
            status, text = await first.get("/metrics")
            assert (status, text) == (503, b"the parent process, which asks all workers, does not answer\n")
            assert await first.get("/healthz") == (200, b'{"alive":true}')
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        assert await first.get("/readyz") == (200, b'{"ready":true}')
        await first.page()
        server.signal()
        assert await server.status() == 0
