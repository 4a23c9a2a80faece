"""The client's end of a direct transport's connection, plain and over TLS."""

import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path

import trio

from nexios_trio.transports.tls_socket import RECORD_BYTES, TlsSocket, prepare_context
from tests.rawframes import ServerFrame, take_frame

RESET = struct.pack("ii", 1, 0)
CERTIFICATES = Path(__file__).parents[1] / "server" / "certificates"


class Peer:
    """The client's end of a connection, which sends and reads what it is told, and no more."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.raw = sock
        self._sock = trio.socket.from_stdlib_socket(sock)
        self.buffer = bytearray()

    async def send(self, data: bytes) -> None:
        while data:
            data = data[await self._sock.send(data) :]

    def send_nowait(self, data: bytes) -> int:
        """How much of it the kernel took."""
        sent = 0
        try:
            while sent < len(data):
                sent += self.raw.send(data[sent:])
        except BlockingIOError:
            pass
        return sent

    def take(self, size: int = 65536) -> bytes:
        """What is there at this moment."""
        try:
            return self.raw.recv(size)
        except BlockingIOError:
            return b""

    def acknowledge(self) -> None:
        """Have the peer's system say at once what it has taken, as it does by itself within 40 real milliseconds."""
        self.buffer += self.take()
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def receive(self, size: int = 65536) -> str:
        """Wait for more, so many bytes at most: "data", "eof" or "reset"."""
        try:
            data = await self._sock.recv(size)
        except ConnectionResetError:
            return "reset"
        self.buffer += data
        return "data" if data else "eof"

    async def frame(self) -> ServerFrame:
        while (frame := take_frame(self.buffer)) is None:
            what = await self.receive()
            assert what == "data", f"{what} after {bytes(self.buffer)!r}"
        return frame

    async def frames(self, count: int) -> list[ServerFrame]:
        return [await self.frame() for _ in range(count)]

    async def head(self) -> bytes:
        """An HTTP response's."""
        while b"\r\n\r\n" not in self.buffer:
            assert await self.receive() == "data"
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        return bytes(head + end)

    async def end(self) -> str:
        """Read up to it: "eof" or "reset"."""
        while (what := await self.receive()) == "data":
            pass
        return what

    async def rest(self) -> tuple[list[ServerFrame], str]:
        """Every whole frame until the end, and what kind of end it was."""
        what = await self.end()
        frames = []
        while (frame := take_frame(self.buffer)) is not None:
            frames.append(frame)
        return frames, what

    def hang_up(self) -> None:
        """An orderly end of TCP, if everything was read."""
        self._sock.close()

    def stop_sending(self) -> None:
        self.raw.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._sock.close()


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "certificate.pem", CERTIFICATES / "key.pem")
    prepare_context(context)
    return context


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATES / "certificate.pem"))


class TlsPeer(Peer):
    """The client's end. What it sends is encrypted, and its `buffer` has what it has decrypted."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
    ) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost", session=session
        )
        self.has_closed_tls = False  # a close_notify has come
        self.alert: str | None = None  # or something else
        self._torn = b""

    def shake_hands(self, ours: TlsSocket) -> None:
        """Both sides of it."""
        mine = theirs = False
        while not (mine and theirs):
            try:
                self.tls.do_handshake()
                mine = True
            except ssl.SSLWantReadError:
                pass
            if self._outgoing.pending:
                self.raw.send(self._outgoing.read())
            try:
                ours.do_handshake()
                theirs = True
            except ssl.SSLWantReadError:
                pass
            with suppress(BlockingIOError):
                self._incoming.write(self.raw.recv(65536))

    def close_tls(self) -> None:
        """Say that nothing follows."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.raw.send(self._outgoing.read())

    def encrypted(self, data: bytes) -> bytes:
        """As one record, if it is no more than fits."""
        self.tls.write(data)
        return self._outgoing.read()

    def decrypted(self, data: bytes) -> bytes:
        self._incoming.write(data)
        parts = []
        try:
            while part := self.tls.read(65536):
                parts.append(part)
            self.has_closed_tls = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_closed_tls = True
        except ssl.SSLError as error:
            self.alert = error.reason
        return b"".join(parts)

    async def send(self, data: bytes) -> None:
        torn, self._torn = self._torn, b""
        await super().send(torn + (self.encrypted(data) if data else b""))

    def send_nowait(self, data: bytes) -> int:
        """How much of it is encrypted: the last record may be torn, and goes on with the next call."""
        sent = 0
        while not self._torn and sent < len(data):
            part = data[sent : sent + RECORD_BYTES]
            self._torn = self.encrypted(part)
            sent += len(part)
            self._torn = self._torn[super().send_nowait(self._torn) :]
        self._torn = self._torn[super().send_nowait(self._torn) :]
        return sent

    def take(self, size: int = 65536) -> bytes:
        return self.decrypted(super().take(size))

    def take_raw(self) -> bytes:
        """What is there, as it comes over the wire."""
        return super().take()

    async def receive(self, size: int = 65536) -> str:
        try:
            data = await self._sock.recv(size)
        except ConnectionResetError:
            return "reset"
        self.buffer += self.decrypted(data)
        return "data" if data else "eof"
