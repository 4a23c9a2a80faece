"""What every test relies on: Hypothesis without chance and without a clock."""

import logging
import os

import pytest
from hypothesis import settings

from nexios_trio.logs import LOGGERS, Guard

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
# `HYPOTHESIS_PROFILE=explore` looks for new examples; it is never what CI runs.
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def unlimited_log() -> None:
    """No test's records count against another's."""
    for name in LOGGERS:
        for guard in logging.getLogger(name).filters:
            if isinstance(guard, Guard):
                guard.reset()
