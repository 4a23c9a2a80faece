"""Which request a task answers, for the log."""

from contextvars import ContextVar
from typing import Any, Final

__all__ = ["current_request"]

# The fields of records about it: a dict or None, in the task that called the application. Our connections know more.
current_request: Final[ContextVar[Any]] = ContextVar("nexios_trio.current_request", default=None)
