"""The pytest mark `cancel_everywhere`: a test that is run once, and then once for each of its steps.

The test is an async function, which is cancelled as a whole; or an async generator function that yields the operation
and asserts what must hold afterwards, cancelled or not. What it takes from fixtures must not be async.

Outside of the package, and without importing it before a marked test runs: as a plugin it is there in every pytest run.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest

__all__: list[str] = []

NAME = "cancel_everywhere"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{NAME}(seeds=(0,), timeout=60.0, max_runs=2000): run the test once, and then once for each of its steps,"
        " cancelled there; for each seed of trio's order of tasks",
    )


@pytest.hookimpl(tryfirst=True)  # before anybody takes the test for one to be run as it is
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        mark = item.get_closest_marker(NAME)
        if mark is not None and isinstance(item, pytest.Function):
            item.obj = _at_every_step(item, item.obj, **mark.kwargs)


def _at_every_step(item: pytest.Function, test: Any, *, seeds: Iterable[int] = (0,), **options: Any) -> Any:
    def run(**arguments: Any) -> None:
        from nexios_trio.testing import cancel_everywhere

        item.user_properties.append((NAME, 0))
        for seed in seeds:
            report = cancel_everywhere(partial(test, **arguments), seed=seed, name=item.name, **options)
            item.user_properties.append((NAME, report.runs))

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for key in ("passed", "failed") for report in terminalreporter.getreports(key)]
    steps = {report.nodeid: found for report in reports if (found := _steps(report)) is not None}
    failed = [report for report in reports if report.nodeid in steps and report.outcome == "failed"]
    if steps:
        outcome = f"{len(failed)} of them not clean" if failed else "all clean"
        terminalreporter.write_line(
            f"cancel everywhere: {sum(steps.values())} steps of {len(steps)} scenarios, {outcome}"
        )


def _steps(report: pytest.TestReport) -> int | None:
    """Return how often the test was cancelled; None for one that is not marked."""
    found: list[Any] = [count for name, count in report.user_properties if name == NAME]
    return sum(found) if found else None
