"""`check_transport`: the contract of transports, on any way to reach one peer."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from ...config.settings import Settings
from ...core.lifecycle import Cause, End
from ...core.message import Frame, binary_frame, text_frame
from ...exceptions import LifecycleError, WebSocketDisconnect
from ...transports.base import Transport
from .rules import checkpointing, hold, rule

__all__ = ["MakeTransport", "TransportPeer", "check_transport"]


class TransportPeer(Protocol):
    """The other end, in the test's hand. `nexios_trio.testing.Client` is one."""

    async def receive(self) -> str | bytes: ...
    async def receive_close(self) -> tuple[int, str]: ...
    async def send_text(self, text: str, /) -> None: ...
    async def send_bytes(self, data: bytes, /) -> None: ...
    async def close(self, code: int, reason: str, /) -> None: ...
    def lose(self) -> None: ...
    def stall(self) -> None: ...
    def resume(self) -> None: ...


MakeTransport = Callable[[Settings], AbstractAsyncContextManager[tuple[Transport, TransportPeer]]]

BYE = End(4000, "bye", Cause.LOCAL_CLOSE)
MARK = "that was all"
BIG_MESSAGE_BYTES = 8192  # bytes of one message where buffers have to fill up
BLOCKED_AFTER_SECONDS = 0.2  # seconds after which a send that has not returned is taken to wait
MANY_MESSAGES = 2000  # messages that no buffer holds


class _Case:
    """A transport, its peer, and the ends that the transport told of."""

    def __init__(self, transport: Transport, peer: TransportPeer) -> None:
        self.transport = transport
        self.peer = peer
        self.ends: list[End] = []
        transport.on_end = self.ends.append

    async def accept(self) -> None:
        self.transport = await checkpointing("accept()", self.transport.accept, None, [])
        self.transport.on_end = self.ends.append

    async def send(self, frame: Frame) -> None:
        await checkpointing("send()", self.transport.send, frame)

    async def received_until_mark(self) -> list[str | bytes]:
        got: list[str | bytes] = []
        while (message := await self.peer.receive()) != MARK:
            got.append(message)
        return got


async def check_transport(make: MakeTransport, *, timeout: float = 5.0) -> None:
    """Check that a transport does what `nexios_trio.transports.base` says. Works in real and in virtual time.

    Args:
        make: a block, made for given settings, that gives a transport in its own `open` block, with an opening request
            that is not answered yet, and its peer. At the end of the block the peer is gone.
        timeout: seconds that any rule may take to be checked.
    Raises: ContractBroken, with the rule.
    """
    settings = Settings(outbox_messages=4, outbox_bytes=65536, write_timeout=timeout)
    for check, sentence, overflow in _RULES:
        chosen = Settings(outbox_messages=4, outbox_bytes=65536, overflow=overflow) if overflow else settings
        async with rule(sentence, timeout), make(chosen) as (transport, peer):
            await check(sentence, _Case(transport, peer))


async def _accepting(sentence: str, case: _Case) -> None:
    try:
        await case.transport.send(text_frame("too early"))
    except LifecycleError:
        pass
    else:
        hold(False, sentence, "send() before accept() raised nothing")
    hold(not case.transport.is_open, sentence, "it is open before accept()")
    await case.accept()
    hold(case.transport.is_open and case.ends == [], sentence, "it is not open after accept()")


async def _order(sentence: str, case: _Case) -> None:
    await case.accept()
    expected: list[str | bytes] = ["", "ä☃\U0001f600", b"", bytes(range(256)), "x" * 5000, '{"a":1}']
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_all, case, expected)
        got = await case.received_until_mark()
    hold(got == expected, sentence, f"{_short(expected)} was sent, and {_short(got)} came")


async def _send_all(case: _Case, messages: list[str | bytes]) -> None:
    for number, message in enumerate([*messages, MARK]):
        frame = text_frame(message) if isinstance(message, str) else binary_frame(message)
        if number % 2:
            case.transport.offer(frame)
            await trio.lowlevel.checkpoint()
        else:
            await case.send(frame)


async def _receiving(sentence: str, case: _Case) -> None:
    await case.accept()
    await case.peer.send_text("ä")
    await case.peer.send_bytes(b"\x00\xff")
    await case.peer.send_text("")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case.peer.close, 4001, "gone")
        got = [await case.transport.inbox.get() for _ in range(4)]
    hold(got[:3] == ["ä", b"\x00\xff", ""] and isinstance(got[3], End), sentence, f"the inbox gave {got!r}")
    hold(case.ends == [got[3]], sentence, f"on_end() was told {case.ends}, and the inbox ends with {got[3]!r}")


async def _waiting(sentence: str, case: _Case) -> None:
    await case.accept()
    case.peer.stall()
    sent: list[str | bytes] = []
    for number in range(MANY_MESSAGES):
        text = f"{number}".ljust(BIG_MESSAGE_BYTES)
        with trio.move_on_after(BLOCKED_AFTER_SECONDS) as scope:
            await case.send(text_frame(text))
        if scope.cancelled_caught:
            break
        sent.append(text)
    hold(
        len(sent) < MANY_MESSAGES,
        sentence,
        f"{MANY_MESSAGES} messages of {BIG_MESSAGE_BYTES} bytes were taken for a peer that does not read",
    )
    case.peer.resume()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case.send, text_frame(MARK))
        got = await case.received_until_mark()
    seen = f"{len(sent)} messages were sent before one was cancelled, and {len(got)} came"
    hold(got == sent, sentence, seen)


async def _counting(sentence: str, case: _Case) -> None:
    await case.accept()
    case.peer.stall()
    for number in range(300):
        case.transport.offer(text_frame(f"{number}".ljust(BIG_MESSAGE_BYTES)))
        await trio.lowlevel.checkpoint()
    hold(case.transport.is_open, sentence, "the policy drops messages, and the connection ended")
    case.peer.resume()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case.send, text_frame(MARK))
        got = await case.received_until_mark()
    missed = case.transport.statistics().undelivered
    hold(len(got) + missed == 300, sentence, f"of 300 messages {len(got)} came, and {missed} are counted")
    hold(got == sorted(got, key=int), sentence, "they came in another order")


async def _overflow(sentence: str, case: _Case) -> None:
    await case.accept()
    case.peer.stall()
    for number in range(MANY_MESSAGES):
        case.transport.offer(text_frame(f"{number}".ljust(BIG_MESSAGE_BYTES)))
        if case.transport.end is not None:
            break
        await trio.lowlevel.checkpoint()
    end = case.transport.end
    hold(end is not None and end.cause is Cause.OVERFLOW, sentence, f"after {MANY_MESSAGES} messages its end is {end}")
    hold(case.ends == [end], sentence, f"on_end() was told {case.ends}")
    hold(case.transport.statistics().undelivered, sentence, "nothing is counted as undelivered")
    case.peer.resume()


async def _closing(sentence: str, case: _Case) -> None:
    await case.accept()
    for number in range(3):
        case.transport.offer(text_frame(str(number)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checkpointing, "close()", case.transport.close, BYE)
        got = [await case.peer.receive() for _ in range(3)]
        goodbye = await case.peer.receive_close()
    hold((got, goodbye) == (["0", "1", "2"], (4000, "bye")), sentence, f"the peer got {got}, then {goodbye}")
    await checkpointing("close()", case.transport.close, End(4002, "again", Cause.LOCAL_CLOSE))
    hold(case.ends == [BYE], sentence, f"on_end() was told {case.ends}")


async def _afterwards(sentence: str, case: _Case) -> None:
    await case.accept()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case.transport.close, BYE)
        await case.peer.receive_close()
    before = case.transport.statistics().undelivered
    case.transport.offer(text_frame("too late"))
    lost = case.transport.statistics().undelivered - before
    hold(lost == 1, sentence, f"an offer after the end added {lost} to what is counted")
    try:
        await case.send(text_frame("too late"))
    except WebSocketDisconnect as error:
        hold((error.code, error.reason) == (4000, "bye"), sentence, f"send() raised {error!r}")
    else:
        hold(False, sentence, "send() after the end raised nothing")


async def _killing(sentence: str, case: _Case) -> None:
    await case.accept()
    end = End.of(Cause.ABORTED)
    case.transport.kill(end)
    hold(case.transport.end == end and case.ends == [end], sentence, f"its end is {case.transport.end}")
    got = await case.transport.inbox.get()
    hold(got == end, sentence, f"the inbox gave {got!r}")


async def _losing(sentence: str, case: _Case) -> None:
    await case.accept()
    case.peer.lose()
    got = await case.transport.inbox.get()
    hold(
        isinstance(got, End) and case.ends == [got], sentence, f"the inbox gave {got!r}, on_end() was told {case.ends}"
    )


def _short(messages: list[str | bytes]) -> str:
    return repr([message[:20] for message in messages])


_RULES: tuple[tuple[Callable[[str, _Case], Awaitable[None]], str, str | None], ...] = (
    (_accepting, "A transport is open from accept() on, and sending before that is a LifecycleError.", None),
    (_order, "What is sent and offered arrives once, unchanged, as text or binary, in one order.", None),
    (_receiving, "The inbox gives what the peer sent, in order, and then the one end, which on_end() is told.", None),
    (_waiting, "send() waits while there is no room, and when it is cancelled, its message was not queued.", None),
    (_counting, "offer() never waits, and every message either arrives, in order, or is counted.", "drop_oldest"),
    (_overflow, "A peer that does not read is disconnected by the policy that says so.", "disconnect"),
    (_closing, "close() sends what is queued, then the code and reason; a second one does nothing.", None),
    (_afterwards, "After the end, send() raises WebSocketDisconnect with its code, and an offer is counted.", None),
    (_killing, "kill() ends the connection at once.", None),
    (_losing, "The loss of the peer ends the inbox, and on_end() is told once.", None),
)
