"""One connection to a Redis or Valkey server: commands go out; their answers and what is published come in.

    post      queues a command, and remembers who is to be told its answer; synchronous
    writer    sends all that waits, at once
    reader    gives each answer to whoever has waited longest, and what is published to `on_message`

The server answers in the order in which it was asked, and what it publishes has its place between the answers: all that
is on one line is in one order. Who stops waiting takes nothing from others; the answer is dropped when it comes. A link
never comes back: when it is lost, all who wait are told, and whoever wants to go on opens another one.
Why this is no library of somebody else's: docs/decisions/012-redis-link.md.
"""

import copy
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis
import trio

from ...exceptions import EngineError

__all__ = ["LinkLost", "RedisLink", "RedisRefusal", "pack_words"]

logger = logging.getLogger("nexios_trio.box")

RECEIVE_BYTES: Final = 65_536
SEND_BYTES: Final = 262_144  # joined into one send; a command that is larger is one by itself

# Called once, with the answer, a RedisRefusal or a LinkLost. It does not raise, and does not block.
Then = Callable[[Any], None]
Word = bytes | str | int

_NOTHING: Final = object()
pack_words: Final[Callable[[tuple[Word, ...]], bytes]] = cast(Any, hiredis).pack_command  # its stub allows one word


class LinkLost(EngineError):
    """The connection is gone. Whether the server has done what was on its way is not known."""


class RedisRefusal(EngineError):
    """The server answers with an error."""

    @property
    def code(self) -> str:
        """The error's first word, such as "NOPERM"."""
        return str(self.args[0]).split(" ", 1)[0]


def ignore(answer: Any) -> None:
    """For an answer that nobody needs."""


class _Confirmation:
    """Waits for an answer that comes like something published: that a channel is subscribed to, or no longer."""

    __slots__ = ("_channel", "_kind", "_then")

    def __init__(self, kind: bytes, channel: bytes, then: Then) -> None:
        self._kind = kind
        self._channel = channel
        self._then = then

    def __call__(self, answer: Any) -> None:
        self._then(answer)

    def is_meant(self, push: list[Any]) -> bool:
        return bool(push[0] == self._kind and push[1] == self._channel)


class _Call:
    """A task that waits for an answer."""

    __slots__ = ("_answer", "_come")

    def __init__(self) -> None:
        self._come = trio.Event()
        self._answer: Any = None

    def __call__(self, answer: Any) -> None:
        self._answer = answer
        self._come.set()

    async def wait(self) -> Any:
        await self._come.wait()
        if isinstance(self._answer, EngineError):
            raise copy.copy(self._answer)  # each gets its own: raising changes an error
        return self._answer


class RedisLink:
    """Owned by whoever runs it.

    Args:
        stream: is closed when `run` ends.
        on_message: called with the channel and the payload of what was published on it. It does not block.
    on_end: of a Cluster, whose channels are each in a slot: called with one that is elsewhere from now on.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        on_message: Callable[[bytes, bytes], None],
        on_end: Callable[[bytes], None] | None = None,
    ) -> None:
        self._stream = stream
        self._on_end = on_end
        self._sign = b"" if on_end is None else b"s"  # before the names of commands
        self._on_message = on_message
        self._message = self._sign + b"message"
        self._reader = hiredis.Reader(replyError=RedisRefusal, notEnoughData=_NOTHING)
        self._out: deque[bytes] = deque()
        self._waiting: deque[Then] = deque()
        self._sleeping = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self.queued = 0  # bytes that were not sent yet
        self.lost: LinkLost | None = None
        self.over = trio.Event()  # it is lost

    # Asking

    def post(self, *words: Word, then: Then = ignore) -> None:
        """Send a command. `then` gets its answer; LinkLost, at once or later, when there will be none."""
        self._send(then, words)

    def subscribe(self, channel: bytes, then: Then = ignore) -> None:
        """Ask for what is published on a channel. From the answer on it comes."""
        kind = self._sign + b"subscribe"
        self._send(_Confirmation(kind, channel, then), (kind, channel))

    def unsubscribe(self, channel: bytes, then: Then = ignore) -> None:
        """Ask for it no longer."""
        kind = self._sign + b"unsubscribe"
        self._send(_Confirmation(kind, channel, then), (kind, channel))

    async def call(self, *words: Word) -> Any:
        """Send a command, and wait for its answer.

        Checkpoint: always. Cancellation: the server does it all the same. Raises: RedisRefusal, LinkLost.
        """
        call = _Call()
        self._send(call, words)
        return await call.wait()

    async def call_subscribe(self, channel: bytes) -> None:
        """Subscribe, and wait until that holds. Checkpoint: always. Raises: RedisRefusal, LinkLost."""
        call = _Call()
        self.subscribe(channel, call)
        await call.wait()

    async def call_unsubscribe(self, channel: bytes) -> None:
        """Do that again the other way round. Checkpoint: always. Raises: RedisRefusal, LinkLost."""
        call = _Call()
        self.unsubscribe(channel, call)
        await call.wait()

    def _send(self, then: Then, words: tuple[Word, ...]) -> None:
        if self.lost is not None:
            then(self.lost)
            return
        command = pack_words(words)
        self._waiting.append(then)
        self._out.append(command)
        self.queued += len(command)
        self._sleeping.unpark_all()

    # Its life

    async def run(self) -> None:
        """Carry what is said, until the link is lost, or this is cancelled, which loses it.

        Checkpoint: always.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._write, name="redis link: writer")
                await self._read()
        finally:
            self.lose("it was closed")
            await trio.aclose_forcefully(self._stream)

    def lose(self, why: str) -> None:
        """Give it up: all who wait are told. A no-op for a link that is lost."""
        if self.lost is not None:
            return
        self.lost = LinkLost(f"the link to the server is lost: {why}")
        self._scope.cancel(reason="the link is lost")
        self._out.clear()
        self.over.set()
        while self._waiting:
            self._tell(self._waiting.popleft(), self.lost)

    async def _write(self) -> None:
        while True:
            if not self._out:
                await self._sleeping.park()
                continue
            piece = self._next_piece()
            try:
                await self._stream.send_all(piece)
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
                self.lose(_words_of(error))
                return
            self.queued -= len(piece)

    def _next_piece(self) -> bytes:
        commands = [self._out.popleft()]
        size = len(commands[0])
        while self._out and size + len(self._out[0]) <= SEND_BYTES:
            commands.append(self._out.popleft())
            size += len(commands[-1])
        return commands[0] if len(commands) == 1 else b"".join(commands)

    async def _read(self) -> None:
        try:
            while data := await self._stream.receive_some(RECEIVE_BYTES):
                self._take(bytes(data))
            self.lose("the server has closed it")
        except (trio.BrokenResourceError, trio.ClosedResourceError, hiredis.HiredisError, OSError) as error:
            self.lose(_words_of(error))

    def _take(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        while (item := reader.gets()) is not _NOTHING:
            if self.lost is not None:
                return
            if type(item) is hiredis.PushNotification:
                self._take_push(item)
            elif self._waiting:
                self._tell(self._waiting.popleft(), item)
            else:
                self.lose(f"the server says what nobody has asked for: {item!r:.100}")

    def _take_push(self, push: list[Any]) -> None:
        if push[0] == self._message:
            try:
                self._on_message(push[1], push[2])
            except Exception:
                logger.exception("a message could not be handled")
            return
        first = self._waiting[0] if self._waiting else None
        if isinstance(first, _Confirmation) and first.is_meant(push):
            self._tell(self._waiting.popleft(), None)
        elif push[0] == b"sunsubscribe" and self._on_end is not None:
            self._on_end(push[1])

    def _tell(self, then: Then, answer: Any) -> None:
        try:
            then(answer)
        except Exception:  # one answer is lost, and not the link
            logger.exception("an answer of the server's could not be handled")


def _words_of(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
