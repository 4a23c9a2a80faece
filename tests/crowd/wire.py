"""Raw WebSocket clients that cost next to nothing: non-blocking sockets, no task, no protocol library."""

import socket
import struct

from tests.server.support import RESET, frame, upgrade

BIND_ADDRESS_NO_PORT = 24  # of Linux: the port is chosen at connect, so that thousands of them fit


def connect(port: int, source: str, receive_buffer: int | None = None) -> socket.socket:
    """A socket that is connecting to 127.0.0.1 from another of its addresses."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((source, 0))
    sock.connect_ex(("127.0.0.1", port))
    return sock


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def source_of(number: int, network: int) -> str:
    """One of 250 addresses of 127.0.`network`.0/24."""
    return f"127.0.{network}.{number % 250 + 1}"


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The server's whole frames, as opcode and payload, and what is left."""
    found = []
    at, size = 0, len(data)
    while size - at >= 2:
        length, body = data[at + 1], at + 2
        if length == 126:
            body += 2
            if size < body:
                break
            (length,) = struct.unpack_from("!H", data, at + 2)
        if size < body + length:
            break
        found.append((data[at] & 0x0F, data[body : body + length]))
        at = body + length
    return found, data[at:]


__all__ = ["connect", "frame", "reset", "source_of", "split", "upgrade"]
