"""Counts which of the documents' pieces of code were run by tests that passed.

What a test covers travels in its report, so that it arrives from other processes too; `tests/conftest.py` adds it up,
since a run that is divided among processes reads no other conftest in the one that prints.
"""

import pytest

from tests.documents.catalogue import COVERED


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    places = {place for mark in item.iter_markers("covers") for place in mark.args}
    item.user_properties.extend((COVERED, place) for place in sorted(places))
