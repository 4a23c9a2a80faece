"""How often a client may connect, and how fast it may send."""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import trio

from ..connections.transport_wrapper import TransportWrapper, wrapped_transport
from ..connections.websocket import WebSocket
from ..core.lifecycle import Cause, End
from ..core.proxy_headers import client_key
from ..core.token_bucket import TokenBucket
from ..engines.clock import ContinuousClock
from ..exceptions import WebSocketDisconnect
from ..transports.base import Transport
from .chain import Next, reject_with

logger = logging.getLogger("nexios_trio.connection")

__all__ = ["ConnectionRateLimitMiddleware", "MessageRateLimitMiddleware"]

CONNECTION_LIMIT_CODE: Final = 4002  # document 004's
MESSAGE_LIMIT_CODE: Final = 1008
TOO_MANY_MESSAGES: Final = End.of(Cause.RATE_LIMITED, "too many messages", MESSAGE_LIMIT_CODE)


class MessageRateLimitMiddleware:
    """Close with 1008 a connection whose peer sends faster than this. The message that is too many is not handled.

    Args:
        rate: messages a second, in the long run.
        burst: messages at once.
    Raises: ValueError.
    """

    def __init__(self, rate: float = 20.0, burst: int = 40) -> None:
        _check_positive("rate", rate, "messages a second")
        if not burst >= 1:
            raise ValueError(f"burst must be 1 message or more, not {burst!r}")
        self._rate = rate
        self._burst = burst

    async def __call__(self, websocket: WebSocket, call_next: Next) -> Any:
        bucket = TokenBucket(self._rate, self._burst, trio.current_time())
        with wrapped_transport(websocket, lambda transport: _LimitedWrapper(transport, bucket)):
            return await call_next(websocket)


class _LimitedWrapper(TransportWrapper):
    """Takes a token for every message."""

    def __init__(self, inner: Transport, bucket: TokenBucket) -> None:
        super().__init__(inner)
        self._bucket = bucket

    async def receive(self) -> str | bytes | End:
        item = await super().receive()
        if isinstance(item, End) or self._bucket.take(trio.current_time()):
            return item
        await self.close(TOO_MANY_MESSAGES)
        raise WebSocketDisconnect(TOO_MANY_MESSAGES.code, TOO_MANY_MESSAGES.reason)

    def admit(self, item: str | bytes) -> bool:
        if self._bucket.take(trio.current_time()):
            return True
        self.inner.close_nowait(TOO_MANY_MESSAGES)
        raise WebSocketDisconnect(TOO_MANY_MESSAGES.code, TOO_MANY_MESSAGES.reason)


class ConnectionRateLimitMiddleware:
    """Refuse clients that connect too often: they are accepted and closed with 4002, so that they see why.

    One instance counts for all the routes that it is on. Refused attempts do not count.

    Args:
        rate_limit: connections that one client may open within `time_window`.
        time_window: seconds.
        key: tells clients apart; by default by their address (of IPv6 its /64), behind `trusted_proxies` the one that
            those report. A connection with the key None is not counted, such as one on a Unix socket without them.
        max_clients: whose connections are remembered; beyond it, the client that was quiet longest is forgotten.
    Raises: ValueError.
    """

    def __init__(
        self,
        rate_limit: int = 10,
        time_window: float = 60.0,
        *,
        key: Callable[[WebSocket], str | None] | None = None,
        max_clients: int = 65_536,
    ) -> None:
        if rate_limit < 1 or max_clients < 1:
            raise ValueError("rate_limit and max_clients must be 1 or more")
        _check_positive("time_window", time_window, "seconds")
        self.rate_limit = rate_limit
        self.time_window = time_window
        self._key = key or _client_key
        self._max_clients = max_clients
        self._has_warned = False
        self._clock = ContinuousClock()  # the application may be served again, in another run of trio
        # When each client connected, oldest first; the client that connected last stands last.
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    async def __call__(self, websocket: WebSocket, call_next: Next) -> Any:
        key = self._key(websocket)
        if key is None:
            self._warn_once()
            return await call_next(websocket)
        if self.admit(key, trio.current_time()):
            return await call_next(websocket)
        return await reject_with(websocket, End.of(Cause.RATE_LIMITED, "too many connections", CONNECTION_LIMIT_CODE))

    def _warn_once(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "connections without an address are not counted: set trusted_proxies=unix behind a Unix socket"
            )

    def admit(self, client: str, now: float) -> bool:
        """Count a connection of `client`, unless it is one too many.

        Args:
            now: seconds of trio's clock, in this run of it.
        """
        now = self._continued(now)
        times = [time for time in self._times.get(client, ()) if now - time < self.time_window]
        if len(times) >= self.rate_limit:
            return False
        times.append(now)
        self._times[client] = times
        self._times.move_to_end(client)
        if len(self._times) > self._max_clients:
            self._times.popitem(last=False)
        return True

    def _continued(self, now: float) -> float:
        """Return a time of this run's clock as one of a clock that goes on over all runs."""
        try:
            return now + (self._clock() - trio.current_time())
        except RuntimeError:  # outside of trio it is whatever the caller means by it
            return now


def _client_key(websocket: WebSocket) -> str | None:
    return client_key(websocket.scope, websocket.settings.trusted_proxies)


def _check_positive(name: str, value: float, unit: str) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number of {unit} above 0, not {value!r}")
