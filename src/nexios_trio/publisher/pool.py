"""Connections to one address that wait for their next request. What both publishers have in common."""

import os
import select
import ssl
from collections import deque
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from ..core.json import JsonDefault
from ..exceptions import LifecycleError
from .address import check_api_key, check_application, parse_address
from .attempts import Attempts, Patience
from .calls import Call
from .http11 import HttpConnection
from .messages import Answer, Refusal

__all__ = ["DEFAULT_ATTEMPT_TIMEOUT", "DEFAULT_DEADLINE", "Conversation", "Link", "PublisherBase"]

DEFAULT_DEADLINE: Final = 20.0
DEFAULT_ATTEMPT_TIMEOUT: Final = 6.0  # engines answer within five
MAX_IDLE: Final = 8
PUBLISHES: Final = ("publish", "batch")  # what a server does by itself


class Conversation(Protocol):
    """What is said on one connection, as bytes: a request, its answer, the next request."""

    @property
    def may_have_published(self) -> bool:
        """Something was said that does what was requested."""
        ...

    @property
    def is_reusable(self) -> bool:
        """The answer is complete, and another request may follow."""
        ...

    def request(self, name: str, body: bytes, nonce: bytes) -> bytes: ...

    def more(self) -> bytes: ...

    def receive(self, data: bytes) -> Answer | Refusal | None: ...


class Link(Protocol):
    """A connection. It belongs to one call at a time."""

    http: Conversation

    def fileno(self) -> int: ...

    def close(self) -> None:
        """End it, without waiting."""


L = TypeVar("L", bound=Link)


class PublisherBase(Generic[L]):
    """An address, and connections to it. See `Publisher`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        name: str | None = None,
        deadline: float = DEFAULT_DEADLINE,
        attempt_timeout: float = DEFAULT_ATTEMPT_TIMEOUT,
        unix_socket: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        json_default: JsonDefault | None = None,
    ) -> None:
        self._address = parse_address(url, unix_socket, ssl_context)
        if self._address.engine is None:
            self._secret = check_api_key(api_key)
            if name is not None:
                raise ValueError("name is for the address of an engine; that of mount_api leads to one application")
        else:
            self._secret = check_application(name)
            if api_key is not None:
                raise ValueError("api_key is that of mount_api; a server's password is in its address")
        self._patience = Patience(deadline, attempt_timeout)
        self._json_default = json_default
        self._idle: deque[L] = deque()
        self._is_closed = False
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, and publish no more. What is under way ends as it would. Idempotent."""
        self._is_closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, deque()
        for link in idle:
            link.close()

    def _converse(self) -> Conversation:
        """Begin to talk on a new connection."""
        engine = self._address.engine
        if engine is None:
            return HttpConnection(self._address, self._secret)
        from .redis import RedisConversation  # an extra

        return RedisConversation(engine, self._secret)

    def _attempts(self, now: float, call: Call[Any]) -> Attempts:
        """Raises: LifecycleError after `close`; PublishError for what no engine can do."""
        if self._is_closed:
            raise LifecycleError(f"{self!r} is closed")
        attempts = Attempts(self._patience, now + self._patience.deadline, str(self._address), call.key, call.before)
        if self._address.engine is not None and call.name not in PUBLISHES:
            attempts.pause(Refusal(f"{call.name} is asked of the application, at its mount_api", may_help=False), now)
        return attempts

    def _take(self) -> L | None:
        """Return a connection that waits, for the caller alone."""
        if self._pid != os.getpid():  # a fork: the connections are the parent's
            self._drop_idle()
            self._pid = os.getpid()
        while self._idle:
            try:
                link = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if _is_quiet(link):
                return link
            link.close()
        return None

    def _give_back(self, link: L) -> None:
        """Keep a connection for the next request, if it can have one."""
        if link.http.is_reusable and not self._is_closed and len(self._idle) < MAX_IDLE:
            self._idle.append(link)
        else:
            link.close()


def _is_quiet(link: Link) -> bool:
    """Tell whether the server has said nothing: it only would to end the connection."""
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    return not poll.poll(0)
