"""A server of ours in this very process, and clients: real sockets on 127.0.0.1, everything under a deadline."""

import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio_websocket
from hypercorn.config import Config

from nexios_trio import NexiosApp, Settings, serve

DEADLINE = 15.0  # seconds for anything that should take milliseconds: the machine may be busy
CERTIFICATES = Path(__file__).with_name("certificates")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
RESET = struct.pack("ii", 1, 0)

CLIENT_TLS = ssl.create_default_context(cafile=str(CERTIFICATES / "certificate.pem"))


def config(**values: Any) -> Config:
    return Config.from_mapping({"bind": ["127.0.0.1:0"], "errorlog": None, **values})


def tls_config(**values: Any) -> Config:
    files = {"certfile": str(CERTIFICATES / "certificate.pem"), "keyfile": str(CERTIFICATES / "key.pem")}
    return config(**files, **values)


def settings(**values: Any) -> Settings:
    return Settings(**{"drain_jitter": 0.0, "drain_timeout": 4.0, **values})


def over_tls(stream: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
    return trio.SSLStream(stream, CLIENT_TLS, server_hostname="localhost", https_compatible=True)


class Running:
    """A server that accepts connections. Owned by `running`."""

    def __init__(self, addresses: list[str], stop: trio.Event, stopped: trio.Event) -> None:
        self.addresses = addresses
        self._stop = stop
        self._stopped = stopped

    @property
    def port(self) -> int:
        return int(self.addresses[0].rpartition(":")[2])

    async def connect(self, *, tls: bool = False) -> "Raw":
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        return Raw(over_tls(stream) if tls else stream)

    async def request(self, data: bytes) -> bytes:
        """Everything that comes back for some bytes, until the server closes or resets."""
        async with await self.connect() as client:
            await client.send(data)
            return await client.rest()

    async def get(self, path: str = "/", *headers: str) -> bytes:
        """The response to a plain GET, head and body."""
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        return await self.request("\r\n".join(lines).encode() + b"\r\n\r\n")

    def stop(self) -> None:
        """Pull the trigger."""
        self._stop.set()

    async def stopped(self) -> None:
        with trio.fail_after(DEADLINE):
            await self._stopped.wait()


class Raw:
    """A client that sends exactly what it is told."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._received = b""

    async def __aenter__(self) -> "Raw":
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, data: bytes) -> None:
        with trio.fail_after(DEADLINE):
            await self.stream.send_all(data)

    async def until(self, mark: bytes) -> bytes:
        """Bytes up to and with `mark`."""
        with trio.fail_after(DEADLINE):
            while mark not in self._received:
                data = await self.stream.receive_some()
                assert data, f"closed after {self._received!r}"
                self._received += data
        head, mark, self._received = self._received.partition(mark)
        return head + mark

    async def exactly(self, size: int) -> bytes:
        with trio.fail_after(DEADLINE):
            while len(self._received) < size:
                data = await self.stream.receive_some()
                assert data, f"closed after {self._received!r}"
                self._received += data
        data, self._received = self._received[:size], self._received[size:]
        return data

    async def rest(self) -> bytes:
        """What comes until the end, be it an orderly one or a reset."""
        with trio.fail_after(DEADLINE):
            try:
                while data := await self.stream.receive_some():
                    self._received += data
            except trio.BrokenResourceError:
                pass
        data, self._received = self._received, b""
        return data

    async def handshake(self, path: str = "/echo", *headers: str) -> bytes:
        await self.send(upgrade(path, *headers))
        return await self.until(b"\r\n\r\n")

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the server's next frame that is no ping."""
        while True:
            head = await self.exactly(2)
            size = head[1]
            if size == 126:
                size = int.from_bytes(await self.exactly(2), "big")
            payload = await self.exactly(size)
            if head[0] & 0x0F != 9:
                return head[0] & 0x0F, payload

    async def closed(self) -> int:
        """The code of the server's close frame; other frames are skipped."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")

    async def stop_sending(self) -> None:
        """The end of TCP in our direction, beneath TLS where there is TLS."""
        await getattr(self.stream, "transport_stream", self.stream).send_eof()

    def reset(self) -> None:
        under = getattr(self.stream, "transport_stream", self.stream)  # of TLS
        under.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        under.socket.close()


def upgrade(path: str = "/echo", *headers: str) -> bytes:
    """A WebSocket handshake; headers are appended."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame, masked with zeros."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


@asynccontextmanager
async def running(
    app: Any, server_config: Config | None = None, server_settings: Settings | None = None
) -> AsyncIterator[Running]:
    """Serve `app` in the block. Errors of the server are raised at its end, alone."""
    stop, stopped = trio.Event(), trio.Event()
    failure: list[BaseException] = []

    async def run(task_status: trio.TaskStatus[list[str]]) -> None:
        try:
            await serve(
                app,
                server_config or config(),
                settings=server_settings or settings(),
                shutdown_trigger=stop.wait,
                task_status=task_status,
            )
        except Exception as error:
            failure.append(error)
        finally:
            stopped.set()

    async with trio.open_nursery() as nursery:
        server = Running(await nursery.start(run), stop, stopped)
        yield server
        stop.set()
        await server.stopped()
    if failure:
        raise failure[0]


@asynccontextmanager
async def websocket(
    port: int, path: str = "/echo", *, tls: bool = False, **options: Any
) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """A well-behaved client that is not ours."""
    with trio.fail_after(DEADLINE):
        stream: Any = await trio.open_tcp_stream("127.0.0.1", port)
        if tls:
            stream = trio.SSLStream(stream, CLIENT_TLS, server_hostname="localhost", https_compatible=True)
    async with stream:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(DEADLINE):
                client = await trio_websocket.wrap_client_stream(nursery, stream, "localhost", path, **options)
            yield client
            with trio.fail_after(DEADLINE):
                await client.aclose()


async def ask(client: trio_websocket.WebSocketConnection, message: str = "are you there?") -> Any:
    """What is echoed."""
    with trio.fail_after(DEADLINE):
        await client.send_message(message)
        return await client.get_message()


async def eventually(condition: Callable[[], bool]) -> None:
    """Let others run until it holds."""
    with trio.fail_after(DEADLINE):
        while not condition():
            await trio.lowlevel.checkpoint()


def make_app(**options: Any) -> NexiosApp:
    """/echo echoes; /stubborn does not notice the end; / is HTTP."""
    app = NexiosApp(**{"settings": settings(), **options})

    @app.ws_route("/echo")
    async def echo(ws: Any) -> None:
        await ws.accept(subprotocol=(ws.subprotocols or [None])[0])
        while True:
            message = await ws.receive()
            if message["type"] == "websocket.disconnect":
                break
            if "text" in message:
                await ws.send_text(message["text"])
            else:
                await ws.send_bytes(message["bytes"])

    @app.ws_route("/stubborn")
    async def stubborn(ws: Any) -> None:
        await ws.accept()
        await ws.send_text("here")
        await trio.sleep_forever()

    @app.get("/")
    async def hello(req: Any, res: Any) -> Any:
        return res.text("hello")

    @app.get("/client")
    async def client(req: Any, res: Any) -> Any:
        return res.json([req.client.host if req.client else None, req.url.scheme])

    return app


Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
