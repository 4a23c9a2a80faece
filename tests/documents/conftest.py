"""Counts which of the documents' pieces of code were run by tests that passed."""

from collections.abc import Generator

import pytest

from tests.documents.catalogue import PLACES

covered = pytest.StashKey[set[str]]()
failed = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "covers(*places): the places in the documents whose code this test runs")
    config.stash[covered] = set()
    config.stash[failed] = set()


def places_of(item: pytest.Item) -> set[str]:
    return {place for mark in item.iter_markers("covers") for place in mark.args}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        key = covered if report.passed else failed
        item.config.stash[key].update(places_of(item))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    passing, failing = config.stash[covered], config.stash[failed]
    if count := len(passing - failing):
        terminalreporter.write_line(f"documents: {count} of {len(PLACES)} snippets covered")
