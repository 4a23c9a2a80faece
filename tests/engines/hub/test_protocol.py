"""What workers and the hub say to each other, as bytes: what is recorded here is what other releases say and understand.

A worker may be of a newer release than the hub in its parent. Whoever changes what is said raises `HUB_VERSION` and
records it anew: then a worker that says something else is refused, in place of being misunderstood.
"""

import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from nexios_trio.core.message_codec import encode_message
from nexios_trio.engines.base import EngineState
from nexios_trio.engines.hub.bodies import (
    pack_text,
    unpack_text,
)
from nexios_trio.engines.hub.frames import (
    HAS_KEEP,
    HUB_VERSION,
    FrameReader,
    Kind,
    frame,
)
from nexios_trio.engines.hub.link import Call, HubLink
from nexios_trio.engines.presence import LeaseLost
from nexios_trio.exceptions import EngineError
from tests.engines.hub.recording import (
    BYTES,
    DEADLINE,
    KEPT,
    LATE,
    LIMITS,
    OF_ANOTHER,
    PASSING,
    PRESENT,
    RECORDED,
    RENEWAL,
    SAID,
    SINCE,
    Peer,
    at,
    hub_with,
    made,
    worker_of,
)

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "workers.md"


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_is_as_recorded(name: str) -> None:
    assert HUB_VERSION in RECORDED, "HUB_VERSION was raised: record what is said now"
    recorded = RECORDED[HUB_VERSION][name]
    assert SAID[name].hex() == recorded, "what is said has changed: raise HUB_VERSION, and record it anew"


def test_all_of_it_is_recorded() -> None:
    assert {next(FrameReader().feed(data)).kind for data in BYTES.values()} == set(Kind)


async def test_the_hub_says_and_understands_what_is_recorded() -> None:
    async with hub_with(2) as (peer, other):
        await other.says("OPEN")
        await other.hears("OPENED")
        for request, answer in (
            ("OPEN", "OPENED"),
            ("WATCH", "WATCHED"),
            ("POST", "POSTED"),
            ("POST, transient", "POSTED, transient"),
            ("HISTORY", "PAGE"),
            ("GROUPS", "NAMES"),
            ("FLUSH", "FLUSHED"),
            ("RENEW", "RENEWED"),
            ("PRESENCE", "PRESENT"),
            ("RENEW, lost", "RENEWED, lost"),
        ):
            await peer.says(request)
            await peer.hears(answer)
        await other.says_frame(Kind.POST, 2, 1, "room", b"\0", encode_message(OF_ANOTHER))
        await peer.hears("MESSAGE")
        await other.says_frame(Kind.ASK, 3, 1, "", b"and you")
        await peer.hears("ASKED")
        await peer.says("ANSWER")
        assert [(await other.next()).kind for _ in range(2)] == [Kind.POSTED, Kind.ANSWERED]
        await peer.says("ASK")
        await other.says_frame(Kind.ANSWER, (await other.next()).number, 1, "", b"well")
        await peer.hears("ANSWERED")
        await peer.says("UNWATCH", "CLOSE", "OPEN")
        await peer.hears("OPENED")


async def test_a_worker_says_and_understands_what_is_recorded() -> None:
    async def play(peer: Peer) -> None:
        for name in ("OPEN", "WATCH", "POST", "POST, transient", "HISTORY", "GROUPS", "ASK", "FLUSH", *PRESENCE):
            await peer.hears(name)
            await peer.says(ANSWER_TO[name])
        await peer.says("ASKED", "MESSAGE", "GAP")
        for name in ("ANSWER", "UNWATCH", "CLOSE"):
            await peer.hears(name)

    async with worker_of(play) as worker:
        engine = worker.engine
        async with engine.run():
            assert await engine.watch("room") == at(0)
            assert await engine.publish("room", made("hello"), keep=LIMITS, key="key") == at(1)
            assert await engine.publish("room", PASSING) is None
            page = await engine.history("room", SINCE, limit=7)
            assert [message.payload for message in page.messages] == ["hello"]
            assert (page.complete, page.top, page.has_more) == (True, at(1), False)
            assert await engine.groups_with_history() == ["room"]
            assert await engine.ask(b"how are you") == [b"well"]
            await engine.flush_history("room")
            await engine.renew(RENEWAL)
            assert await engine.presence("room") == PRESENT
            with pytest.raises(LeaseLost):
                await engine.renew(LATE)
            with trio.fail_after(DEADLINE):
                await worker.has_gap.wait()
            engine.unwatch("room")
    assert worker.got == [("room", "hello", at(1)), ("room", {"n": 1}, None), ("room", "hi", at(2))]
    assert worker.gaps == [("room", at(2), at(5))]


ANSWER_TO = {
    "OPEN": "OPENED",
    "WATCH": "WATCHED",
    "POST": "POSTED",
    "POST, transient": "POSTED, transient",
    "HISTORY": "PAGE",
    "GROUPS": "NAMES",
    "ASK": "ANSWERED",
    "FLUSH": "FLUSHED",
    "RENEW": "RENEWED",
    "PRESENCE": "PRESENT",
    "RENEW, lost": "RENEWED, lost",
}
PRESENCE = list(ANSWER_TO)[-3:]

# What only another release says


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ((20, 5, 1, "room"), "requests of kind 20 are not known"),
        ((Kind.POST, 5, 1, "room", b"\x80", encode_message(KEPT)), "ValueError: flags 0x80 of a message"),
        ((Kind.POST, 5, 1, "room"), "a request of kind 3 failed: IndexError"),
        ((Kind.POST, 5, 1, "room", bytes((HAS_KEEP,)), pack_text('{"max_bytes": "many"}')), "kind 3 failed"),
        ((Kind.HISTORY, 5, 1, "room", b"\0"), "a request of kind 6 failed: error"),
        ((Kind.RENEW, 5, 1, "", b'["node"]'), "a request of kind 11 failed: ValueError"),
        ((Kind.WATCH, 5, 99, "room"), "the hub does not know the box that asks"),
        ((Kind.OPEN, 5), "a request of kind 1 failed: IndexError"),
        ((Kind.OPEN, 5, 0, "", b"\x03 whatever comes then"), "speaks version 2, and this worker version 3"),
    ],
    ids=["kind", "flags", "no body", "limits", "query", "renewal", "box", "no version", "version"],
)
async def test_what_the_hub_does_not_understand_it_refuses_and_goes_on(
    asked: tuple[Any, ...], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hub_with(1) as (peer,):
        await peer.says("OPEN")
        await peer.hears("OPENED")
        await peer.says_frame(*asked)
        said = await peer.next()
        assert (said.kind, said.number) == (Kind.REFUSED, 5)
        assert why in unpack_text(said.body)[0]
        await peer.says_frame(21, 0, 1, "room")  # which wants no answer
        await peer.says_frame(Kind.ANSWER, 7, 1, "", b"to nothing")
        await peer.says_frame(Kind.GROUPS, 6, 1)
        assert (await peer.next()).kind == Kind.NAMES


async def test_the_guide_says_what_a_worker_of_another_release_is_told() -> None:
    async with hub_with(1) as (peer,):
        await peer.says_frame(Kind.OPEN, 5, 0, "", bytes((HUB_VERSION + 1,)))
        [why, _] = unpack_text((await peer.next()).body)
    assert why in " ".join(GUIDE.read_text().split())


async def test_a_line_that_carries_no_frames_ends_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with hub_with(3) as (first, second, third):
        for peer in (first, second, third):
            await peer.says("OPEN")
            await peer.hears("OPENED")
        await first.stream.send_all(b"\0\0\0\x08" + b"\xff" * 20)
        await second.stream.send_all(frame(Kind.WATCH, 2, 1, "room").replace(b"room", b"\xff\xff\xff\xff"))
        for peer in (first, second):
            with trio.fail_after(DEADLINE):
                assert await peer.stream.receive_some(1) == b""
        await third.says_frame(Kind.GROUPS, 6, 1)
        assert (await third.next()).kind == Kind.NAMES
    assert caplog.text.count("carries no frame") == 2


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((Kind.REFUSED, 2, 1, "", pack_text("no flags of that kind")), "no flags of that kind"),
        ((Kind.REFUSED, 2, 1, "", b"\xff"), "a frame of kind 33 that this release cannot read"),
        ((60, 2, 1, "room", b"whatever"), "a frame of kind 60 that this release cannot read"),
        ((Kind.POSTED, 2, 1, "room", b"\x03"), "a frame of kind 35 that this release cannot read"),
    ],
    ids=["refused", "refused, unreadable", "kind", "body"],
)
async def test_a_worker_whose_message_has_no_answer_that_it_knows_is_told_at_once(
    answer: tuple[Any, ...], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(peer: Peer) -> None:
        await peer.hears("OPEN")
        await peer.says("OPENED")
        await peer.next()
        await peer.says_frame(61, 0, 1, "room", b"which nobody has asked for")
        await peer.says_frame(*answer)
        await peer.next()  # the box is closed

    async with worker_of(play) as worker, worker.engine.run():
        with pytest.raises(EngineError, match=text) as caught:
            await worker.engine.publish("room", made("hello"))
        assert caught.value.maybe_published
        assert worker.engine.state is EngineState.UP  # the hub did answer


async def test_a_worker_whose_parent_cannot_be_read_has_no_line_any_more() -> None:
    theirs, ours = socket.socketpair()
    link = HubLink(ours, DEADLINE)
    ended = trio.Event()
    async with trio.open_nursery() as nursery, trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as stream:
        nursery.start_soon(link.run, ended.set)
        call = Call(Kind.NAMES, 1)
        link.request(call, Kind.GROUPS)
        await stream.send_all(b"\0\0\0\x08" + b"\xff" * 20)
        with trio.fail_after(DEADLINE):
            await ended.wait()
            with pytest.raises(EngineError, match="the parent process is gone"):
                await call.wait()
            while await stream.receive_some():
                pass  # to the end: the parent keeps nothing for this worker
        assert link.is_over
        nursery.cancel_scope.cancel()


async def test_a_page_that_cannot_be_read_is_an_error_of_the_engine() -> None:
    async def play(peer: Peer) -> None:
        await peer.hears("OPEN")
        await peer.says("OPENED")
        await peer.next()
        await peer.says_frame(Kind.PAGE, 2, 1, "room", b"\0")
        await peer.next()

    async with worker_of(play) as worker, worker.engine.run():
        with pytest.raises(EngineError, match="the answer of the parent process cannot be read"):
            await worker.engine.history("room")


async def test_a_worker_that_the_hub_refuses_does_not_start() -> None:
    async def play(peer: Peer) -> None:
        await peer.hears("OPEN")
        await peer.says_frame(Kind.REFUSED, 1, 0, "", pack_text("the parent process is of another release"))

    async with worker_of(play) as worker:
        with pytest.raises(EngineError, match="of another release$"):
            async with worker.engine.run():
                raise AssertionError
