"""Reading: the poller calls `ready`, one `recv` takes what is there, the parser puts messages into the inbox."""

import socket
import struct
from typing import Any

import trio

from ...config.settings import Settings
from ...core.lifecycle import Cause, End, Occurrence, Phase
from ...protocol.parser import PONG, FrameParser, Violation, close_frame, control_frame
from ..base import Scope
from ..epoll import BROKEN, PEER_LEFT, READ, WRITE, Poller
from .socket import RECEIVE_SIZE
from .writer import Writer

MAX_RECEIVE_SIZE = 65536  # of one long frame, which costs little to parse
MAX_PONGS = 16  # for one read
SENT_AT = struct.Struct("!d")  # the payload of our pings: seconds of trio's clock


class Reader(Writer):
    """The way in: what the poller and the parser call."""

    __slots__ = ("_is_silent", "_parser", "_ping", "_pongs", "latency", "on_message")

    def __init__(
        self, scope: Scope, settings: Settings, sock: socket.socket, poller: Poller, *, deflate: bool, **options: Any
    ) -> None:
        super().__init__(scope, settings, sock, poller, deflate=deflate, **options)
        self.on_message = self.inbox.put
        self._parser = FrameParser(self, settings.max_message_size, settings.max_fragments, deflate=deflate)
        self._is_silent = True  # nothing heard since the heartbeat's last look
        self._pongs: list[bytes] = []  # to be sent together; of a flood of pings, the last ones
        self._ping = b""  # the payload of the last one, until it is answered
        self.latency: float | None = None  # seconds, of the last ping that was answered

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
        if events & WRITE and not self._is_gone:
            self._resume_writing()

    def failed(self, error: Exception) -> None:
        self.kill(End.of(Cause.ABORTED))

    def _read(self) -> None:
        missing = self._parser.missing
        size = RECEIVE_SIZE if missing <= RECEIVE_SIZE else min(missing, MAX_RECEIVE_SIZE)
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
        self._heard(data)
        if len(data) == size == RECEIVE_SIZE and self._parser.missing > RECEIVE_SIZE and self.interest & READ:
            self._read()  # the rest of a long frame, which is likely there already

    def _heard(self, data: bytes) -> None:
        self._is_silent = False
        if self.lifecycle.phase is not Phase.CLOSED and not self._is_deaf:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            if self.lifecycle.end is None:
                self._parser.feed(data)
            else:
                self._parser.seek_close(data)
        except Violation as violation:
            self._is_deaf = True
            self._ended(Occurrence.LOCAL_CLOSE, violation.end)
            self._say_goodbye(close_frame(violation.end.code, violation.end.reason))
            return
        finally:
            if self._pongs:
                self._answer_pings()
        if self.is_full:
            self._watch(self.interest & ~READ)

    @property
    def is_full(self) -> bool:
        """The inbox takes no more for now."""
        return self.inbox.full and self.lifecycle.phase is Phase.OPEN

    def _peer_left(self) -> None:
        """The peer will send no more. What it sent before may still be unread, if the inbox is full."""
        if self.is_full:
            self._watch(self.interest & ~PEER_LEFT)
        else:
            self._lost()

    def _resume_reading(self) -> None:
        if self._is_gone or not self._is_begun:
            return
        if self._deflate and not self._is_deaf:
            self._feed(b"")  # compressed messages that had to wait
        if not self.is_full:
            self._watch(self.interest | READ)

    def on_ping(self, payload: bytes) -> None:
        pongs = self._pongs
        pongs.append(payload)
        if len(pongs) >= 2 * MAX_PONGS:
            del pongs[:MAX_PONGS]

    def _answer_pings(self) -> None:
        pongs = [control_frame(PONG, payload) for payload in self._pongs[-MAX_PONGS:]]
        self._pongs.clear()
        if self._clear:
            self._write(b"".join(pongs))
        elif self.lifecycle.phase is Phase.OPEN:
            self._urgent = pongs[-1]  # of several unanswered pings, the last one's suffices

    def on_pong(self, payload: bytes) -> None:
        if payload and payload == self._ping:
            self.latency = trio.current_time() - SENT_AT.unpack(payload)[0]
            self._ping = b""

    def on_close(self, code: int, reason: str) -> None:
        if self.lifecycle.phase is Phase.CLOSING:  # the answer to ours
            self.lifecycle.advance(Occurrence.CLOSED_CLEANLY)
            if self._goodbye_sent:
                self._let_go(reset=False)
            return
        if self._pongs:
            self._answer_pings()
        end = End.of(Cause.PEER_CLOSED, reason, code)
        self._ended(Occurrence.PEER_CLOSE, end)
        if self._outbox is not None:
            self._outbox.discard()
        self._say_goodbye(close_frame(end.code, end.reason))
        self.lifecycle.advance(Occurrence.CLOSED_CLEANLY)
        if self._goodbye_sent:
            self._let_go(reset=False)
