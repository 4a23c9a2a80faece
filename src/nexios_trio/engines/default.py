"""Which engine an application's box has where nobody has named one."""

from collections.abc import Callable

from .base import Engine

__all__ = ["make_engines_with", "make_shared_engine"]

_make: list[Callable[[], Engine]] = []


def make_engines_with(make: Callable[[], Engine]) -> None:
    """Let every application that is made from here on have such an engine, unless its box was given another.

    Called in a process that is one of several, before it imports the application.
    """
    _make[:] = [make]


def make_shared_engine() -> Engine | None:
    """Return an engine that reaches the other processes of this application; None where it is alone."""
    return _make[0]() if _make else None
