"""What every test relies on: Hypothesis without chance and without a clock."""

import logging
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from nexios_trio.logs import LOGGERS, Guard

pytest_plugins = ["pytester"]

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
# `HYPOTHESIS_PROFILE=explore` looks for new examples; it is never what CI runs.
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def separate_logs() -> Generator[None]:
    """No test's records count against another's, and what a test sets up for its logs is gone after it."""
    for name in LOGGERS:
        for guard in logging.getLogger(name).filters:
            if isinstance(guard, Guard):
                guard.reset()
    ours = logging.getLogger("nexios_trio")
    level, handlers = ours.level, list(ours.handlers)
    yield
    ours.setLevel(level)
    ours.handlers[:] = handlers
