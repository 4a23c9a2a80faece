"""One client's end of an in-memory connection."""

import json
from typing import Any

import trio
from trio.lowlevel import checkpoint

from ..errors import Unmet
from .endpoint import ClientEndpoint
from .link import CloseFrame, DataMessage

__all__ = ["Client"]


class Client(ClientEndpoint):
    """One client's end of a connection. Made by `connect`.

    Every wait ends within its `timeout`, seconds of trio's clock; None takes the one given to `connect`. What did not
    come, and what came instead, is in the error.
    """

    # Receiving

    async def receive(self, *, timeout: float | None = None) -> str | bytes:
        """The next message: str for text, bytes for binary.

        Cancellation: nothing is lost. Raises: Unmet; ConnectionOver when the connection has ended.
        """
        return await self._next("a message", timeout)

    async def receive_text(self, *, timeout: float | None = None) -> str:
        """The next message, which must be text."""
        item = await self._next("a text message", timeout)
        if isinstance(item, str):
            return item
        raise Unmet("a text message", f"a binary one came: {_shown(item)}")

    async def receive_bytes(self, *, timeout: float | None = None) -> bytes:
        """The next message, which must be binary."""
        item = await self._next("a binary message", timeout)
        if isinstance(item, bytes):
            return item
        raise Unmet("a binary message", f"a text one came: {_shown(item)}")

    async def receive_json(self, *, timeout: float | None = None) -> Any:
        """The next message, text or binary, decoded from JSON."""
        item = await self._next("a JSON message", timeout)
        try:
            return json.loads(item)
        except ValueError as error:
            raise Unmet("a JSON message", f"this came: {_shown(item)} ({error})") from None

    async def receive_close(self, *, timeout: float | None = None) -> tuple[int, str]:
        """The code and reason that the server closes with, which must come before any other message.

        Returns: 1006 and "" when the connection was lost without a close frame.
        """
        await self._wait("the connection to be closed", timeout)
        if self._inbox:
            raise Unmet("the connection to be closed", f"a message came: {_shown(self._inbox[0])}")
        assert self.end is not None
        return self.end.code, self.end.reason

    async def expect_nothing(self, seconds: float = 0.1) -> None:
        """Fail if anything comes within the time."""
        with trio.move_on_after(seconds):
            await self._wait("nothing", trio.current_effective_deadline() - trio.current_time() + 1)
            came = f"{_shown(self._inbox[0])} came" if self._inbox else f"the connection ended with {self.end}"
            raise Unmet(f"nothing for {seconds:g} s", came)

    def unread(self) -> list[str | bytes]:
        """Return what has come and was not received yet."""
        return list(self._inbox)

    # Sending

    async def send_text(self, text: str, *, timeout: float | None = None) -> None:
        """Send a text message; waits while the server does not read.

        Raises: Unmet when it takes too long; ConnectionOver when the connection has ended.
        """
        await self._send(DataMessage(text), timeout)

    async def send_bytes(self, data: bytes, *, timeout: float | None = None) -> None:
        """Send a binary message. Otherwise as `send_text`."""
        await self._send(DataMessage(bytes(data)), timeout)

    async def send_json(self, data: Any, *, timeout: float | None = None) -> None:
        """Send compact JSON as a text message. Otherwise as `send_text`."""
        await self._send(DataMessage(json.dumps(data, separators=(",", ":"))), timeout)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, and wait until the server has answered, or is gone.

        Args:
            code: any, also what a server must not accept; 1005 sends an empty close frame.
        Raises: Unmet when the server does not answer in time.
        """
        if self.end is None and not self._has_sent_close:
            self._send_close(CloseFrame(code, reason))
        while self.end is None:
            await self._news_within(self.timeout, "the server's answer to a close frame")
        await checkpoint()

    # Faults

    def lose(self) -> None:
        """Vanish without a close frame, as a killed process does: the connection is reset."""
        self.note("vanishes", None)
        self._over(CloseFrame(1006))
        self._link.up.lose()

    def stall(self) -> None:
        """Stop reading: once the buffer between is full, the server's sends block."""
        self.note("stops reading", None)
        self._is_stalled = True

    def resume(self) -> None:
        """Read again, after `stall`."""
        if self._is_stalled:
            self.note("reads again", None)
            self._is_stalled = False
            self._hears_since = trio.current_time()
            self._pull()

    def half_open(self) -> None:
        """Unplug the cable: nothing arrives in either direction, and nobody is told."""
        self.note("is cut off", None)
        self._link.hold(True)

    def heal(self) -> None:
        """End `half_open`: what was sent meanwhile arrives."""
        if self._link.up.is_held:
            self.note("is connected again", None)
            self._hears_since = trio.current_time()
            self._link.hold(False)

    # The application's side

    async def app_finished(self, *, timeout: float | None = None) -> None:
        """Wait until the application is done with this connection.

        Raises: Unmet when that takes too long; it says where the application stands.
        """
        limit = self.timeout if timeout is None else timeout
        with trio.move_on_after(limit) as scope:
            await self._app_done.wait()
        if scope.cancelled_caught:
            raise Unmet(f"the application to be done with {self.scope['path']} within {limit:g} s", *self._nothing())

    # For `connect`

    async def leave(self) -> None:
        """Go away as a browser tab does, and see that the application notices."""
        self.resume()
        self.heal()
        self.close_as_tab()
        await self.app_finished()

    # Inside

    async def _send(self, item: DataMessage, timeout: float | None) -> None:
        if self._has_sent_close and self.end is None:
            raise Unmet("to send a message", "this client has said goodbye")
        limit = self.timeout if timeout is None else timeout
        if self.end is not None:
            raise self._gone("to send a message") from self.app_error
        with trio.move_on_after(limit) as scope:
            try:
                self.note("sends", item.data)
                await self._link.up.put(item)
            except trio.BrokenResourceError:
                raise self._gone("to send a message") from self.app_error
        if scope.cancelled_caught:
            raise Unmet(f"the server to read within {limit:g} s", "it did not", self._stand()) from self.app_error

    async def _next(self, expected: str, timeout: float | None) -> str | bytes:
        await self._wait(expected, timeout)
        if self._inbox:
            return self._inbox.popleft()
        raise self._gone(expected) from self.app_error

    async def _wait(self, expected: str, timeout: float | None) -> None:
        """Until there is a message or the end."""
        if self._inbox or self.end is not None:
            await checkpoint()
        while not self._inbox and self.end is None:
            await self._news_within(self.timeout if timeout is None else timeout, expected)


def _shown(item: str | bytes) -> str:
    text = repr(item)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(item)} long)"
