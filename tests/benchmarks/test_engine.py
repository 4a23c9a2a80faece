"""What the engine of a Redis server costs is measured, and shown beside what it is compared with."""

import pytest

from benchmarks import engine
from benchmarks.machine import Missing
from benchmarks.nodes import redis_binary

NAMES = ("PUBLISH", "the script", "post", "post, watched here", "PING", "the script, p50", "to another node")


def test_each_row_has_its_ratio():
    shown = engine.table({name: float(number) for number, name in enumerate(NAMES, 1)}).splitlines()
    assert [row.split("|")[-2].strip() for row in shown[2:]] == [
        *("1.00 of PUBLISH", "2.00 of PUBLISH", "1.50 of the script", "2.00 of the script"),
        *("1.00 of PING", "1.20 of PING", "1.40 of PING"),
    ]


@pytest.mark.slow
def test_everything_is_measured(monkeypatch):
    try:
        redis_binary()
    except Missing as error:
        pytest.skip(str(error))
    monkeypatch.setattr(engine, "COUNT", 50)
    monkeypatch.setattr(engine, "TRIPS", 10)
    found = engine.measured(1)
    assert tuple(sorted(found)) == tuple(sorted(NAMES))
    assert all(value > 0 for value in found.values())
