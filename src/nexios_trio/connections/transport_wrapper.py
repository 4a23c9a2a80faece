"""A transport in front of a connection's transport, for middleware that wants to see or change what passes.

What is not overridden goes to the transport behind, untouched; a connection without such middleware pays nothing. What
groups send goes past it: it is framed once for all members.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from ..asgi_types import Headers
from ..core.lifecycle import End
from ..core.message import Frame
from ..transports.base import Transport
from .websocket import WebSocket

__all__ = ["TransportWrapper", "wrapped_transport"]


class TransportWrapper:
    """A transport around another. Override what is of interest, and go on with `inner`.

    Checkpoints, cancellation and errors are those of `Transport`, which what is overridden has to keep.
    """

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def inbox(self) -> "_WrappedInbox":
        return _WrappedInbox(self)  # made when asked for: kept, it would be a cycle that only a collection frees

    async def accept(self, subprotocol: str | None, headers: Headers) -> "TransportWrapper":
        on_end = self.inner.on_end
        self.inner = await self.inner.accept(subprotocol, headers)
        self.inner.on_end = on_end  # accepting may have brought another transport
        return self

    async def deny(self, status: int, headers: Headers, body: bytes, reason: str = "") -> None:
        await self.inner.deny(status, headers, body, reason)

    async def receive(self) -> str | bytes | End:
        return await self.inner.inbox.get()

    async def send(self, frame: Frame) -> None:
        await self.inner.send(frame)

    async def close(self, end: End) -> None:
        await self.inner.close(end)


class _WrappedInbox:
    """The inbox behind, but messages come by `TransportWrapper.receive`."""

    def __init__(self, wrapper: TransportWrapper) -> None:
        self._wrapper = wrapper

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapper.inner.inbox, name)

    def __len__(self) -> int:
        return len(self._wrapper.inner.inbox)

    async def get(self) -> str | bytes | End:
        return await self._wrapper.receive()


@contextmanager
def wrapped_transport(websocket: WebSocket, wrap: Callable[[Transport], TransportWrapper]) -> Generator[None]:
    """Send and receive, inside the block, through what `wrap` puts around the transport."""
    session = websocket._session
    wrapper = wrap(session.transport)
    session.use(cast(Transport, wrapper))
    try:
        yield
    finally:
        session.use(wrapper.inner)
