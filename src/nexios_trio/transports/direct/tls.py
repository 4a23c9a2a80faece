"""The direct transport over TLS: where a socket that encrypts differs from one that does not."""

import socket
from typing import Any

from ...core.message import Batch
from ...pubsub.group import Membership
from ..epoll import READ, WRITE
from ..progress import acknowledged_bytes
from ..tls_socket import TlsSocket
from .states import State
from .transport import DirectTransport


class TlsTransport(DirectTransport):
    """One peer on a `TlsSocket` whose handshake is over."""

    __slots__ = ()

    _sock: TlsSocket
    pings_bytes = 256  # a record for each

    def ready(self, events: int) -> None:
        sock = self._sock
        if sock.wants_write and events & WRITE:
            sock.wants_write = False
            if self._unsent is None:
                self._watch(self.interest & ~WRITE)
                events &= ~WRITE
            self._resume_reading()
            if self.interest & READ:
                self._read()
        super().ready(events)

    def _read(self) -> None:
        super()._read()
        sock = self._sock
        if sock.wants_write:
            self._watch(self.interest & ~READ | WRITE)
        elif self.interest & READ and self.state is not State.GONE and sock.pending():
            self._poller.call_again(sock, READ)

    def _resume_reading(self) -> None:
        super()._resume_reading()
        if self.interest & READ and self.state is not State.GONE and self._sock.pending():
            self._poller.call_again(self._sock, READ)

    def _keep_rest_of_batch(self, membership: Membership[Any], batch: Batch, sent: int) -> None:
        """Keep what an encrypted record has of a batch, to the end of a frame; the other frames by the policy."""
        frames = batch.frames(membership.frame_index)
        until = sent + self._sock.committed
        end = kept = 0
        while end < until:
            end += len(frames[kept].wire)
            kept += 1
        self._keep(memoryview(batch.wire(membership.frame_index))[sent:end])
        if kept < len(frames):
            self.offer_batch(membership, Batch(batch.messages[kept:]))

    def _taken(self) -> int:
        """Count in bytes of TLS: the kernel may have a part of a record, which counts as handed when it has all."""
        if self._sock.family == socket.AF_UNIX:
            return super()._taken()
        return acknowledged_bytes(self._sock)

    def _let_go(self, *, reset: bool) -> None:
        if not reset and self.state is not State.GONE:
            self._sock.end_tls()
            self._discard_received()  # the peer's close_notify may be there already
        super()._let_go(reset=reset)
