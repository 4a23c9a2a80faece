"""One client's end of an in-memory connection."""

import json
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

import trio
from trio.lowlevel import checkpoint

from ...asgi_types import ASGIApp
from ..checks.stacks import where
from ..errors import ConnectionOver, Denied, Unmet
from ..servers.table import SERVERS, ServerName
from .link import Goodbye, Hello, Letter, Link, Lost, Welcome

__all__ = ["Client"]


class Client:
    """One client's end of a connection. Made by `connect`.

    Every wait ends within its `timeout`, seconds of trio's clock; None takes the one given to `connect`. What did not
    come, and what came instead, is in the error.
    """

    def __init__(self, link: Link, app: ASGIApp, scope: dict[str, Any], server: ServerName, timeout: float) -> None:
        self.scope = scope
        self.timeout = timeout
        self.accepted_subprotocol: str | None = None
        self.accepted_headers: dict[str, str] = {}
        self.app_error: Exception | None = None
        self.end: Goodbye | None = None  # how the connection ended, as this client saw it
        self.note: Callable[[str, Any], None] = lambda what, data: None  # told of all that this client sees and does
        self.name = ""  # in the world that it lives in
        self.background: Callable[[], list[trio.lowlevel.Task]] = list  # of the application's other tasks
        self._link = link
        self._app = app
        self._server = SERVERS[server](link)
        self._welcome: Welcome | None = None
        self._inbox: deque[str | bytes] = deque()
        self._is_stalled = False
        self._hears_since = -inf  # seconds of trio's clock
        self._said_goodbye = False
        self._news = trio.Event()
        self._app_done = trio.Event()
        self._app_task: trio.lowlevel.Task | None = None
        link.down.on_arrival = self._pull

    def __repr__(self) -> str:
        state = f"closed {self.end.code}" if self.end else "open" if self._welcome else "connecting"
        return f"<Client {self.scope['path']} {state}>"

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
        await self._send(Letter(text), timeout)

    async def send_bytes(self, data: bytes, *, timeout: float | None = None) -> None:
        """Send a binary message. Otherwise as `send_text`."""
        await self._send(Letter(bytes(data)), timeout)

    async def send_json(self, data: Any, *, timeout: float | None = None) -> None:
        """Send compact JSON as a text message. Otherwise as `send_text`."""
        await self._send(Letter(json.dumps(data, separators=(",", ":"))), timeout)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, and wait until the server has answered, or is gone.

        Args:
            code: any, also what a server must not accept; 1005 sends an empty close frame.
        Raises: Unmet when the server does not answer in time.
        """
        if self.end is None and not self._said_goodbye:
            self._say_goodbye(Goodbye(code, reason))
        while self.end is None:
            await self._news_within(self.timeout, "the server's answer to a close frame")
        await checkpoint()

    # Faults

    def lose(self) -> None:
        """Vanish without a close frame, as a killed process does: the connection is reset."""
        self.note("vanishes", None)
        self._over(Goodbye(1006))
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

    # What `connect` uses

    async def run(self) -> None:
        self._app_task = trio.lowlevel.current_task()
        self._link.up.put_nowait(Hello())
        try:
            await self._server.run(self._app, self.scope)
        except Exception as error:
            self.app_error = error
        finally:
            self._app_done.set()
            self._tell()

    def cut_server(self) -> None:
        """The server is killed: nothing that it still sends gets out."""
        self._link.down.lose()
        self._link.up.shatter()

    def could_hear(self, since: float) -> bool:
        """Tell whether it must have got what was sent to it at `since` or later."""
        is_deaf = self.end is not None or self._is_stalled or self._link.down.is_held
        return not is_deaf and self._hears_since <= since

    async def shake_hands(self) -> None:
        await checkpoint()
        while self._welcome is None:
            if self.end is not None:
                raise self._gone("an answer to the handshake") from self.app_error
            await self._news_within(self.timeout, "an answer to the handshake")
        if self._welcome.status != 101:
            raise Denied(self._welcome.status, self._welcome.headers, self._welcome.body) from self.app_error
        self.accepted_subprotocol = self._welcome.subprotocol
        self.accepted_headers = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in self._welcome.headers}

    async def leave(self) -> None:
        """Go away as a browser tab does, and see that the application notices."""
        self.resume()
        self.heal()
        self.go_away()
        await self.app_finished()

    def go_away(self) -> None:
        if self.end is None and not self._said_goodbye:
            self._say_goodbye(Goodbye(1001))

    # Inside

    def _pull(self) -> None:
        while not self._is_stalled:
            item = self._link.down.take()
            if item is None:
                return
            match item:  # pyright: ignore[reportMatchNotExhaustive]
                case Welcome():
                    self._welcome = item
                    self.note("answered", item.status)
                    if item.status != 101:
                        self._over(Goodbye(1006))
                case Letter():
                    self.note("got", item.data)
                    self._inbox.append(item.data)
                case Goodbye():
                    self._over(item)
                    if not self._said_goodbye:
                        self._said_goodbye = True
                        self._link.up.put_nowait(item)
                case Lost():
                    self._over(Goodbye(1006))
            self._tell()

    def _say_goodbye(self, goodbye: Goodbye) -> None:
        self._said_goodbye = True
        self.note("closes", (goodbye.code, goodbye.reason))
        self._link.up.put_nowait(goodbye)

    def _over(self, end: Goodbye) -> None:
        if self.end is None:
            self.end = end
            self.note("ended", (end.code, end.reason))
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _send(self, item: Letter, timeout: float | None) -> None:
        if self._said_goodbye and self.end is None:
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

    async def _news_within(self, limit: float, expected: str) -> None:
        with trio.move_on_after(limit) as scope:
            await self._news.wait()
        if scope.cancelled_caught:
            raise Unmet(f"{expected} within {limit:g} s", *self._nothing()) from self.app_error

    def _gone(self, expected: str) -> ConnectionOver:
        end = self.end or Goodbye(1006)
        return ConnectionOver(expected, end.code, end.reason, self._stand())

    def _nothing(self) -> tuple[str, str]:
        return f"nothing came to {self.name} on {self.scope['path']}" if self.name else "nothing came", self._stand()

    def _stand(self) -> str:
        """Describe where the application stands, for errors."""
        if self.app_error is not None:
            return f"the application failed: {self.app_error!r}"
        if self._app_done.is_set() or self._app_task is None:
            return "the application is done with this connection"
        places = [f"the application's task stands at:\n{where(self._app_task)}"]
        places += [f"and its task {task.name} at:\n{where(task)}" for task in self.background()]
        return "\n".join(places)


def _shown(item: str | bytes) -> str:
    text = repr(item)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(item)} long)"
