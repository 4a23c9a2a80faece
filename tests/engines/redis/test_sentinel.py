"""An engine that is told by Sentinels which server is the primary: on real ones, with fail-overs."""

from collections.abc import Iterator

import pytest
import trio

from nexios_trio.engines.base import EngineState
from nexios_trio.engines.redis.connect import ServerMisconfigured
from nexios_trio.engines.redis.engine import RedisEngine
from nexios_trio.exceptions import EngineError
from nexios_trio.testing.contracts import check_engine
from tests.engines.redis.schedules import run_schedule
from tests.engines.redis.sentinels import SentinelFaults, SentinelSetup
from tests.engines.redis.server import BINARIES, MISSING, SERVERS
from tests.engines.redis.test_engine import Node, node_at, until

pytestmark = pytest.mark.slow


@pytest.fixture(params=SERVERS)
def setup(request: pytest.FixtureRequest) -> Iterator[SentinelSetup]:
    if request.param is None:
        pytest.skip(MISSING)
    with SentinelSetup(BINARIES[request.param], "secret") as setup:
        yield setup


async def start(url: str) -> None:
    engine = RedisEngine(url)
    engine.name, engine.deadline = "test-sentinel", 3.0
    async with engine.run():
        pass


async def test_it_keeps_the_contract(setup):
    def make() -> RedisEngine:
        engine = RedisEngine(setup.url)
        engine.name = "test-contract"
        return engine

    await check_engine(make)


async def test_whom_to_ask_is_told_at_the_start(setup):
    with pytest.raises(ServerMisconfigured, match=r"/other: its Sentinels know nothing of that name"):
        await start(setup.url.replace("/main", "/other"))
    with pytest.raises(
        ServerMisconfigured,
        match=r"a Sentinel: .* does not accept the password for its default user; \?sentinel_password=",
    ):
        await start(setup.url.replace("=secret", "=wrong"))
    with pytest.raises(ServerMisconfigured, match=r"a Sentinel: .* wants a password.*; \?sentinel_password="):
        await start(setup.url.partition("?")[0])
    setup.sentinels[0].stop()  # the first that would be asked
    await start(setup.url)
    for sentinel in setup.sentinels:
        sentinel.stop()
    with pytest.raises(EngineError, match=r"no Sentinel of redis\+sentinel://.*/main answers: .*Connection refused"):
        await start(setup.url)


async def test_a_sentinel_and_a_server_are_told_apart(setup):
    with pytest.raises(EngineError, match=r"no Sentinel of .* answers: it is no Sentinel"):
        await start(f"redis+sentinel://127.0.0.1:{setup.servers[0].port}/main")
    with pytest.raises(ServerMisconfigured, match=r"is a Sentinel: name it as redis\+sentinel://"):
        await start(f"redis://:secret@127.0.0.1:{setup.sentinels[0].port}")


async def test_a_link_that_works_is_kept_without_sentinels_and_others_are_learned(setup):
    only = setup.url.replace(f",127.0.0.1:{setup.sentinels[1].port},127.0.0.1:{setup.sentinels[2].port}", "")
    async with node_at(only, "app", probe_seconds=0.2) as node:
        await node.engine.watch("group")
        setup.sentinels[0].stop()
        await node.publish(1)
        await trio.to_thread.run_sync(setup.sentinels[0].start)
        setup.sentinels[0].stop()
        with setup.talk(setup.sentinels[1]) as ask:  # the named one is gone: another one tells
            ask("SENTINEL", "FAILOVER", "main")
        old = setup.servers[0]
        await until(lambda: node.engine.client.server.run_id != _run_id(old))
        for sentinel in setup.sentinels[1:]:
            sentinel.stop()
        await node.publish(2)
        assert node.engine.state is EngineState.UP
        await until(lambda: node.got == [1, 2])


def _run_id(server) -> str:
    with server.talk() as ask:
        info = ask("INFO", "server").decode()
    return next(line for line in info.splitlines() if line.startswith("run_id:")).removeprefix("run_id:")


async def test_a_promotion_that_lost_nothing_is_no_gap(setup):
    async with node_at(setup.url, "app") as one, node_at(setup.url, "app") as other:
        for node in (one, other):
            await node.engine.watch("group")
        first = await one.publish(1)
        with setup.servers[0].talk() as ask:
            assert ask("WAIT", 1, 5000) == 1
        await trio.to_thread.run_sync(setup.plan_failover)
        second = await _publish(one, 2)
        await until(lambda: one.got == other.got == [1, 2])
        assert first.epoch != second.epoch
        assert (one.gaps, other.gaps) == ([], [])
        page = await other.engine.history("group", first)
        assert ([message.payload for message in page.messages], page.complete) == ([2], True)


async def _publish(node: Node, payload: object):
    while True:
        try:
            return await node.publish(payload, key=f"{payload}")
        except EngineError:
            await trio.sleep(0.05)


@pytest.mark.parametrize("binary", SERVERS)
@pytest.mark.parametrize("how", ["kill_primary", "lose_tail", "plan_failover"])
async def test_nothing_is_lost_in_silence_doubled_or_out_of_order(binary, how):
    if binary is None:
        pytest.skip(MISSING)
    with SentinelSetup(BINARIES[binary]) as setup:

        async def happen(nodes: list) -> None:
            await trio.sleep(0.3)
            await trio.to_thread.run_sync(getattr(setup, how))

        result = await run_schedule(SentinelFaults(setup, "schedule"), 600, happen)
    assert (result.silent, result.doubled, result.misordered) == (0, 0, 0), str(result)
    assert result.sent == 4800
