"""One write: what the kernel takes, what it does not, and how long the peer may take to make room.

Where an overflow policy has to see what waits (`conflate`, `max_lag`), the kernel may hold little: of the megabytes
that it would take for a peer that has stopped reading nothing can be replaced any more.
"""

import socket
from abc import abstractmethod
from math import inf
from typing import Any

import trio

from ...asgi_types import Scope
from ...config.settings import Settings
from ...core.message import DEFLATED
from ...pubsub.group import Membership
from ...pubsub.writing import WriteNow
from ..epoll import WRITE, Poller
from ..progress import SEND_BUFFER_BYTES, ReadingDeadline, bound_send_buffer, unacknowledged_bytes, unsent_bytes
from .socket import DirectSocket
from .states import State, Step

_CLEAR = State.CLEAR


class KernelWriter(DirectSocket):
    """The socket, written to."""

    __slots__ = ("_deadline", "_deflate", "_handed", "_is_bounded", "_kernel_limit", "_memberships", "_unsent")

    def __init__(self, scope: Scope, settings: Settings, sock: socket.socket, poller: Poller, *, deflate: bool) -> None:
        super().__init__(scope, settings, sock, poller)
        self._deflate = deflate
        self._memberships: tuple[Membership[Any], ...] = ()
        self._unsent: memoryview | None = None
        self._deadline: ReadingDeadline | None = None  # while something waits for the kernel
        self._handed = 0  # bytes that the kernel got of what had waited
        self._is_bounded = False  # the kernel may hold little, so that what waits does so where the policy sees it
        self._kernel_limit = 0  # unsent bytes of the kernel's above which we hold back; 0 for none

    @abstractmethod
    def _set_timer(self) -> None:
        """A deadline has changed."""

    @abstractmethod
    def _lost(self, data: bytes = b"") -> None:
        """End: the peer is gone. `data`: what could not be written to it."""

    # The write seam: while this socket is CLEAR, each of its memberships holds `socket.send`, a C function, as
    # `Membership.write_now`. It comes from here and nowhere else: when a group is joined (`attach`), and with each move
    # into CLEAR or out of it (`DirectSocket._move`). Broadcasts call it (`groups/broadcast.py`, `_write_cohort`)
    # without coming through here.

    def _plant_write_now(self) -> None:
        if self._memberships:
            write = self._write_when_clear if self.state is _CLEAR else None
            for membership in self._memberships:
                membership.set_write_now(write)

    @property
    def _write_when_clear(self) -> WriteNow | None:
        """None where the kernel may hold little: `send` does not look whether it holds too much."""
        return None if self._is_bounded else self._sock_send

    def attach(self, membership: Membership[Any]) -> WriteNow | None:
        if self._deflate:
            membership.frame_index += DEFLATED
        self._memberships = (*self._memberships, membership)
        return self._write_when_clear if self.state is _CLEAR else None

    def bound_kernel(self) -> None:
        """Let the kernel hold no more than `send_buffer` unsent bytes from here on, a few KiB if nothing is set."""
        if not self._is_bounded and self.state is not State.GONE:
            self._is_bounded = True
            size = self.settings.send_buffer or SEND_BUFFER_BYTES
            self._kernel_limit = size if bound_send_buffer(self._sock, size) else 0
            self._plant_write_now()

    def _hold_back(self) -> bool:
        """Wait for the kernel, if it holds as much as it may."""
        if not self._kernel_limit or unsent_bytes(self._sock) < self._kernel_limit:
            return False
        self._wait_for_kernel()
        return True

    def _wait_for_kernel(self) -> None:
        self._move(Step.BLOCKED)
        if self._deadline is None:
            self._deadline = self._reading_deadline(self._patience)
            self._set_timer()
        self._watch(self.interest | WRITE)

    def detach(self, membership: Membership[Any]) -> None:
        self.counts.meant += membership._cursor - membership.first  # a straggler's own
        self._memberships = tuple(other for other in self._memberships if other is not membership)

    def _write(self, data: bytes) -> None:
        """One non-blocking send of a whole frame; what the kernel does not take is kept."""
        try:
            sent = self._sock_send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost(data)
            return
        if sent != len(data):
            self._keep(memoryview(data)[sent:])
        elif self._kernel_limit:
            self._hold_back()

    def _keep(self, rest: memoryview) -> None:
        self._unsent = rest
        self._wait_for_kernel()

    @property
    def _patience(self) -> float:
        """Seconds: where we bound the kernel, that it is full says little, and the peer may be as silent as any."""
        settings = self.settings
        may_be_silent = settings.ping_timeout if self._is_bounded and settings.ping_timeout < inf else 0.0
        return max(settings.write_timeout, may_be_silent)

    def _reading_deadline(self, patience: float) -> ReadingDeadline:
        return ReadingDeadline(patience, self.settings.min_read_rate, self._taken(), trio.current_time())

    def _taken(self) -> int:
        """Count the bytes that the peer has taken, from anywhere: only differences mean something."""
        return self._handed - unacknowledged_bytes(self._sock)

    @property
    def _unsent_bytes(self) -> int:
        return 0 if self._unsent is None else len(self._unsent)
