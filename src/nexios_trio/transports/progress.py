"""Whether a peer reads: the kernel tells how much of what was written the peer's system has not acknowledged.

A peer has some seconds. Each byte that it takes buys it more, at the least rate that counts as reading, and never more
than it had at first:

    deadline = min(now + patience, deadline + taken / rate)

So who takes nothing for `patience` seconds is over the deadline, who trickles is soon, and who reads steadily never is.
"""

import fcntl
import socket
import struct
from typing import Final

__all__ = [
    "SEND_BUFFER_BYTES",
    "ReadingDeadline",
    "acknowledged_bytes",
    "bound_send_buffer",
    "unacknowledged_bytes",
    "unsent_bytes",
]

SIOCOUTQ: Final = 0x5411  # TIOCOUTQ is the same number
SIOCOUTQNSD: Final = 0x894B
LOOKS_PER_PATIENCE: Final = 4
SEND_BUFFER_BYTES: Final = 8192  # where nothing is set; enough to keep a peer that reads busy until we are told of it
# struct tcp_info: eight bytes, 24 numbers of four bytes, the two pacing rates; then tcpi_bytes_acked.
TCP_INFO_BYTES: Final = 128
BYTES_ACKED: Final = struct.Struct("=Q")
BYTES_ACKED_OFFSET: Final = 120
_COUNT: Final = struct.Struct("=i")


def unacknowledged_bytes(sock: socket.socket) -> int:
    """Bytes that were written and that the peer's system has not taken; 0 where that cannot be told.

    Of a Unix socket, what its reader has not taken, with the kernel's own overhead.
    """
    return _count(sock, SIOCOUTQ)


def unsent_bytes(sock: socket.socket) -> int:
    """Bytes that were written and that the kernel has not sent, since the peer's window is full; 0 if unknown."""
    return _count(sock, SIOCOUTQNSD)


def _count(sock: socket.socket, request: int) -> int:
    try:
        count: int = _COUNT.unpack(fcntl.ioctl(sock.fileno(), request, bytes(_COUNT.size)))[0]
    except (OSError, ValueError):
        return 0
    return count


def bound_send_buffer(sock: socket.socket, size: int) -> bool:
    """Have the kernel call `sock` writable only while it holds less than about `size` unsent bytes.

    What the peer's own system has taken and its program has not read cannot be bounded from here.

    Returns: whether `unsent_bytes` tells how much it holds. Of a Unix socket it does not; the kernel keeps the bound.
    """
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        return False
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)
    return True


def acknowledged_bytes(sock: socket.socket) -> int:
    """Bytes that the peer's system has ever taken. Of a socket that is no TCP, a number that changes when it does."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        count: int = BYTES_ACKED.unpack_from(info, BYTES_ACKED_OFFSET)[0]
    except (OSError, struct.error):
        return unacknowledged_bytes(sock)
    return count


class ReadingDeadline:
    """The time that one peer has, while something waits for it.

    Args:
        patience: seconds that it may take nothing.
        rate: bytes per second that it has to take at least.
        taken: bytes that it has taken already, counted from anywhere.
        now: seconds of one clock.
    """

    __slots__ = ("_patience", "_progress_at", "_rate", "_taken", "look_at", "when")

    def __init__(self, patience: float, rate: float, taken: int, now: float) -> None:
        self._patience = patience
        self._rate = rate
        self._taken = taken
        self._progress_at = now
        self.when = now + patience
        self.look_at = now + patience / LOOKS_PER_PATIENCE  # when to call `is_met` next

    def is_met(self, taken: int, now: float) -> bool:
        """Note how much the peer has taken up to now. Returns whether it is still in time."""
        more = taken - self._taken
        if more > 0:
            self._taken = taken
            self._progress_at = now
            self.when = min(now + self._patience, max(self.when, now) + more / self._rate)
        self.look_at = min(self.when, now + self._patience / LOOKS_PER_PATIENCE)
        return now < self.when

    def stalled_since(self, taken: int) -> float | None:
        """Return since when the peer has taken nothing; None if it has taken something since the last look."""
        return self._progress_at if taken <= self._taken else None

    def explain(self, now: float) -> str:
        """Say why the deadline was missed, for the peer and the log."""
        if now - self._progress_at < self._patience:
            return f"the peer reads less than {self._rate:g} bytes a second"
        return "the peer does not read"
