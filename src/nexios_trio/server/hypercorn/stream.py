"""A socket as a trio stream, for hypercorn and for TLS: with bytes pushed back, write deadlines, and an abort."""

import socket
import struct
from typing import Final

import trio

__all__ = ["ConnectionStream"]

BYTES_PER_DEADLINE: Final = 65536  # bytes that a peer has to take within one write deadline
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset and drops what the kernel holds


class ConnectionStream(trio.abc.HalfCloseableStream):
    """One accepted connection.

    A write is bounded by `write_timeout` for each 64 KiB even where the caller shields it, as hypercorn does.

    Args:
        received: what was read from the socket before and belongs to whoever reads this stream.
        write_timeout: seconds.
    """

    def __init__(self, sock: socket.socket, received: bytes, write_timeout: float) -> None:
        self.socket = trio.socket.from_stdlib_socket(sock)  # hypercorn looks at it
        self._stream = trio.SocketStream(self.socket)
        self._received = received
        self._write_timeout = write_timeout

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
        with memoryview(data) as view:
            for start in range(0, len(view) or 1, BYTES_PER_DEADLINE):
                with trio.move_on_after(self._write_timeout) as scope:
                    await self._stream.send_all(view[start : start + BYTES_PER_DEADLINE])
                if scope.cancelled_caught:
                    self.abort()
                    raise trio.BrokenResourceError("the peer does not read")

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
