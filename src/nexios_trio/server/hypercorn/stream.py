"""A socket as a trio stream, for hypercorn: with bytes pushed back, write deadlines, and an abort."""

import socket
import struct
from errno import EBADF
from typing import Final

import trio

from ...config.settings import Settings
from ...transports.progress import ReadingDeadline, acknowledged_bytes, unacknowledged_bytes
from ...transports.tls_socket import TlsSocket
from ..socket_stream import SocketStream, TlsTrioSocket

__all__ = ["ConnectionStream"]

RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset and drops what the kernel holds


class ConnectionStream(trio.abc.HalfCloseableStream):
    """One accepted connection.

    A write lasts as long as the peer reads, and is bounded even where the caller shields it, as hypercorn does: who
    takes nothing for `write_timeout`, or less than `min_read_rate`, is reset.

    Args:
        received: what was read from the socket before and belongs to whoever reads this stream.
    """

    def __init__(self, sock: socket.socket, received: bytes, settings: Settings) -> None:
        self.socket = TlsTrioSocket(sock) if isinstance(sock, TlsSocket) else trio.socket.from_stdlib_socket(sock)
        self._stream = SocketStream(self.socket)
        self._received = received
        self._sock = sock  # for the kernel's counts; closed with `socket`, whose descriptor it shares
        self._write_timeout = settings.write_timeout
        self._min_read_rate = settings.min_read_rate

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._received:
            return await self._stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        size = len(self._received) if max_bytes is None else max_bytes
        data, self._received = self._received[:size], self._received[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Cancellation: part of the data may have been sent; nothing can follow it.

        Raises: trio.BrokenResourceError when the peer is gone, or does not read.
        """
        rest = memoryview(data)
        try:
            if not rest:
                await trio.lowlevel.checkpoint()
            while rest:
                rest = rest[await self._send_some(rest) :]
        except OSError as error:
            if error.errno == EBADF or self.socket.fileno() < 0:
                raise trio.ClosedResourceError("this connection was closed") from None
            raise trio.BrokenResourceError(f"the connection broke: {error}") from error

    async def _send_some(self, data: memoryview) -> int:
        """Write what the kernel takes, waiting for room; how many bytes that were. Cancellation: none."""
        deadline: ReadingDeadline | None = None
        while True:
            now = trio.current_time()
            taken = self._taken()
            if deadline is None:
                deadline = ReadingDeadline(self._write_timeout, self._min_read_rate, taken, now)
            elif not deadline.is_met(taken, now):
                self.abort()
                raise trio.BrokenResourceError(deadline.explain(now))
            with trio.move_on_at(deadline.look_at):
                return await self.socket.send(data)

    def _taken(self) -> int:
        """Count the bytes that the peer has taken since a write began: only differences mean something."""
        if isinstance(self._sock, TlsSocket) and self._sock.family != socket.AF_UNIX:
            return acknowledged_bytes(self._sock)  # the kernel may have a part of a record, and gets more of it
        return -unacknowledged_bytes(self._sock)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def abort(self) -> None:
        """Reset the connection now. Whoever waits for it gets a trio.ClosedResourceError."""
        if self.socket.fileno() >= 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.socket.close()
