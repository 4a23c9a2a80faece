"""What every test relies on: Hypothesis without chance and without a clock."""

import logging
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from nexios_trio.logs import LOGGERS, Guard
from tests.documents.catalogue import COVERED, PLACES

pytest_plugins = ["pytester"]

MAX_WORKERS = 8  # of a divided run: each starts servers of its own

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
    ours, root = logging.getLogger("nexios_trio"), logging.getLogger()
    level, root_level, handlers, last_resort = ours.level, root.level, list(ours.handlers), logging.lastResort
    yield
    ours.setLevel(level)
    root.setLevel(root_level)
    ours.handlers[:] = handlers
    logging.lastResort = last_resort


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{COVERED}(*places): the places in the documents whose code this test runs")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` starts: one more than there are processors, because many tests wait."""
    return min(len(os.sched_getaffinity(0)) + 1, MAX_WORKERS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let a divided run begin with what takes long, so that no process ends with it while the others have nothing."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how much of the documents' code was run: a place counts when every test of it has passed."""
    passing, failing = (
        {
            place
            for report in terminalreporter.getreports(outcome)
            for name, place in report.user_properties
            if name == COVERED
        }
        for outcome in ("passed", "failed")
    )
    if count := len(passing - failing):
        terminalreporter.write_line(f"documents: {count} of {len(PLACES)} snippets covered")
