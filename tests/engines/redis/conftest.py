from collections.abc import Iterator

import pytest

from tests.engines.redis.server import SERVERS, RedisProcess, running_server


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisProcess]:
    """A server that keeps what it was given: tests have names of their own."""
    with running_server(request) as server:
        yield server


@pytest.fixture(params=SERVERS)
def restartable(request: pytest.FixtureRequest) -> Iterator[RedisProcess]:
    """A server that keeps everything when it is started again, for one test."""
    with running_server(request, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server
