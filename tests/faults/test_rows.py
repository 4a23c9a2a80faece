"""A few rows of `make faults`, short: nodes, clients and the server are processes."""

import pytest

from tests.engines.redis.server import BINARIES, MISSING, SERVERS
from tests.faults.rows import ROWS

SHORT = ("restart, all kept: AOF, kill -9", "restart, tail lost: RDB, kill -9")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
async def test_nothing_is_lost_in_silence_doubled_or_out_of_order(name):
    if SERVERS == [None]:
        pytest.skip(MISSING)
    [row] = [row for row in ROWS if row.name == name]
    result, _, happened = await row.run(next(iter(BINARIES.values())), 400, least=2)
    assert (row.problems(result), happened >= 2, result.sent >= 300) == ([], True, True), str(result)
