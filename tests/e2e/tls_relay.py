"""TLS for a client that has none: what it says on a port of this process goes on over TLS."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import trio


@contextmanager
def tls_relay(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Relay each connection to `port` of this host until the end of the block. Yields the port to connect to."""
    started = threading.Event()
    ports: list[int] = []
    stopping: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []

    async def relay() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                partial(trio.serve_tcp, partial(_carry, port, context), 0, host="127.0.0.1")
            )
            ports.append(listeners[0].socket.getsockname()[1])
            stopping.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
            started.set()

    thread = threading.Thread(target=trio.run, args=(relay,))
    thread.start()
    assert started.wait(15)
    try:
        yield ports[0]
    finally:
        [(token, scope)] = stopping
        token.run_sync_soon(scope.cancel)
        thread.join()


async def _carry(port: int, context: ssl.SSLContext, client: trio.SocketStream) -> None:
    with trio.move_on_after(60):
        server = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", port), context, server_hostname="localhost", https_compatible=True
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_copy, client, server)
                await _copy(server, client)
                await client.aclose()
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(client)
            await trio.aclose_forcefully(server)


async def _copy(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
    """Until either side has had enough."""
    try:
        while data := await source.receive_some():
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
