"""A client's socket that speaks TLS: what belongs together is sent together, so that counts do not depend on luck."""

import socket
import ssl
from typing import Final

RECEIVE_BYTES: Final = 65536


class TlsLink:
    """TLS 1.3 on a connected socket that blocks; the certificate is not looked at. Used as the socket is."""

    def __init__(self, sock: socket.socket) -> None:
        """Send the ClientHello; the answer is not waited for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._is_up = False
        self._waiting = b""  # for the end of the handshake
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()

    def sendall(self, data: bytes) -> None:
        """Send `data`: in the handshake, together with our last word of it."""
        if self._is_up:
            self._tls.write(data)
            self._flush()
        else:
            self._waiting += data

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes, or none at the end. Raises: OSError."""
        while True:
            try:
                if not self._is_up:
                    self._tls.do_handshake()
                    self._is_up = True
                    self.sendall(self._waiting)
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                data = self._sock.recv(RECEIVE_BYTES)
                if not data:
                    return b""
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""

    def close(self) -> None:
        self._sock.close()

    def _flush(self) -> None:
        self._sock.sendall(self._outgoing.read())
