"""What the tests of the commands share."""

import os
from collections.abc import Generator

import pytest


@pytest.fixture(autouse=True)
def environment() -> Generator[None]:
    """The environment, in which --set leaves variables, as it was."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
