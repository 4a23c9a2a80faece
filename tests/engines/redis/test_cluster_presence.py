"""Who is present on several nodes that share a Cluster, all of which is in one slot."""

from collections.abc import Iterator

import pytest
import trio

from nexios_trio.engines.redis.keys import PARTS, RedisKeys, slot_of
from tests.engines.redis.cluster_setup import ClusterSetup
from tests.engines.redis.server import BINARIES, MISSING, SERVERS
from tests.engines.redis.test_presence import Watcher, member, serving, until, users

pytestmark = pytest.mark.slow


@pytest.fixture(params=SERVERS)
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterSetup]:
    if request.param is None:
        pytest.skip(MISSING)
    with ClusterSetup(BINARIES[request.param], with_replicas=True) as setup:
        yield setup


@pytest.mark.parametrize("how", ["move", "plan_failover", "kill_primary"])
async def test_nobody_leaves_where_presence_goes_to_another_server(cluster, how):
    watcher, slot = Watcher(), slot_of(RedisKeys("nx:present", PARTS).presence[0])
    async with serving(cluster, "present") as one, serving(cluster, "present") as two, trio.open_nursery() as nursery:
        await nursery.start(watcher.watch, two)
        async with member(one, "ann"), member(two, "bob"):
            await until(lambda: len(watcher.told) == 2)
            old = cluster.owner(slot)
            target = () if how != "move" else (next(each for each in cluster.servers[:3] if each is not old),)
            await trio.to_thread.run_sync(getattr(cluster, how), slot, *target)
            async with member(one, "eve"):
                await until(lambda: len(watcher.told) == 3)
                assert watcher.told[2:] == [("joined", "eve")]
                assert sorted(await users(one)) == sorted(await users(two)) == ["ann", "bob", "eve"]
            await until(lambda: len(watcher.told) == 4)
        assert sorted(watcher.told[:2]) == [("joined", "ann"), ("joined", "bob")]
        assert watcher.told[3] == ("left", "eve")
        nursery.cancel_scope.cancel()
