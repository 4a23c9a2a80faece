"""Standing between a connection and its transport, for middleware that wants to see or change what passes.

What is not overridden goes to the transport behind, untouched; a connection without such middleware pays nothing. What
groups send goes past it: it is framed once for all members.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from ..core.lifecycle import End, Phase
from ..core.message import Frame
from ..transports.base import Headers, Transport
from .websocket import WebSocket, not_accepted

__all__ = ["Interposed", "through"]


class Interposed:
    """A transport in front of another. Override what is of interest, and go on with `inner`."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.inbox = _Inbox(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def accept(self, subprotocol: str | None, headers: Headers) -> "Interposed":
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


class _Inbox:
    """As the inbox behind, but messages come by `Interposed.receive`."""

    def __init__(self, owner: Interposed) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._owner.inner.inbox, name)

    def __len__(self) -> int:
        return len(self._owner.inner.inbox)

    async def get(self) -> str | bytes | End:
        return await self._owner.receive()


@contextmanager
def through(websocket: WebSocket, interpose: Callable[[Transport], Interposed]) -> Generator[None]:
    """Let what is sent and received inside the block pass through what `interpose` puts in front of the transport."""
    session = websocket._session
    interposed = interpose(session.transport)
    _use(websocket, cast(Transport, interposed))
    try:
        yield
    finally:
        _use(websocket, interposed.inner)


def _use(websocket: WebSocket, transport: Transport) -> None:
    websocket._session.transport = transport
    is_connecting = transport.lifecycle.phase is Phase.CONNECTING
    websocket._get = partial(not_accepted, websocket._session) if is_connecting else transport.inbox.get
