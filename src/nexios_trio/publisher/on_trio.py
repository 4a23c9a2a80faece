"""`TrioPublisher`: the same for programs on trio that are not the application."""

import os
import ssl
from collections.abc import Iterable
from typing import Any, Final, TypeVar
from uuid import UUID

import trio

from ..core.present_user import PresentUser
from .address import Address
from .calls import Call, batch_call, disconnect_call, presence_call, publish_call, unsubscribe_call
from .http11 import UnreadableAnswer
from .messages import Answer, GroupMessage, PublishReceipt, Refusal, batches, encode_message
from .pool import Conversation, PublisherBase

__all__ = ["TrioPublisher"]

T = TypeVar("T")

READ_BYTES: Final = 65_536
MAX_CONNECTIONS: Final = 16  # at a time, of one publisher


class _Link:
    def __init__(self, sock: trio.socket.SocketType, stream: trio.abc.Stream, http: Conversation) -> None:
        self.http = http
        self._sock = sock
        self._stream = stream

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        if trio.lowlevel.in_trio_run():
            self._sock.close()
        else:
            os.close(self._sock.detach())  # nobody can be waiting for it

    async def exchange(self, call: Call[Any]) -> Answer | Refusal:
        """Raises: trio.BrokenResourceError, UnreadableAnswer."""
        data = self.http.request(call.name, call.body, call.nonce)
        while True:
            if data:
                await self._stream.send_all(data)
            answer = self.http.receive(bytes(await self._stream.receive_some(READ_BYTES)))
            if answer is not None:
                return answer
            data = self.http.more()


class TrioPublisher(PublisherBase[_Link]):
    """Publishes to groups of an application from another program on trio. Args, Raises: as `Publisher`.

    Concurrency: any tasks of one run of trio; more than 16 wait for each other.
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._places = trio.Semaphore(MAX_CONNECTIONS)

    async def publish(
        self, group: str, payload: Any, *, key: str | None = None, save_history: bool = False, transient: bool = False
    ) -> PublishReceipt:
        """Publish one message, and wait until it has its position. See `Publisher.publish`.

        Checkpoint: always. Cancellation: it may be published; its connection is closed.
        Raises: PublishError; TypeError, ValueError for what is not accepted; LifecycleError after `close`.
        """
        message = GroupMessage(group, payload, key, save_history, transient)
        [receipt] = await self._call(publish_call(message, self._json_default))
        return receipt

    async def publish_batch(self, messages: Iterable[GroupMessage]) -> list[PublishReceipt]:
        """Publish several, in order, with few requests. After one that fails, the rest is not tried.

        Checkpoint: always. Cancellation: some may be published. Raises: as `publish`; what is not accepted is found
        before anything is sent.
        """
        encoded = [encode_message(message, self._json_default) for message in messages]
        await trio.lowlevel.checkpoint()
        receipts: tuple[PublishReceipt, ...] = ()
        for batch in batches(encoded):
            receipts += await self._call(batch_call(batch, receipts))
        return list(receipts)

    async def presence(self, group: str) -> list[PresentUser]:
        """Return who is present in a group. See `Publisher.presence`.

        Checkpoint: always. Raises: as `disconnect`.
        """
        return await self._call(presence_call(group))

    async def disconnect(self, user: str | int | UUID, reason: str = "", code: int = 1000) -> int:
        """Close all connections of a user, on all nodes. See `Publisher.disconnect`.

        Checkpoint: always. Cancellation: it may be done. Raises: PublishError; TypeError, ValueError for what is not
            accepted; LifecycleError after `close`.
        """
        return await self._call(disconnect_call(user, reason, code))

    async def unsubscribe(self, user: str | int | UUID, group: str) -> int:
        """Let all connections of a user leave a group, on all nodes. See `Publisher.unsubscribe`.

        Checkpoint: always. Cancellation: it may be done. Raises: as `disconnect`.
        """
        return await self._call(unsubscribe_call(user, group))

    async def _call(self, call: Call[T]) -> T:
        attempts = self._attempts(trio.current_time(), call)
        while True:
            found = await self._try(call, attempts.seconds(trio.current_time()))
            if isinstance(found, Answer):
                read = call.read(found)
                if not isinstance(read, Refusal):
                    return read
                found = read
            await trio.sleep(attempts.pause(found, trio.current_time()))

    async def _try(self, call: Call[Any], seconds: float) -> Answer | Refusal:
        link: _Link | None = None
        try:
            with trio.move_on_after(seconds):
                async with self._places:
                    link = self._take() or await _connect(self._address, self._converse())
                    answer = await link.exchange(call)
                    self._give_back(link)
                    link = None
                    return answer
            return Refusal("no answer in time", maybe_published=_may_have_published(link))
        except UnreadableAnswer as error:
            return Refusal(str(error), maybe_published=_may_have_published(link), may_help=error.may_help)
        except (trio.BrokenResourceError, OSError) as error:
            cause = error.__cause__ or error
            if link is not None:
                return Refusal(_text(cause), maybe_published=link.http.may_have_published)
            return Refusal(f"cannot connect: {_text(cause)}", may_help=not isinstance(cause, ssl.SSLError))
        finally:
            if link is not None:
                link.close()


def _may_have_published(link: _Link | None) -> bool:
    return link is not None and link.http.may_have_published


async def _connect(address: Address, http: Conversation) -> _Link:
    """Raises: OSError; trio.BrokenResourceError from what the TLS handshake failed of."""
    if address.unix_socket is not None:
        stream = await trio.open_unix_socket(address.unix_socket)
    else:
        stream = await trio.open_tcp_stream(address.host, address.port)
    if address.ssl_context is None:
        return _Link(stream.socket, stream, http)
    secured = trio.SSLStream(stream, address.ssl_context, server_hostname=address.host, https_compatible=True)
    try:
        await secured.do_handshake()
    except BaseException:
        stream.socket.close()
        raise
    return _Link(stream.socket, secured, http)


def _text(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):  # one for each address of a name
        error = error.exceptions[0]
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
