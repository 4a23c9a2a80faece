"""Time is the test's."""

import pytest
from trio.testing import MockClock

from tests.transports import support


@pytest.fixture
def clock():
    return MockClock()


@pytest.fixture(params=["plain", "tls"])
def plain_and_tls(request, monkeypatch):
    monkeypatch.setattr(support, "OVER_TLS", request.param == "tls")
