"""One end of the pair of sockets between a worker and the hub: a task that reads, and a queue with a task that writes.

What is put into the queue between two passes of the scheduler goes out in one piece, and what has come is taken in
pieces, with a checkpoint between. So however much there is to say, others get their turn.
"""

import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

import trio

from .frames import Frame, FrameReader, UnreadableFrame

__all__ = ["HubSocket"]

logger = logging.getLogger("nexios_trio.workers")

RECEIVE_BYTES: Final = 262_144
SEND_BYTES: Final = 262_144  # joined into one piece
FRAMES_PER_TURN: Final = 64  # that are handled between two checkpoints


class HubSocket:
    """Frames to and from the other end.

    Args:
        handle: called with each frame; synchronous.
    """

    def __init__(self, sock: socket.socket, handle: Callable[[Frame], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._handle = handle
        self._frames: deque[bytes] = deque()
        self._sleeping = trio.lowlevel.ParkingLot()
        self.queued = 0  # bytes that the kernel has not taken
        self.sent = 0  # bytes that it has, ever

    def put(self, frame: bytes) -> None:
        """Queue a frame."""
        self._frames.append(frame)
        self.queued += len(frame)
        if self._sleeping:
            self._sleeping.unpark_all()

    async def write(self, on_room: Callable[[], None] | None = None) -> None:
        """Send what is queued, until the other end is gone.

        Args:
            on_room: called whenever a piece has gone out.
        """
        while True:
            if not self._frames:
                await self._sleeping.park()
            piece = self._next_piece()
            if not await self._send(piece):
                return
            if on_room is not None:
                try:
                    on_room()
                except Exception:
                    logger.exception("what a worker has missed could not be given to it")
            await trio.lowlevel.checkpoint()

    def _next_piece(self) -> bytes:
        frames, size = [self._frames.popleft()], 0
        size = len(frames[0])
        while self._frames and size + len(self._frames[0]) <= SEND_BYTES:
            frames.append(self._frames.popleft())
            size += len(frames[-1])
        return frames[0] if len(frames) == 1 else b"".join(frames)

    async def _send(self, piece: bytes) -> bool:
        rest = memoryview(piece)
        while rest:
            try:
                sent = self._sock.send(rest)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
            except OSError:
                return False
            else:
                rest = rest[sent:]
                self.queued -= sent
                self.sent += sent
        return True

    async def read(
        self, after_turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint, max_queued: float = inf
    ) -> None:
        """Handle what comes, until the other end is gone, or says what cannot be read.

        Args:
            after_turn: awaited behind every `FRAMES_PER_TURN` frames, and behind all that have come together.
            max_queued: bytes; while more is queued for the other end, it is awaited behind each frame.
        """
        try:
            await self._read(FrameReader(), after_turn, max_queued)
        except UnreadableFrame as error:
            logger.critical("the line between a worker and its parent ends, since it carries no frame: %s", error)

    async def _read(self, reader: FrameReader, after_turn: Callable[[], Awaitable[None]], max_queued: float) -> None:
        while True:
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
                continue
            except OSError:
                return
            if not data:
                return
            for count, frame in enumerate(reader.feed(data), 1):
                try:
                    self._handle(frame)
                except Exception:  # one message is lost, and not the line
                    logger.exception("a frame of kind %d could not be handled", frame.kind)
                if not count % FRAMES_PER_TURN or self.queued > max_queued:
                    await after_turn()
            await after_turn()
