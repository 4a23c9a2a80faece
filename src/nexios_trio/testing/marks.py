"""The pytest mark `cancel_everywhere`: a test that is run once, and then once for each of its steps.

The test is an async function, which is cancelled as a whole; or an async generator function that yields the operation
and asserts what must hold afterwards, cancelled or not. What it takes from fixtures must not be async.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest

from .cancel import cancel_everywhere

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
        for seed in seeds:
            report = cancel_everywhere(partial(test, **arguments), seed=seed, name=item.name, **options)
            item.user_properties.append((NAME, report.runs))

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    marked = [report for report in _calls(terminalreporter) if NAME in report.keywords]
    if marked:
        properties: list[tuple[str, Any]] = [each for report in marked for each in report.user_properties]
        steps = sum(count for name, count in properties if name == NAME)
        failed = len([report for report in marked if report.outcome == "failed"])
        outcome = f"{failed} of them not clean" if failed else "all clean"
        terminalreporter.write_line(f"cancel everywhere: {steps} steps of {len(marked)} scenarios, {outcome}")


def _calls(terminalreporter: Any) -> list[pytest.TestReport]:
    reports = [each for key in ("passed", "failed") for each in terminalreporter.getreports(key)]
    return [each for each in reports if each.when == "call"]
