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
from ..exceptions import LifecycleError
from ..transports.base import Transport
from .message_calls import Admit
from .websocket import WebSocket

__all__ = ["TransportWrapper", "behind_wrappers", "wrapped_transport"]


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

    @property
    def can_admit(self) -> bool:
        """Tell whether it can stand around a synchronous handler: it does in `admit` what it does in `receive`."""
        cls = type(self)
        return cls.receive is TransportWrapper.receive or cls.admit is not TransportWrapper.admit

    def admit(self, item: str | bytes) -> bool:
        """Look at a message of a connection with a synchronous handler, which is called for it if this is true.

        The counterpart of `receive`. Must not block.
        """
        return True

    async def send(self, frame: Frame) -> None:
        await self.inner.send(frame)

    def write_nowait(self, payload: bytes, is_text: bool) -> bool:
        return False  # whether the connection is open, a wrapper may see in its own way

    async def close(self, end: End) -> None:
        await self.inner.close(end)


def behind_wrappers(transport: Any) -> tuple[Transport, tuple[Admit, ...]]:
    """Return the transport behind all wrappers, and what each of them has to say to its messages, innermost first.

    Raises: LifecycleError for a wrapper that can only wait for messages.
    """
    admits: tuple[Admit, ...] = ()
    while isinstance(transport, TransportWrapper):
        if not transport.can_admit:
            raise LifecycleError(
                "a middleware around this connection receives its messages itself, and that has to be awaited: make"
                " on_receive async, or leave the middleware out"
            )
        if type(transport).admit is not TransportWrapper.admit:
            admits = (transport.admit, *admits)
        transport = transport.inner
    return transport, admits


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
