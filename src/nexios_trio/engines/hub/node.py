"""A worker, as the hub sees it: what it asks for, and a queue of what it is given.

queued for a worker     what is done
above 8 MiB             whoever publishes waits, as long as this worker takes something; nothing more is done of what
                        it asks for itself
64 MiB                  it gets no more messages of groups. Once it has taken most of what is queued, what it has
                        missed comes from the history, as long as that has it; else there is a gap
"""

import socket
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from ...core.message import Position
from ..history_pages import bound_page
from .bodies import (
    pack_page,
    pack_position,
    pack_presence,
    pack_text,
    pack_texts,
    unpack_keep,
    unpack_query,
    unpack_renewal,
    unpack_text,
)
from .box import PassingMessage, SharedBox
from .frames import (
    DELIVER,
    HAS_KEEP,
    HAS_KEY,
    HELD,
    HUB_VERSION,
    IS_TRANSIENT,
    POST_FLAGS,
    WATCHED,
    Frame,
    Kind,
    frame,
)
from .socket import HubSocket

__all__ = ["HubNode"]

MAX_QUEUED_BYTES: Final = 67_108_864
HIGH_BYTES: Final = 8_388_608
LOW_BYTES: Final = 1_048_576  # below which it gets what it has missed, about so much at a time
MAX_REASON_LENGTH: Final = 500  # characters of why a request is refused
STALL_SECONDS: Final = 0.25  # without taking anything, and nobody waits for this worker any more


@attrs.define(eq=False)
class _Missed:
    """What a worker has missed of a group.

    Args:
        after: it has all messages up to here, or they are queued for it.
    """

    box: SharedBox
    group: str
    after: Position
    posts: list[tuple[int, Position]] = attrs.Factory(list)  # of its own, which wait for their turn: number, position


class HubNode:
    """Owned by the hub, for as long as the worker lives.

    Args:
        open_box: gives the box of a name.
    """

    def __init__(self, sock: socket.socket, open_box: Callable[[str], SharedBox]) -> None:
        self._socket = HubSocket(sock, self._handle)
        self._open_box = open_box
        self._boxes: dict[int, SharedBox] = {}
        self._missed: dict[tuple[int, str], _Missed] = {}  # by box and group
        self._room = trio.lowlevel.ParkingLot()
        self._stands_still = False
        self._is_gone = False  # nothing can be sent to it any more
        self.put = self._socket.put
        self._requests: dict[int, Callable[[SharedBox, Frame], None]] = {
            Kind.CLOSE: self._close,
            Kind.POST: self._post,
            Kind.WATCH: self._watch,
            Kind.UNWATCH: self._unwatch,
            Kind.HISTORY: self._send_history,
            Kind.GROUPS: self._send_groups,
            Kind.FLUSH: self._flush,
            Kind.ASK: lambda box, asked: box.ask(self, asked.number, asked.body),
            Kind.RENEW: self._renew,
            Kind.PRESENCE: self._send_presence,
            Kind.ANSWER: lambda box, answer: box.answer(self, answer.number, answer.body),
        }

    @property
    def is_full(self) -> bool:
        return self._socket.queued >= MAX_QUEUED_BYTES

    async def read(self, after_turn: Callable[[], Awaitable[None]]) -> None:
        """Do what the worker asks for, until its end is closed."""
        await self._socket.read(after_turn, HIGH_BYTES)

    async def write(self) -> None:
        """Send what is queued, until the worker's end is closed."""
        try:
            await self._socket.write(self._on_room)
        finally:
            self._is_gone = True
            self._room.unpark_all()

    def end(self) -> None:
        """Forget the worker: it is gone."""
        for box in self._boxes.values():
            box.leave(self)
        self._boxes.clear()
        self._missed.clear()
        self._room.unpark_all()

    # The queue

    async def wait_for_own_room(self) -> None:
        """Wait while much is queued, before doing more of what this worker asks for. Checkpoint: only then.

        Its answers are queued whatever there is, so nothing more is asked for in its name until it has taken some.
        """
        while self._socket.queued > HIGH_BYTES and not self._is_gone:
            await self._room.park()

    async def wait_for_room(self) -> None:
        """Wait while much is queued, as long as the worker takes some. Checkpoint: only then."""
        while self._socket.queued > HIGH_BYTES and not self._stands_still:
            sent = self._socket.sent
            with trio.move_on_after(STALL_SECONDS):
                await self._room.park()
            self._stands_still = self._socket.sent == sent

    def _on_room(self) -> None:
        self._stands_still = False
        if self._room and self._socket.queued <= HIGH_BYTES:
            self._room.unpark_all()
        if self._missed and self._socket.queued < LOW_BYTES:
            self._catch_up()

    def give(self, box: SharedBox, group: str, position: Position | None, frame: bytes) -> None:
        """Queue a message that another worker has published, or note that this one has missed it."""
        if self._missed and (box.number, group) in self._missed:
            return
        if not self.is_full:
            self.put(frame)
        elif position is not None:  # who has no room for a message without one has no use for it later
            after = Position(position.offset - 1, position.epoch)
            self._missed[box.number, group] = _Missed(box, group, after)

    def give_back(self, box: SharedBox, group: str, position: Position | None, number: int) -> None:
        """Tell the worker where its own message stands, in its turn."""
        missed = self._missed.get((box.number, group)) if self._missed else None
        if missed is None:
            self._put_posted(box, group, number, DELIVER | WATCHED, position)
        elif position is not None:
            missed.posts.append((number, position))
        else:  # it would overtake the others
            self._put_posted(box, group, number, WATCHED, None)

    def _put_posted(self, box: SharedBox, group: str, number: int, flags: int, position: Position | None) -> None:
        self.put(frame(Kind.POSTED, number, box.number, group, bytes((flags,)), pack_position(position)))

    def _catch_up(self) -> None:
        """Queue what the worker has missed, or a gap in its place."""
        for key, missed in list(self._missed.items()):
            if self._socket.queued > LOW_BYTES:
                return
            if self._fill_in(missed):
                del self._missed[key]
                for number, position in missed.posts:
                    self._put_posted(missed.box, missed.group, number, WATCHED, position)

    def _fill_in(self, missed: _Missed) -> bool:
        """Queue the next part. Returns whether it was the last."""
        box, group = missed.box, missed.group
        page = box.engine.saved_nowait(group, missed.after, max_bytes=LOW_BYTES)
        if not page.complete:
            gap = pack_position(missed.after) + pack_position(page.top)
            self.put(frame(Kind.GAP, 0, box.number, group, gap))
            return True
        for message in page.messages:
            missed.after = message.position
            self.put(frame(Kind.MESSAGE, 0, box.number, group, pack_position(message.position), message.data))
        return not page.has_more

    def _forget_missed(self, box: SharedBox, group: str) -> None:
        """Give the worker nothing of what it has missed, since it does not follow the group any more, or anew."""
        missed = self._missed.pop((box.number, group), None)
        for number, position in () if missed is None else missed.posts:
            self._put_posted(box, group, number, WATCHED, position)

    # Requests

    def _handle(self, asked: Frame) -> None:
        request = self._requests.get(asked.kind)
        try:
            if request is not None:
                box = self._boxes.get(asked.box)
                if box is not None:
                    request(box, asked)
                else:
                    self._refuse(asked, "the hub does not know the box that asks")
            elif asked.kind == Kind.OPEN:
                self._open(asked)
            else:
                self._refuse(asked, f"requests of kind {asked.kind} are not known")
        except Exception as error:
            self._refuse(asked, f"a request of kind {asked.kind} failed: {type(error).__name__}: {error}")
            raise

    def _refuse(self, asked: Frame, why: str) -> None:
        """Tell a worker that waits for an answer that there is none."""
        if asked.number and asked.kind != Kind.ANSWER:  # whose number is one of the hub's own
            self.put(frame(Kind.REFUSED, asked.number, asked.box, "", pack_text(why[:MAX_REASON_LENGTH])))

    def _open(self, asked: Frame) -> None:
        version = asked.body[0]
        if version != HUB_VERSION:
            why = (
                f"the parent process is of another release: its hub speaks version {HUB_VERSION}, and this worker"
                f" version {version}. Stop the server and start it again: SIGHUP replaces the workers alone"
            )
            self._refuse(asked, why)
            return
        box = self._open_box(asked.body[1:].decode())
        self._boxes[box.number] = box
        box.join(self)
        self.put(frame(Kind.OPENED, asked.number, box.number))

    def _post(self, box: SharedBox, asked: Frame) -> None:
        flags, at = asked.body[0], 1
        if flags > POST_FLAGS:
            raise ValueError(f"flags {flags:#x} of a message")
        keep = key = None
        if flags & HAS_KEEP:
            keep, at = unpack_keep(asked.body, at)
        if flags & HAS_KEY:
            key, at = unpack_text(asked.body, at)
        message = PassingMessage(asked.body[at:], bool(flags & IS_TRANSIENT))
        box.post(self, asked.number, asked.group, message, keep, key)

    def _close(self, box: SharedBox, asked: Frame) -> None:
        for number, group in list(self._missed):
            if number == asked.box:
                self._forget_missed(box, group)
        box.leave(self)
        del self._boxes[asked.box]

    def _watch(self, box: SharedBox, asked: Frame) -> None:
        self._forget_missed(box, asked.group)  # of a watch before this one, whose answer came too late
        position = box.watch(self, asked.group).position
        self.put(frame(Kind.WATCHED, asked.number, box.number, asked.group, pack_position(position)))

    def _unwatch(self, box: SharedBox, asked: Frame) -> None:
        box.unwatch(self, asked.group)
        self._forget_missed(box, asked.group)

    def _send_history(self, box: SharedBox, asked: Frame) -> None:
        since, *bounds = unpack_query(asked.body)
        limit, max_bytes = bound_page(since, *bounds)
        page = box.engine.saved_nowait(asked.group, since, limit=limit, max_bytes=max_bytes)
        self.put(frame(Kind.PAGE, asked.number, box.number, asked.group, *pack_page(page)))

    def _send_groups(self, box: SharedBox, asked: Frame) -> None:
        names = box.engine.groups_with_history_nowait()
        self.put(frame(Kind.NAMES, asked.number, box.number, "", pack_texts(names)))

    def _flush(self, box: SharedBox, asked: Frame) -> None:
        box.engine.flush_history_nowait(asked.group or None)
        self.put(frame(Kind.FLUSHED, asked.number, box.number))

    def _renew(self, box: SharedBox, asked: Frame) -> None:
        holds = box.renew(self, unpack_renewal(asked.body))
        self.put(frame(Kind.RENEWED, asked.number, box.number, "", bytes((HELD if holds else 0,))))

    def _send_presence(self, box: SharedBox, asked: Frame) -> None:
        page = box.engine.presence_nowait(asked.group)
        self.put(frame(Kind.PRESENT, asked.number, box.number, asked.group, *pack_presence(page)))
