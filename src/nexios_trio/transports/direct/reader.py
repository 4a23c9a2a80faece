"""Reading: the poller calls `ready`, one `recv` takes what is there, the parser puts messages into the inbox."""

import socket
from typing import Final

import trio

from ...asgi_types import Scope
from ...config.settings import Settings
from ...core.lifecycle import Cause, End, Occurrence, Phase
from ...protocol.frames import PONG, Violation, close_frame, control_frame
from ...protocol.parser import FrameParser
from ..base import MessageSink
from ..epoll import BROKEN, PEER_LEFT, READ, WRITE, Poller
from .closing import ClosingWriter, Refusal
from .socket import RECEIVE_BYTES
from .states import State, Step
from .writer import SENT_AT

MAX_RECEIVE_BYTES: Final = 65536  # of one long frame, which costs little to parse
MAX_PONGS_PER_READ: Final = 16


class Reader(ClosingWriter):
    """The way in: what the poller and the parser call."""

    __slots__ = ("_is_silent", "_parser", "_pongs", "_sink", "latency", "on_message", "pong_at")

    def __init__(
        self,
        scope: Scope,
        settings: Settings,
        sock: socket.socket,
        poller: Poller,
        *,
        deflate: bool,
        refuse: Refusal | None,
    ) -> None:
        super().__init__(scope, settings, sock, poller, deflate=deflate, refuse=refuse)
        # The read seam: the parser calls this with each message. It is `Inbox.put`, which hands the message to the task
        # that waits in `Inbox.get`; put here, and once more by `adopt`, which brings another inbox.
        self.on_message = self.inbox.put
        self._sink: MessageSink | None = None  # whose `put` it is instead, while there is one
        self._parser = FrameParser(self, settings.max_message_size, settings.max_fragments, deflate=deflate)
        self._is_silent = True  # nothing heard since the heartbeat's last look
        self._pongs: list[bytes] | None = None  # to be sent together; of a flood of pings, the last ones
        self.latency: float | None = None  # seconds, of the last ping that was answered
        self.pong_at: float | None = None

    def ready(self, events: int) -> None:
        if events == READ:
            self._read()
            return
        if events & READ:
            self._read()
        elif events & BROKEN:
            self._lost()
        elif events & PEER_LEFT:
            self._peer_left()
        if events & WRITE and self.state is not State.GONE:
            self._resume_writing()

    def failed(self, error: Exception) -> None:
        self.kill(End.of(Cause.ABORTED))

    def _read(self) -> None:
        missing = self._parser.missing
        size = RECEIVE_BYTES if missing <= RECEIVE_BYTES else min(missing, MAX_RECEIVE_BYTES)
        try:
            data = self._sock_recv(size)
        except BlockingIOError:
            return
        except OSError:
            self._lost()
            return
        if not data:
            self._lost()
            return
        self._is_silent = False
        self._feed(data)
        if len(data) == size == RECEIVE_BYTES and self._parser.missing > RECEIVE_BYTES and self.interest & READ:
            self._read()  # the rest of a long frame, which is likely there already

    def _feed(self, data: bytes) -> None:
        """Parse what came, as far as it still has a meaning."""
        try:
            if self.state.hears_messages:
                self._parser.feed(data)
            elif self.state.hears_close:
                self._parser.seek_close(data)
            else:
                return
        except Violation as violation:
            self._violated(violation.end)
            return
        finally:
            if self._pongs:
                self._answer_pings()
        if self._sink is not None:
            self._sink.turn_calls = 0
        if self.inbox.full and self.is_full:
            self._watch(self.interest & ~READ)

    def divert(self, sink: MessageSink | None) -> None:
        self._sink = sink
        self.on_message = self.inbox.put if sink is None else sink.put

    def _violated(self, end: End) -> None:
        if self._ended(Occurrence.LOCAL_CLOSE, end):
            self._queue_goodbye(self._goodbye_for(end), Step.VIOLATION)
            return
        self._move(Step.VIOLATION)  # in place of the peer's close frame
        if self.state is State.HALF_CLOSED:
            self._shut_down_writing()

    @property
    def is_full(self) -> bool:
        """The inbox takes no more for now."""
        return self.inbox.full and self.lifecycle.phase is Phase.OPEN

    def _peer_left(self) -> None:
        """End, unless there is more to read: the peer will send no more, but if the inbox is full, we have not read
        all that it sent before.
        """
        if self.is_full:
            self._watch(self.interest & ~PEER_LEFT)
        else:
            self._lost()

    def _resume_reading(self) -> None:
        if self.state.is_http or self.state is State.GONE:
            return
        if self._deflate and self.state.hears_messages:
            self._feed(b"")  # compressed messages that had to wait
        if not self.is_full:
            self._watch(self.interest | READ)

    def on_ping(self, payload: bytes) -> None:
        pongs = self._pongs
        if pongs is None:
            pongs = self._pongs = []
        pongs.append(payload)
        if self._sink is not None:
            self.on_message = self._put_behind_pongs
        if len(pongs) >= 2 * MAX_PONGS_PER_READ:
            del pongs[:MAX_PONGS_PER_READ]

    def _put_behind_pongs(self, item: str | bytes) -> None:
        """Answer the pings that came before a message, ahead of what the sink says to it."""
        self._answer_pings()
        self.on_message(item)

    def _answer_pings(self) -> None:
        pongs = [control_frame(PONG, payload) for payload in (self._pongs or ())[-MAX_PONGS_PER_READ:]]
        self._pongs = None
        if self._sink is not None:
            self.on_message = self._sink.put
        if self.state is State.CLEAR:
            self._write(b"".join(pongs))
        elif self.state is State.BACKLOG:
            self._pong = pongs[-1]  # of several unanswered pings, the last one's suffices

    def on_pong(self, payload: bytes) -> None:
        self.pong_at = trio.current_time()
        if payload and payload == self._ping:
            self.latency = self.pong_at - SENT_AT.unpack(payload)[0]
            self._ping = b""

    def on_close(self, code: int, reason: str) -> None:
        if self.state is State.CLOSE_SENT:  # the answer to ours
            self.lifecycle.advance(Occurrence.CLOSED_CLEANLY)
            self._let_go(reset=False)
            return
        if self.state is State.CLOSING:  # the same, but what comes before ours is still on its way
            self.lifecycle.advance(Occurrence.CLOSED_CLEANLY)
            self._move(Step.PEER_CLOSE)
            return
        if self._pongs:
            self._answer_pings()
        end = End.of(Cause.PEER_CLOSED, reason, code)
        self._ended(Occurrence.PEER_CLOSE, end)
        if self._outbox is not None:
            self._outbox.discard()
        self.lifecycle.advance(Occurrence.CLOSED_CLEANLY)
        self._queue_goodbye(close_frame(end.code, end.reason), Step.PEER_CLOSE)
