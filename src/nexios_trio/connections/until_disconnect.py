"""`async for` over what is received, until the connection is over."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ..exceptions import WebSocketDisconnect

__all__ = ["UntilDisconnect"]

T = TypeVar("T")


class UntilDisconnect(Generic[T]):
    """`async for` over what a function receives, until the connection is over.

    Not an async generator: it may be left at any time, and an error in between (a bad message) does not end it.
    """

    __slots__ = ("_receive",)

    def __init__(self, receive: Callable[[], Awaitable[T]]) -> None:
        self._receive = receive

    def __aiter__(self) -> "UntilDisconnect[T]":
        return self

    async def __anext__(self) -> T:
        try:
            return await self._receive()
        except WebSocketDisconnect:
            raise StopAsyncIteration from None
