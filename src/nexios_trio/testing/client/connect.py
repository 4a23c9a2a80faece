"""`connect`: a WebSocket to any ASGI application, without sockets, as a chosen server would serve it."""

import random
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from ...application.trio_only import require_trio
from ...asgi_types import ASGIApp
from ..servers.table import SERVERS, ServerName
from ..simulation.network import Net, Traffic
from .client import Client
from .lifespan import lifespan_state
from .link import Link
from .request import HeaderValues, QueryValues, make_scope

__all__ = ["connect", "open_client"]


def open_client(link: Link, app: ASGIApp, scope: dict[str, Any], server: ServerName, timeout: float) -> Client:
    """A client whose `run` is still to be started."""
    if server not in SERVERS:
        raise ValueError(f"server must be one of {', '.join(map(repr, SERVERS))}, not {server!r}")
    scope["asgi"]["spec_version"] = SERVERS[server].spec_version
    scope["state"] = lifespan_state(app)
    return Client(link, app, scope, server, timeout)


@asynccontextmanager
async def connect(
    app: ASGIApp,
    url: str = "/",
    *,
    headers: HeaderValues = (),
    query: QueryValues = (),
    cookies: Mapping[str, str] | None = None,
    subprotocols: Iterable[str] = (),
    client: tuple[str, int] = ("127.0.0.1", 1),
    server: ServerName = "hypercorn",
    timeout: float = 5.0,
    buffer: int = 0,
    net: Net | None = None,
) -> AsyncGenerator[Client]:
    """Open a WebSocket to an ASGI application, for the length of the block.

    Leaving it closes with 1001, as a browser tab does, and waits for the application, whose error is raised then.

    Args:
        url: path, and query if any; percent-encoded where needed.
        headers: added to those that a client sends.
        server: whose ASGI events the application gets: "hypercorn" or "direct".
        timeout: seconds of trio's clock for the handshake, every wait of the client, and the application's end.
        buffer: bytes that each direction holds when its reader does not read; 0 makes the first send wait.
        net: the network between; None: everything arrives at once.
    Raises: Denied when the application refuses; Unmet when it does not answer, or does not finish.
    """
    require_trio()
    traffic = Traffic(net or Net(), random.Random(0))
    scope = make_scope(url, headers, query, cookies, list(subprotocols), client)
    peer = open_client(Link(buffer, traffic.path(), traffic.path()), app, scope, server, timeout)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        if net is not None:
            nursery.start_soon(traffic.run, name="network")
        nursery.start_soon(peer.run, name=f"ASGI application {scope['path']}")
        try:
            await peer.wait_for_handshake()
            yield peer
            await peer.leave()
        except Exception as error:
            failure = error
        finally:
            peer.abandon()
        nursery.cancel_scope.cancel(reason="the test block has ended")
    if (failure := failure or peer.app_error) is not None:
        raise failure
