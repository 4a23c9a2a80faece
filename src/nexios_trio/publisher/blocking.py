"""`Publisher`: for programs that know nothing of trio. It blocks its thread, for bounded time."""

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

from ..core.present_user import PresentUser
from .address import Address
from .calls import Call, batch_call, disconnect_call, presence_call, publish_call, unsubscribe_call
from .http11 import UnreadableAnswer
from .messages import Answer, GroupMessage, PublishReceipt, Refusal, batches, encode_message
from .pool import Conversation, PublisherBase

__all__ = ["Publisher"]

T = TypeVar("T")

READ_BYTES = 65_536


class _Link:
    def __init__(self, sock: socket.socket, http: Conversation) -> None:
        self.http = http
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def exchange(self, call: Call[Any], until: float) -> Answer | Refusal:
        """Raises: OSError, UnreadableAnswer."""
        data = self.http.request(call.name, call.body, call.nonce)
        while True:
            if data:
                self._sock.settimeout(_left(until))
                self._sock.sendall(data)
            self._sock.settimeout(_left(until))
            answer = self.http.receive(self._sock.recv(READ_BYTES))
            if answer is not None:
                return answer
            data = self.http.more()


class Publisher(PublisherBase[_Link]):
    """Publishes to groups of an application from outside, through its `mount_api`, or by the server of its engine.

    Retries what may help (a lost connection, no answer, 408, 429, 502 to 504) with the same key, so that a message
    reaches nobody twice. Connections are kept for the next request. It may be used as a block, which ends with `close`.

    Args:
        url: the address of `mount_api`: "https://example.com/api"; or that of the application's engine, as
            "redis://127.0.0.1", by which is published, and nothing else.
        api_key: the key that `mount_api` was given, or one of them.
        name: of the application, with the address of an engine: `NexiosApp(name=)`, or what it is imported by.
        deadline: seconds for a publish with its retries, and for each 200 messages of a batch; less than 300. To find
            the address of a name takes what it takes the system.
        attempt_timeout: seconds for one attempt.
        unix_socket: the server's socket, a file. The host of the url then counts for its header alone.
        ssl_context: for https; by default the system's authorities are trusted, or those of SSL_CERT_FILE.
        json_default: see `ChannelBox`.
    Raises: TypeError, ValueError, naming what is accepted.
    Concurrency: any threads at the same time. A child after a fork has connections of its own.
    """

    def publish(
        self, group: str, payload: Any, *, key: str | None = None, save_history: bool = False, transient: bool = False
    ) -> PublishReceipt:
        """Publish one message, and wait until it has its position.

        Args:
            payload: anything that JSON can carry, or bytes.
            key: a name for this message, of up to 200 characters, such as "order-7-paid": a program that dies and
                begins again publishes it once within five minutes. One is made up for the retries of this call.
            save_history, transient: see `ChannelBox.group_send`.
        Raises: PublishError; TypeError, ValueError for what is not accepted; LifecycleError after `close`.
        """
        message = GroupMessage(group, payload, key, save_history, transient)
        [receipt] = self._call(publish_call(message, self._json_default))
        return receipt

    def publish_batch(self, messages: Iterable[GroupMessage]) -> list[PublishReceipt]:
        """Publish several, in order, with few requests. After one that fails, the rest is not tried.

        Raises: as `publish`; what is not accepted is found before anything is sent.
        """
        encoded = [encode_message(message, self._json_default) for message in messages]
        receipts: tuple[PublishReceipt, ...] = ()
        for batch in batches(encoded):
            receipts += self._call(batch_call(batch, receipts))
        return list(receipts)

    def presence(self, group: str) -> list[PresentUser]:
        """Return who is present in a group whose presence the application keeps, on all of its nodes.

        As `ChannelBox.presence`. Raises: as `disconnect`.
        """
        return self._call(presence_call(group))

    def disconnect(self, user: str | int | UUID, reason: str = "", code: int = 1000) -> int:
        """Close all connections of a user, on all nodes; each peer sees the code and the reason.

        A retry, also one of this call's own, closes those that have come since.

        Args:
            user: the id, as a str, an int or a UUID.
        Returns: how many there were, at the attempt that was answered. As `UserConnections.disconnect`.
        Raises: PublishError; TypeError, ValueError for what is not accepted; LifecycleError after `close`.
        """
        return self._call(disconnect_call(user, reason, code))

    def unsubscribe(self, user: str | int | UUID, group: str) -> int:
        """Let all connections of a user leave a group, on all nodes; how many channels have.

        As `UserConnections.unsubscribe`. Raises: as `disconnect`.
        """
        return self._call(unsubscribe_call(user, group))

    def _call(self, call: Call[T]) -> T:
        attempts = self._attempts(time.monotonic(), call)
        while True:
            found = self._try(call, time.monotonic() + attempts.seconds(time.monotonic()))
            if isinstance(found, Answer):
                read = call.read(found)
                if not isinstance(read, Refusal):
                    return read
                found = read
            time.sleep(attempts.pause(found, time.monotonic()))

    def _try(self, call: Call[Any], until: float) -> Answer | Refusal:
        link = self._take()
        if link is None:
            try:
                link = _Link(_connect(self._address, until), self._converse())
            except OSError as error:
                return Refusal(f"cannot connect: {_text(error)}", may_help=not isinstance(error, ssl.SSLError))
        try:
            answer = link.exchange(call, until)
        except UnreadableAnswer as error:
            link.close()
            return Refusal(str(error), maybe_published=link.http.may_have_published, may_help=error.may_help)
        except OSError as error:
            link.close()
            return Refusal(_text(error), maybe_published=link.http.may_have_published)
        except BaseException:  # of a signal
            link.close()
            raise
        self._give_back(link)
        return answer


def _connect(address: Address, until: float) -> socket.socket:
    """Raises: OSError."""
    if address.unix_socket is not None:
        places: list[Any] = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", address.unix_socket)]
    else:
        places = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    failed: OSError | None = None
    for number, (family, kind, protocol, _, where) in enumerate(places):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(until) / (len(places) - number))
            sock.connect(where)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _secured(sock, address, until)
        except OSError as error:
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
    raise failed or OSError("there is no such host")


def _secured(sock: socket.socket, address: Address, until: float) -> socket.socket:
    if address.ssl_context is None:
        return sock
    sock.settimeout(_left(until))
    return address.ssl_context.wrap_socket(sock, server_hostname=address.host)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _text(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
