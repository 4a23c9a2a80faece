"""An engine whose groups are divided among the servers of a Cluster: on real ones, with slots that move."""

from collections.abc import Iterator

import pytest
import trio

from nexios_trio.core.message import Message
from nexios_trio.engines.base import EngineState
from nexios_trio.engines.redis.connect import ServerMisconfigured
from nexios_trio.engines.redis.engine import RedisEngine
from nexios_trio.engines.redis.keys import PARTS, RedisKeys, slot_of
from nexios_trio.engines.redis.rights import CLUSTER_COMMANDS
from nexios_trio.exceptions import EngineError
from nexios_trio.testing.contracts import check_engine
from tests.engines.redis.cluster_setup import ClusterFaults, ClusterSetup, ask, slots_of
from tests.engines.redis.schedules import GROUPS, run_schedule
from tests.engines.redis.server import BINARIES, MISSING, SERVERS, RedisProcess, free_port
from tests.engines.redis.test_engine import KEPT, node_at, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=SERVERS)
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterSetup]:
    if request.param is None:
        pytest.skip(MISSING)
    with ClusterSetup(BINARIES[request.param]) as setup:
        yield setup


async def start(url: str) -> None:
    engine = RedisEngine(url)
    engine.name, engine.deadline = "test-cluster", 3.0
    async with engine.run():
        pass


async def test_it_keeps_the_contract(cluster):
    def make() -> RedisEngine:
        engine = RedisEngine(cluster.url)
        engine.name = "test-contract"
        return engine

    await check_engine(make)


async def test_what_is_no_cluster_and_what_is_one_are_told_apart(cluster):
    with pytest.raises(ServerMisconfigured, match=r"is in a Cluster: name it as redis\+cluster://"):
        await start(cluster.servers[0].url)
    with pytest.raises(EngineError, match=r"nobody of redis\+cluster://.* tells who has which slots: .*refused"):
        await start(f"redis+cluster://127.0.0.1:{free_port()}")
    with RedisProcess(next(iter(BINARIES.values())), has_port=True) as alone:
        with pytest.raises(ServerMisconfigured, match="is in no Cluster: name it as redis://"):
            await start(f"redis+cluster://127.0.0.1:{alone.port}")


async def test_groups_are_on_all_servers_and_listed_and_flushed(cluster):
    groups = [f"group-{number}" for number in range(60)]
    async with node_at(cluster.url, "test-spread") as node, node_at(cluster.url, "test-spread") as other:
        for group in groups:
            await node.engine.watch(group)
        for group in groups:
            await other.engine.publish(group, Message(group, 0.0), keep=KEPT, key="1")
        await until(lambda: sorted(node.got) == sorted(groups))
        assert all(ask(server, "DBSIZE") > 0 for server in cluster.servers)
        assert sorted(await other.engine.groups_with_history()) == sorted(groups)
        await node.engine.flush_history(groups[0])
        assert sorted(await other.engine.groups_with_history()) == sorted(groups[1:])
        await node.engine.flush_history()
        assert await other.engine.groups_with_history() == []


async def test_a_slot_moves_and_its_groups_with_it(cluster):
    (slot,) = slots_of("test-move", ("group",))
    async with node_at(cluster.url, "test-move") as one, node_at(cluster.url, "test-move") as other:
        for node in (one, other):
            await node.engine.watch("group")
        first = await one.publish(1)
        target = next(server for server in cluster.servers if server is not cluster.owner(slot))
        await trio.to_thread.run_sync(cluster.move, slot, target)
        second = await one.publish(2)
        await until(lambda: one.got == other.got == [1, 2])
        assert first.epoch != second.epoch
        assert (one.gaps, other.gaps) == ([], [])
        page = await other.engine.history("group", first)
        assert ([message.payload for message in page.messages], page.complete) == ([2], True)
        assert one.engine.state is EngineState.UP


async def test_what_is_sent_while_a_slot_moves_waits_and_keeps_its_order(cluster):
    name = "test-waits"
    (slot,) = slots_of(name, ("group",))
    async with node_at(cluster.url, name) as one, node_at(cluster.url, name) as other:
        for node in (one, other):
            await node.engine.watch("group")
        await one.publish(0)
        target = next(server for server in cluster.servers if server is not cluster.owner(slot))
        source = cluster.begin_move(slot, target)
        receipts = [one.engine.post("group", Message(number, 0.0), keep=KEPT) for number in (1, 2)]
        await until(lambda: slot in one.engine.client._held)
        cluster.move_keys(slot, source, target)
        receipts += [one.engine.post("group", Message(number, 0.0), keep=KEPT, key=f"{number}") for number in (3, 4)]
        assert not any(receipt.is_settled for receipt in receipts)
        cluster.end_move(slot, source, target)
        assert [(await receipt).offset for receipt in receipts] == [2, 3, 4, 5]
        await until(lambda: one.got == other.got == [0, 1, 2, 3, 4])
        assert (one.gaps, other.gaps) == ([], [])


async def test_nodes_ask_each_other_wherever_they_are_linked(cluster):
    async with node_at(cluster.url, "test-ask") as one, node_at(cluster.url, "test-ask") as other:
        other.engine.attach(lambda group, message: None, answer=lambda request: b"heard " + request)
        assert await one.engine.ask(b"who") == [b"heard who"]
        (slot,) = {slot_of(RedisKeys("nx:test-ask", PARTS).everybody)}
        target = next(server for server in cluster.servers if server is not cluster.owner(slot))
        await trio.to_thread.run_sync(cluster.move, slot, target)
        await until_answered(one, [b"heard again"])


async def until_answered(node, answers) -> None:
    """A question may come before the others listen at the new server."""
    with trio.fail_after(20):
        while await _answers(node) != answers:
            await trio.sleep(0.02)


async def _answers(node) -> list[bytes]:
    try:
        return await node.engine.ask(b"again")
    except EngineError:
        return []


async def test_a_missing_right_is_named_and_what_suffices_suffices(cluster):
    for server in cluster.servers:
        ask(server, "ACL", "SETUSER", "ann", "on", ">right", "~nx:*", "&nx:*", "-@all", *CLUSTER_COMMANDS.split())
    url = cluster.url.replace("://", "://ann:right@")
    await start(url)
    async with node_at(url, "test-rights") as node:
        await node.engine.watch("group")
        await node.publish(1, key="key")
        assert await node.engine.ask(b"who") == []
        await node.engine.flush_history()
    with pytest.raises(ServerMisconfigured, match="does not accept the password for user 'ann'"):
        await start(url.replace(":right", ":wrong"))
    ask(cluster.servers[2], "ACL", "SETUSER", "ann", "-spublish")
    with pytest.raises(ServerMisconfigured, match=r"refuses what groups need: .*What suffices is ~nx:.*spublish"):
        await start(url)


@pytest.mark.parametrize("binary", SERVERS)
@pytest.mark.parametrize(
    "how", ["move", "move_at_once", "kill_primary", "lose_tail", "plan_failover", "restart_primary"]
)
async def test_nothing_is_lost_in_silence_doubled_or_out_of_order(binary, how):
    if binary is None:
        pytest.skip(MISSING)
    if (binary, how) == ("redis", "move_at_once"):
        pytest.skip("Valkey only")
    slots = slots_of("schedule", GROUPS)
    with ClusterSetup(BINARIES[binary], with_replicas=how in ("kill_primary", "lose_tail", "plan_failover")) as setup:
        times = 0

        async def happen(nodes: list) -> None:
            nonlocal times
            await trio.sleep(0.2)
            slot = slots[times % len(slots)]
            if how.startswith("move"):
                servers = [server for server in setup.servers if server is not setup.owner(slot)]
                await trio.to_thread.run_sync(getattr(setup, how), slot, servers[times % len(servers)])
            else:
                await trio.to_thread.run_sync(getattr(setup, how), slot)
            times += 1

        result = await run_schedule(ClusterFaults(setup, "schedule"), 600, happen)
    assert (result.silent, result.doubled, result.misordered) == (0, 0, 0), str(result)
    assert result.sent == 4800
    if how.startswith("move"):
        assert (result.announced, result.received) == (0, 9600), str(result)
