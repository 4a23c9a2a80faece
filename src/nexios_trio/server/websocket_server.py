"""The direct lane: answers WebSocket upgrades on the socket itself, leaves everything else to hypercorn."""

import logging
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import attrs
import trio

from ..config.settings import Settings
from ..core.lifecycle import Cause, End
from ..transports.base import TRANSPORT_EXTENSION
from ..transports.direct import DirectTransport
from ..transports.epoll import Poller
from ..transports.timers import Timers
from .accept import Admission, Arrival, accept_forever
from .asgi_adapter import AsgiBridge
from .errors import contained
from .lingering_close import Farewells
from .proxy_headers import believe_proxies
from .request_head import HEAD_END, BadUpgrade, Headers, Upgrade, http_response, is_upgrade, parse_upgrade
from .request_reader import Greetings

logger = logging.getLogger("nexios_trio.server")

App = Callable[[Any, Any, Any], Awaitable[Any]]
HandOver = Callable[[Arrival, bytes], Awaitable[bytes | None]]
# Scope, status, headers of the response, seconds
AccessLog = Callable[[Any, int, Headers, float], Awaitable[None]]


@attrs.define(eq=False)
class Lane:
    """One server's connections. Everything it starts lives in the nursery that `start_soon` belongs to.

    Args:
        hand_over: serves a connection that is no WebSocket; called with what was received, owns the arrival. When it
            returns bytes, the connection asks for a WebSocket after all, and is the lane's again.
        scope: what every scope of this server holds, such as `root_path`.
        state: what the application's lifespan left for its connections.
        server_names: the hosts that we answer for; empty for all.
    """

    _app: App
    settings: Settings
    poller: Poller
    timers: Timers
    _start_soon: Callable[..., None]
    _hand_over: HandOver
    _scope: dict[str, Any]
    admission: Admission = attrs.field(factory=lambda: Admission(1_000_000))
    state: dict[str, Any] = attrs.field(factory=dict)
    server_names: Collection[str] = ()
    access_log: AccessLog | None = None
    connections: set[DirectTransport] = attrs.field(factory=set, init=False)
    farewells: Farewells = attrs.field(init=False)
    greetings: Greetings = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.farewells = Farewells(self.poller, self.timers)
        self.greetings = Greetings(self.settings, self.poller, self.timers, self.farewells, self._greeted)

    async def listen(self, listener: socket.socket) -> None:
        """Accept for ever. Cancellation: between two rounds; the listener stays open."""
        await accept_forever(listener, self.receive)

    def receive(self, sock: socket.socket, peer: Any) -> None:
        """Serve a socket that was just accepted."""
        arrival = self.admission.admit(sock, peer)
        if arrival is None:
            self.farewells.refuse(Arrival(sock, None, None), 503, "too many connections\n")
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.welcome(arrival)

    def welcome(self, arrival: Arrival) -> None:
        """Wait for the request of a connection that was admitted."""
        self.greetings.begin(arrival)

    def close(self) -> None:
        """Serve nobody new."""
        self.greetings.close()

    def kill(self) -> None:
        """Reset every connection."""
        self.farewells.end()
        for transport in list(self.connections):
            transport.kill(End.of(Cause.SERVER_SHUTDOWN, "the server stops"))

    def _greeted(self, arrival: Arrival, received: bytes, end: int) -> None:
        """A whole request head is here."""
        if self.greetings.is_closed:
            self.farewells.refuse(arrival, 503, "the server stops\n")
            return
        head = received[:end]
        if not is_upgrade(head):
            self._start_soon(self._serve_other, arrival, received)
            return
        try:
            upgrade = parse_upgrade(head, compression=self.settings.compression)
        except BadUpgrade as error:
            fields = {"client": arrival.client[0] if arrival.client else None, "code": error.status}
            logger.info("a handshake was refused with %d: %s", error.status, str(error).strip(), extra=fields)
            self.farewells.say(arrival, error.response)
            return
        scope = self._scope_of(arrival, upgrade)
        free = self._claim(arrival, scope)
        if free is None:
            self.farewells.refuse(arrival, 503, "too many connections\n")
        elif self.server_names and not _is_for(self.server_names, scope):
            free()
            self.farewells.refuse(arrival, 404, "not found\n")
        else:
            self._start_soon(self._serve, arrival, upgrade, scope, received[end:], free)

    async def _serve_other(self, arrival: Arrival, received: bytes) -> None:
        asked = await self._hand_over(arrival, received)
        if asked is not None:
            self._greeted(arrival, asked, asked.index(HEAD_END) + len(HEAD_END))

    def _scope_of(self, arrival: Arrival, upgrade: Upgrade) -> dict[str, Any]:
        scope = upgrade.scope()
        scope |= self._scope
        scope["scheme"] = "wss" if arrival.is_secure else "ws"
        scope["client"] = arrival.client
        scope["server"] = arrival.server
        scope["state"] = self.state.copy()
        believe_proxies(scope, self.settings.trusted_proxies)
        return scope

    def _claim(self, arrival: Arrival, scope: dict[str, Any]) -> Callable[[], None] | None:
        """A place for the client behind a proxy. Returns what frees it."""
        client = scope["client"]
        if client is None or client == arrival.client:
            return _nothing
        return self.admission.claim(client[0])

    async def _serve(
        self, arrival: Arrival, upgrade: Upgrade, scope: dict[str, Any], received: bytes, free: Callable[[], None]
    ) -> None:
        transport = DirectTransport(
            scope,
            self.settings,
            arrival.sock,
            self.poller,
            answer=self._noting_answer(scope, upgrade),
            refuse=self._noting_refusal(scope),
            received=received,
            deflate=upgrade.deflate,
        )
        bridge = AsgiBridge(transport, self.timers)
        scope["extensions"][TRANSPORT_EXTENSION] = (transport, bridge.receive, bridge.send)
        self.connections.add(transport)
        failed = True
        try:
            with contained(logger, "the application failed"):
                await self._app(scope, bridge.receive, bridge.send)
                failed = False
        finally:
            with trio.CancelScope(shield=True):  # bounded by write_timeout and close_timeout
                await bridge.finish(failed)
            self.connections.discard(transport)
            scope["extensions"].pop(TRANSPORT_EXTENSION, None)  # refers to the scope
            arrival.leave()
            free()

    # Only with an access log do the answers of the handshake cost anything.

    def _noting_answer(self, scope: Any, upgrade: Upgrade) -> Callable[[str | None, Headers], bytes]:
        log = self.access_log
        if log is None:
            return upgrade.answer
        begun = time.monotonic()

        def answer(subprotocol: str | None, headers: Headers) -> bytes:
            self._start_soon(log, scope, 101, headers, time.monotonic() - begun)
            return upgrade.answer(subprotocol, headers)

        return answer

    def _noting_refusal(self, scope: Any) -> Callable[[int, Headers, bytes], bytes]:
        log = self.access_log
        if log is None:
            return http_response
        begun = time.monotonic()

        def refuse(status: int, headers: Headers, body: bytes) -> bytes:
            self._start_soon(log, scope, status, headers, time.monotonic() - begun)
            return http_response(status, headers, body)

        return refuse


def _nothing() -> None:
    pass


def _is_for(server_names: Collection[str], scope: dict[str, Any]) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return hosts[0] in server_names
