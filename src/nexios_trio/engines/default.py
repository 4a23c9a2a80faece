"""Which engine a box has: one that its application names as a URL, or the environment, or the process."""

import os
from collections.abc import Callable
from typing import Final

from .base import Engine

__all__ = ["ENGINE_VARIABLE", "make_engine", "make_engines_with", "make_shared_engine"]

ENGINE_VARIABLE: Final = "NEXIOS_ENGINE"

_make: list[Callable[[], Engine]] = []


def make_engine(url: str) -> Engine:
    """Return the engine of a server that shares groups between machines: Redis or Valkey.

    Raises: ValueError for another URL, ModuleNotFoundError where the extra is not installed.
    """
    from .redis.address import parse_redis_url

    address = parse_redis_url(url)
    try:
        from .redis.engine import RedisEngine
    except ModuleNotFoundError as error:
        if error.name != "hiredis":
            raise
        raise ModuleNotFoundError(f'an engine at {address} needs an extra: pip install "nexios-trio[redis]"') from None
    return RedisEngine(address)


def make_engines_with(make: Callable[[], Engine]) -> None:
    """Let every application that is made from here on have such an engine, unless its box was given another.

    Called in a process that is one of several, before it imports the application.
    """
    _make[:] = [make]


def make_shared_engine() -> Engine | None:
    """Return an engine that reaches the other processes of this application; None where it is alone.

    Raises: as `make_engine` does, for the URL in the environment.
    """
    url = os.environ.get(ENGINE_VARIABLE)
    if url:
        return make_engine(url)
    return _make[0]() if _make else None
