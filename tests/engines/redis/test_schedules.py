"""What two nodes are given while something happens again and again: the short set of `schedules`."""

import pytest

from tests.engines.redis.faults import RedisFaults
from tests.engines.redis.schedules import ANNOUNCING, SCHEDULES, run_schedule
from tests.engines.redis.server import BINARIES, MISSING, SERVERS, RedisProcess


@pytest.mark.slow
@pytest.mark.parametrize("binary", SERVERS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=[name for name, _, _ in SCHEDULES])
async def test_nothing_is_lost_in_silence_doubled_or_out_of_order(binary, schedule):
    if binary is None:
        pytest.skip(MISSING)
    name, options, make = schedule
    with RedisProcess(BINARIES[binary], *options) as server:
        faults = RedisFaults(server, "schedule", deadline=5.0)
        result = await run_schedule(faults, 150, make(server, faults))
    assert (result.silent, result.doubled, result.misordered) == (0, 0, 0), str(result)
    assert result.sent == 1200
    if name not in ANNOUNCING:
        assert (result.announced, result.received) == (0, 2 * result.sent), str(result)
