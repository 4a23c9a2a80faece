"""A connected socket as a trio stream, whose errors hold nothing.

`trio.SocketStream` translates errors in a generator of `contextlib`, whose frame holds the error that passes through.
From Python 3.12 on, frames lead back to whoever waits, so each connection that ends with an error would be kept, with
all it holds, until a full collection.
"""

import socket
from contextlib import suppress
from errno import EBADF, ENOTSOCK
from typing import Final

import trio
from trio.lowlevel import (
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    notify_closing,
    wait_readable,
    wait_writable,
)

from ..transports.tls_socket import TlsSocket

__all__ = ["SocketStream", "TlsTrioSocket"]

RECEIVE_BYTES: Final = 65536
UNSENT_BYTES: Final = 16384  # that the kernel holds before a send waits, as with trio's


class SocketStream(trio.abc.HalfCloseableStream):
    """Errors as of `trio.SocketStream`. One task sends at a time, one receives."""

    def __init__(self, sock: "trio.socket.SocketType | TlsTrioSocket") -> None:
        self.socket = sock
        with suppress(OSError):  # of a Unix socket
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            return await self.socket.recv(RECEIVE_BYTES if max_bytes is None else max_bytes)
        except OSError as error:
            raise self._translated(error) from None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Cancellation: part of the data may have been sent; nothing can follow it."""
        with memoryview(data) as view:
            try:
                sent = 0
                while sent < len(view):
                    with view[sent:] as unsent:
                        sent += await self.socket.send(unsent)
                if not view:
                    await checkpoint()
            except OSError as error:
                raise self._translated(error) from None

    async def wait_send_all_might_not_block(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self.socket)
        except OSError as error:
            raise self._translated(error) from None

    async def send_eof(self) -> None:
        await checkpoint()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self._translated(error) from None

    async def aclose(self) -> None:
        self.socket.close()
        await checkpoint()

    def _translated(self, error: OSError) -> Exception:
        if error.errno in (EBADF, ENOTSOCK) or self.socket.fileno() < 0:
            return trio.ClosedResourceError("this socket was already closed")
        return trio.BrokenResourceError(f"socket connection broken: {error}")


class TlsTrioSocket:
    """What streams need of a trio socket, on a `TlsSocket`."""

    def __init__(self, sock: TlsSocket) -> None:
        self._sock = sock
        self.setsockopt = sock.setsockopt
        self.fileno = sock.fileno

    async def recv(self, size: int) -> bytes:
        """Raises: OSError when TLS has failed. Checkpoint: always. Cancellation: nothing is lost."""
        sock = self._sock
        await checkpoint_if_cancelled()
        while True:
            try:
                data = sock.recv(size)
            except BlockingIOError:
                await (wait_writable if sock.wants_write else wait_readable)(sock)
                sock.wants_write = False
            else:
                await cancel_shielded_checkpoint()
                return data

    async def send(self, data: bytes | memoryview) -> int:
        """As `recv`. Cancellation: what follows has to begin with the same data."""
        await checkpoint_if_cancelled()
        while True:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                await wait_writable(self._sock)
            else:
                await cancel_shielded_checkpoint()
                return sent

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        """Whoever waits gets a trio.ClosedResourceError."""
        if self._sock.fileno() >= 0:
            notify_closing(self._sock)
            self._sock.close()
