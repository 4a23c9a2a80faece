"""One rule of a contract: a sentence, and a block in which it must hold."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import outcome
import trio
import trio.testing

from ..errors import ContractBroken

__all__ = ["checkpointing", "hold", "rule", "until"]

T = TypeVar("T")

POLL_SECONDS = 0.005  # seconds


def hold(condition: object, sentence: str, seen: str) -> None:
    """Raises: ContractBroken when the condition is false."""
    if not condition:
        raise ContractBroken(sentence, seen)


@asynccontextmanager
async def rule(sentence: str, timeout: float) -> AsyncGenerator[None]:
    """Whatever goes wrong in the block breaks this rule, and so does taking longer than `timeout` seconds."""
    try:
        with trio.fail_after(timeout):
            yield
    except Exception as error:
        single = _unwrapped(error)
        if isinstance(single, ContractBroken):
            raise single from None
        if isinstance(single, trio.TooSlowError):
            raise ContractBroken(sentence, f"it had not come to that after {timeout:g} s") from None
        raise ContractBroken(sentence, f"{type(single).__name__}: {single}") from error


def _unwrapped(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def checkpointing(name: str, function: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
    """Call an async function, which must be a checkpoint."""
    results: list[outcome.Outcome[T]] = []
    try:
        with trio.testing.assert_checkpoints():
            results.append(await outcome.acapture(function, *args, **options))
    except AssertionError:
        if isinstance(results[0], outcome.Value):  # an error tells more
            sentence = "Every asynchronous call is a checkpoint."
            raise ContractBroken(sentence, f"{name} came back without one") from None
    return results[0].unwrap()


async def until(condition: Callable[[], Any], timeout: float) -> bool:
    """Wait for what others do. Returns whether it came."""
    with trio.move_on_after(timeout):
        while not condition():  # noqa: ASYNC110 - whoever does it knows nothing of us
            await trio.sleep(POLL_SECONDS)
    return bool(condition())
