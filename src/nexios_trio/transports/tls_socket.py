"""A socket that speaks TLS, used as any non-blocking socket of ours: OpenSSL has the descriptor, and nobody relays.

`recv` gives what one record has, b"" at the end, and BlockingIOError where no record is whole. `send` takes whole
records, and BlockingIOError says that one did not fit. Three things are different:

    pending()       bytes that are decrypted, of which no epoll tells
    committed       bytes that `send` has encrypted and not got rid of: the next `send` has to begin with them
    wants_write     `recv` cannot go on before the kernel has room

Why not memory BIOs: docs/decisions/011.
"""

import socket
import ssl
from contextlib import suppress
from errno import EAGAIN, ENOTCONN
from typing import Any, Final

__all__ = ["RECORD_BYTES", "TlsSocket", "prepare_context"]

RECORD_BYTES: Final = 16384  # that a record holds at most (RFC 8446, 5.1)


def prepare_context(context: ssl.SSLContext) -> None:
    """Have a server's context make sockets of ours, which refuse to negotiate anew."""
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.sslsocket_class = TlsSocket


class TlsSocket(ssl.SSLSocket):
    """One connection. Made by the `wrap_socket` of a prepared context; `do_handshake` comes first.

    Its `close` says nothing to the peer: `end_tls` does.
    """

    _sslobj: Any  # the base's; called without its detours, since every message passes here
    committed: int = 0  # of the last `send` that did not take everything
    wants_write: bool = False
    _is_ended: bool = False  # our side has said its last, and what comes is not decrypted any more

    def recv(self, buflen: int = RECORD_BYTES, flags: int = 0) -> bytes:
        """Return what is there of one record, or of several where `buflen` has room for them.

        Raises: OSError when TLS has failed; BlockingIOError when nothing is there.
        """
        if self._is_ended:
            return socket.socket.recv(self, buflen)
        if self._sslobj is None:  # `wrap_socket` looks whether there is a peer, and goes on when told so
            raise OSError(ENOTCONN, "the peer is gone")
        data = self._read_record(buflen)
        if len(data) < RECORD_BYTES or buflen <= RECORD_BYTES:
            return data
        parts = [data]  # a long message comes in full records
        with suppress(OSError):  # which is found again
            while len(data) == RECORD_BYTES <= (buflen := buflen - len(data)):
                parts.append(data := self._read_record(buflen))
        return b"".join(parts)

    def _read_record(self, size: int) -> bytes:
        try:
            data: bytes = self._sslobj.read(size)
        except ssl.SSLWantReadError:
            raise BlockingIOError(EAGAIN, "no record is whole") from None
        except ssl.SSLWantWriteError:
            self.wants_write = True
            raise BlockingIOError(EAGAIN, "TLS has something to say first") from None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""
        return data

    def send(self, data: Any, flags: int = 0) -> int:
        """Encrypt and write. Returns how many bytes were taken, of whole records.

        Raises: OSError when TLS has failed; BlockingIOError when nothing was taken.
        """
        size = len(data)
        if size > RECORD_BYTES:
            return self._send_records(memoryview(data), size)
        try:
            sent: int = self._sslobj.write(data)
        except ssl.SSLWantWriteError:
            self.committed = size
            raise BlockingIOError(EAGAIN, "the kernel is full") from None
        return sent

    def _send_records(self, data: memoryview, size: int) -> int:
        sent = 0
        try:
            while sent < size:
                sent += self._sslobj.write(data[sent : sent + RECORD_BYTES])
        except ssl.SSLWantWriteError:
            self.committed = min(size - sent, RECORD_BYTES)
            if not sent:
                raise BlockingIOError(EAGAIN, "the kernel is full") from None
        return sent

    def end_tls(self) -> None:
        """Send close_notify, if the kernel has room for it. Nothing can be sent after it, and what comes is noise."""
        if not self._is_ended:
            self._is_ended = True
            with suppress(OSError, ValueError):  # the peer's own is not waited for
                self.unwrap()

    def shutdown(self, how: int) -> None:
        """Send close_notify and the end. What still comes can be thrown away, as `recv` gives it."""
        self.end_tls()
        socket.socket.shutdown(self, how)
