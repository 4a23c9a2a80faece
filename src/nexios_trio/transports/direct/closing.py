"""Ending: the goodbye goes out behind what is queued; then the peer has its turn, and the socket is closed."""

import socket
from collections.abc import Callable

from trio.lowlevel import checkpoint

from ...asgi_types import Headers, Scope
from ...config.settings import Settings
from ...core.lifecycle import End, Occurrence
from ...protocol.frames import close_frame
from ..epoll import PEER_LEFT, READ, Poller
from .states import State, Step
from .writer import Writer

Refusal = Callable[[int, Headers, bytes], bytes]


class ClosingWriter(Writer):
    """The way out, and its end."""

    __slots__ = ("_refuse",)

    def __init__(
        self,
        scope: Scope,
        settings: Settings,
        sock: socket.socket,
        poller: Poller,
        *,
        deflate: bool,
        refuse: Refusal | None,
    ) -> None:
        super().__init__(scope, settings, sock, poller, deflate=deflate)
        self._refuse = refuse

    async def close(self, end: End) -> None:
        if self.close_nowait(end):
            await self._until_flushed()  # bounded by the deadline of whoever does not read
        else:
            await checkpoint()

    def close_nowait(self, end: End) -> bool:
        if not self._ended(Occurrence.LOCAL_CLOSE, end):
            return False
        self._queue_goodbye(self._goodbye_for(end))
        return True

    def evict(self, end: End) -> None:
        self._ended(Occurrence.LOCAL_CLOSE, end)
        self.inbox.discard()
        if self._outbox is not None:
            self._outbox.discard()
        self._queue_goodbye(self._goodbye_for(end))

    def _goodbye_for(self, end: End) -> bytes:
        if not self.state.is_http or self._refuse is None:
            told = self.lifecycle.translated(end)
            return close_frame(told.code, told.reason)
        if self._outbox is not None:
            self._outbox.discard()  # a peer without a handshake cannot get messages
        return self._refuse(end.cause.http_status, (), b"")

    def _queue_goodbye(self, goodbye: bytes, step: Step = Step.GOODBYE) -> None:
        """Send the one goodbye behind what is queued. Nothing is accepted after it; a second one is not sent."""
        if self._outbox is not None:
            self._outbox.close()
        if self.state not in (State.CONNECTING, State.CLEAR, State.BACKLOG):
            return
        self._move(step)
        self._goodbye = goodbye
        if self._is_bounded and self._deadline is not None:  # silence was allowed until now
            self._deadline = self._reading_deadline(self.settings.write_timeout)
            self._set_timer()
        if self._unsent is None:
            self._drain()

    def _goodbye_written(self) -> None:
        if self.state is State.ANSWERING:
            self._let_go(reset=False)
            return
        self._move(Step.DRAINED)
        if self.state is State.HALF_CLOSED:  # there will be no close frame that we understand
            self._shut_down_writing()
        self._watch(READ | PEER_LEFT)  # for the peer's close frame, or until it hangs up
