"""Publishers that are closed when their test is over."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.publisher.support import API_KEY, Either, MakeEither


@pytest.fixture
def either() -> Iterator[MakeEither]:
    """Make a publisher of a kind, whose calls are awaited."""
    with ExitStack() as stack:

        def make(kind: type[Any], url: str, api_key: str = API_KEY, **options: Any) -> Either:
            return Either(stack.enter_context(kind(url, api_key=api_key, **options)))

        yield make
