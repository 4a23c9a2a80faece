"""Time is the test's."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def clock():
    return MockClock()
