"""A WebSocket client that blocks, with as little between it and the socket as can be."""

import socket
import struct
from types import TracebackType
from typing import Final, Self

from .tls_link import TlsLink

RECEIVE_SECONDS: Final = 120.0  # a server under valgrind on a busy machine needs many
HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: bWFrZSBjb3N0IGNvdW50cw==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)
TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
_MASK: Final = b"\1\2\3\4"


class Client:
    """A connection. Everything that waits raises TimeoutError after two minutes."""

    def __init__(self, port: int, path: str, more: str = "", *, tls: bool = False) -> None:
        """Connect and send the request, with whole lines `more`; the answer is not waited for."""
        sock = socket.create_connection(("127.0.0.1", port), RECEIVE_SECONDS)
        self._sock: socket.socket | TlsLink = TlsLink(sock) if tls else sock
        self._buffer = b""
        self._sock.sendall(HANDSHAKE.format(path=path, port=port, more=more).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def finish_handshake(self) -> None:
        """Read the answer to the request. Raises: RuntimeError when it is not 101."""
        while b"\r\n\r\n" not in self._buffer:
            self._receive_more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0].decode("latin-1")
        if " 101" not in status:
            raise RuntimeError(f"the handshake was answered with: {status}")

    def send(self, frame: bytes) -> None:
        """Send what `encode_frame` gave."""
        self._sock.sendall(frame)

    def receive(self) -> bytes:
        """Return the next text. Pings before it are answered.

        Raises: RuntimeError when the server closes instead.
        """
        while True:
            opcode, payload = self._receive_frame()
            if opcode == TEXT:
                return payload
            if opcode == PING:
                self.send(encode_frame(payload, PONG))
            elif opcode == CLOSE:
                raise RuntimeError(f"the server closed instead of sending a message: {payload!r}")

    def say_close(self) -> None:
        """Send a close frame with 1000, and wait for the server's, or for the end of its stream."""
        self.send(encode_frame(struct.pack("!H", 1000), CLOSE))
        try:
            while self._receive_frame()[0] != CLOSE:
                pass
        except (RuntimeError, ConnectionResetError):
            return

    def close(self) -> None:
        self._sock.close()

    def _receive_frame(self) -> tuple[int, bytes]:
        self._receive_until(2)
        opcode, size, head = self._buffer[0] & 0x0F, self._buffer[1], 2
        if size == 126:
            self._receive_until(4)
            (size,), head = struct.unpack_from("!H", self._buffer, 2), 4
        self._receive_until(head + size)
        payload, self._buffer = self._buffer[head : head + size], self._buffer[head + size :]
        return opcode, payload

    def _receive_until(self, size: int) -> None:
        while len(self._buffer) < size:
            self._receive_more()

    def _receive_more(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise RuntimeError("the server closed the connection")
        self._buffer += data


def encode_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a whole masked frame of at most 65,535 bytes. Raises: ValueError for more."""
    size = len(payload)
    if size > 65535:
        raise ValueError(f"{size} bytes are too many for a frame of these clients; at most 65,535")
    masked = bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(payload))
    length = bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
    return bytes([0x80 | opcode]) + length + _MASK + masked
