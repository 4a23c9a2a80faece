"""A direct transport on a real connection, and its peer in the test's hand."""

import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio.config.settings import Settings
from nexios_trio.core.lifecycle import End
from nexios_trio.core.message import FrameIndex
from nexios_trio.pubsub.group import NOWHERE, Group, Membership
from nexios_trio.server.request_head import http_response
from nexios_trio.transports.direct import DirectTransport, TlsTransport
from nexios_trio.transports.epoll import Poller, open_poller
from nexios_trio.transports.timers import Timers
from nexios_trio.transports.tls_socket import TlsSocket
from tests.transports.peers import Peer, TlsPeer, server_context

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
OVER_TLS = False  # what `direct` does where nothing is said: see the fixture `plain_and_tls`
settle = wait_all_tasks_blocked


def secured(
    ours: socket.socket,
    theirs: socket.socket,
    server: ssl.SSLContext | None = None,
    client: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> tuple[TlsSocket, TlsPeer]:
    """Both ends of a connection, once TLS is up."""
    sock = (server or server_context()).wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
    assert isinstance(sock, TlsSocket)
    peer = TlsPeer(theirs, client, session)
    peer.shake_hands(sock)
    return sock, peer


class Direct(DirectTransport):
    """Notes its end."""

    ends: list[End]


class DirectTls(TlsTransport):
    """The same."""

    ends: list[End]


def connected(small: bool) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection; `small` kernel buffers in our direction, some 10 KB."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        peer = socket.socket()
        if small:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.connect(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if small:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    return ours, peer


class Lane:
    """What transports need. Owned by `open_lane`."""

    def __init__(self, poller: Poller, timers: Timers) -> None:
        self.poller = poller
        self.timers = timers


@asynccontextmanager
async def open_lane() -> AsyncGenerator[Lane]:
    timers = Timers()
    with open_poller() as poller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            nursery.start_soon(timers.run)
            yield Lane(poller, timers)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def direct(
    *,
    accepted: bool = True,
    small: bool = False,
    unix: bool = False,
    received: bytes = b"",
    deflate: bool = False,
    tls: bool | None = None,
    **settings: Any,
) -> AsyncGenerator[tuple[Direct, Peer]]:
    """A transport in its block, and its peer. The peer hangs up at the end of the test, if it still is there."""
    ours, theirs = socket.socketpair() if unix else connected(small)
    ours.setblocking(False)
    make_transport: type[Direct] | type[DirectTls] = Direct
    peer = Peer(theirs)
    if OVER_TLS if tls is None else tls:
        make_transport = DirectTls
        ours, peer = secured(ours, theirs)
    try:
        async with open_lane() as lane:
            transport = make_transport(
                {},
                Settings(**settings),
                ours,
                lane.poller,
                answer=lambda subprotocol, headers: ANSWER,
                refuse=http_response,
                received=received,
                deflate=deflate,
            )
            transport.ends = []
            transport.on_end = transport.ends.append
            async with transport.open(lane.timers):
                if accepted:
                    await transport.accept(None, [])
                    await peer.head()
                yield transport, peer
                peer.hang_up()
            assert ours.fileno() == -1
            assert len(lane.poller) == 0
    finally:
        peer.hang_up()


def membership(frame_index: FrameIndex = 0, group: str = "room") -> Membership[str]:
    """A place in a group that gets this form of messages, for `offer_batch`."""
    return Group[str](group).add_member("a member", NOWHERE, frame_index)
