"""What is said where an application, or its server, is run on asyncio by mistake."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from ..exceptions import LifecycleError

__all__ = ["NOT_ON_TRIO", "fail_startup", "is_on_trio", "require_trio"]

NOT_ON_TRIO: Final = (
    "this application runs on trio, not on asyncio: serve it with `nexios-trio run` or `hypercorn --worker-class trio`;"
    ' in tests, Starlette\'s TestClient takes backend="trio"'
)


def is_on_trio() -> bool:
    """Return whether a task of trio's calls."""
    return trio.lowlevel.in_trio_task()


def require_trio() -> None:
    """Raise LifecycleError, with the next step, unless a task of trio's calls."""
    if not is_on_trio():
        raise LifecycleError(NOT_ON_TRIO)


async def fail_startup(receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer the lifespan of a server on asyncio: one that is only raised at would go on without a lifespan.

    Raises: LifecycleError, in any case.
    """
    await receive()
    await send({"type": "lifespan.startup.failed", "message": NOT_ON_TRIO})
    raise LifecycleError(NOT_ON_TRIO)
