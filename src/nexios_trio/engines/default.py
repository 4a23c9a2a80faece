"""Which engine a box has: one that its application names as a URL, or the environment, or the process."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .base import Engine

if TYPE_CHECKING:
    from .redis.address import RedisAddress
    from .redis.engine import RedisEngine

__all__ = [
    "ENGINE_MISTAKES",
    "ENGINE_VARIABLE",
    "make_engine",
    "make_engines_with",
    "make_shared_engine",
]

ENGINE_VARIABLE: Final = "NEXIOS_ENGINE"


class InvalidEngine(ValueError):
    """A URL that names no engine."""


class MissingExtra(ModuleNotFoundError):
    """What the engine needs is not installed."""


ENGINE_MISTAKES: Final = (InvalidEngine, MissingExtra)  # whose text says all: commands show it without a traceback

_make: list[Callable[[], Engine]] = []


def make_engine(url: str) -> Engine:
    """Return the engine of a server that shares groups between machines: Redis or Valkey.

    Raises: ValueError for another URL, ModuleNotFoundError where the extra is not installed.
    """
    from .redis.address import parse_redis_url

    try:
        address = parse_redis_url(url)
        engine = _import_engine(address)
        return engine(address)
    except ValueError as error:
        raise InvalidEngine(str(error)) from None


def _import_engine(address: "RedisAddress") -> "type[RedisEngine]":
    try:
        from .redis.engine import RedisEngine
    except ModuleNotFoundError as error:
        if error.name != "hiredis":
            raise
        raise MissingExtra(f'an engine at {address} needs an extra: pip install "nexios-trio[redis]"') from None
    return RedisEngine


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
        try:
            return make_engine(url)
        except InvalidEngine as error:
            raise InvalidEngine(f"{ENGINE_VARIABLE}: {error}") from None
    return _make[0]() if _make else None
