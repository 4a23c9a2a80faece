"""The client's end of a connection without its calls: what comes is taken, and answered, by itself."""

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
from .link import CloseFrame, DataMessage, EndOfStream, HandshakeRequest, HandshakeResponse, Link

__all__ = ["ClientEndpoint"]


class ClientEndpoint:
    """For `connect` and worlds, which run it. `Client` has what tests call."""

    def __init__(self, link: Link, app: ASGIApp, scope: dict[str, Any], server: ServerName, timeout: float) -> None:
        self.scope = scope
        self.timeout = timeout
        self.accepted_subprotocol: str | None = None
        self.accepted_headers: dict[str, str] = {}
        self.app_error: Exception | None = None
        self.end: CloseFrame | None = None  # how the connection ended, as this client saw it
        self.note: Callable[[str, Any], None] = lambda what, data: None  # told of all that this client sees and does
        self.name = ""  # in the world that it lives in
        self.background: Callable[[], list[trio.lowlevel.Task]] = list  # of the application's other tasks
        self._link = link
        self._app = app
        self._server = SERVERS[server](link)
        self._welcome: HandshakeResponse | None = None
        self._inbox: deque[str | bytes] = deque()
        self._is_stalled = False
        self._hears_since = -inf  # seconds of trio's clock
        self._has_sent_close = False
        self._news = trio.Event()
        self._app_done = trio.Event()
        self._app_task: trio.lowlevel.Task | None = None
        link.down.on_arrival = self._pull

    def __repr__(self) -> str:
        state = f"closed {self.end.code}" if self.end else "open" if self._welcome else "connecting"
        return f"<Client {self.scope['path']} {state}>"

    # What `connect` uses

    async def run(self) -> None:
        self._app_task = trio.lowlevel.current_task()
        self._link.up.put_nowait(HandshakeRequest())
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

    def abandon(self) -> None:
        """Nobody is there any more: no send waits for this client, whatever it has read."""
        self._link.up.lose()
        self._link.down.shatter()

    def must_have_received(self, since: float) -> bool:
        """Tell whether it must have got what was sent to it at `since` or later."""
        is_deaf = self.end is not None or self._is_stalled or self._link.down.is_held
        return not is_deaf and self._hears_since <= since

    async def wait_for_handshake(self) -> None:
        await checkpoint()
        while self._welcome is None:
            if self.end is not None:
                raise self._gone("an answer to the handshake") from self.app_error
            await self._news_within(self.timeout, "an answer to the handshake")
        if self._welcome.status != 101:
            raise Denied(self._welcome.status, self._welcome.headers, self._welcome.body) from self.app_error
        self.accepted_subprotocol = self._welcome.subprotocol
        self.accepted_headers = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in self._welcome.headers}

    def close_as_tab(self) -> None:
        if self.end is None and not self._has_sent_close:
            self._send_close(CloseFrame(1001))

    # Inside

    def _pull(self) -> None:
        while not self._is_stalled:
            item = self._link.down.take()
            if item is None:
                return
            match item:  # pyright: ignore[reportMatchNotExhaustive]
                case HandshakeResponse():
                    self._welcome = item
                    self.note("answered", item.status)
                    if item.status != 101:
                        self._over(CloseFrame(1006))
                case DataMessage():
                    self.note("got", item.data)
                    self._inbox.append(item.data)
                case CloseFrame():
                    self._over(item)
                    if not self._has_sent_close:
                        self._has_sent_close = True
                        self._link.up.put_nowait(item)
                case EndOfStream():
                    self._over(CloseFrame(1006))
            self._tell()

    def _send_close(self, goodbye: CloseFrame) -> None:
        self._has_sent_close = True
        self.note("closes", (goodbye.code, goodbye.reason))
        self._link.up.put_nowait(goodbye)

    def _over(self, end: CloseFrame) -> None:
        if self.end is None:
            self.end = end
            self.note("ended", (end.code, end.reason))
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _news_within(self, limit: float, expected: str) -> None:
        with trio.move_on_after(limit) as scope:
            await self._news.wait()
        if scope.cancelled_caught:
            raise Unmet(f"{expected} within {limit:g} s", *self._nothing()) from self.app_error

    def _gone(self, expected: str) -> ConnectionOver:
        end = self.end or CloseFrame(1006)
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
