"""What is tried again, how often, and what is known when it has failed."""

from typing import Any

import pytest
import trio

from nexios_trio.publisher import GroupMessage, PublishError, TrioPublisher
from nexios_trio.publisher.attempts import Attempts, Patience
from nexios_trio.publisher.messages import Refusal
from tests.publisher.support import API_KEY, CLOSE, DONE, HANG, KINDS, Either, MakeEither, response, scripted

both = pytest.mark.parametrize("kind", KINDS)
DOWN = response(503, {"error": "the link is down", "status": 503, "maybe_published": False}, "Retry-After: 0")


@both
@pytest.mark.parametrize(
    "failure",
    [CLOSE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"no HTTP\r\n\r\n", DOWN, response(502, b"<html>")],
    ids=["closed", "half", "garbage", "down", "proxy"],
)
async def test_the_same_key_is_published_again(kind: type[Any], failure: bytes, either: MakeEither) -> None:
    async with scripted(failure, failure, DONE) as server:
        with either(kind, f"http://127.0.0.1:{server.port}/api").publisher as publisher:
            receipt = await Either(publisher).publish("room", 7)
    assert str(receipt.position) == "e:1"
    assert len(server.requests) == 3
    bodies = [body for _, body in server.requests]
    assert bodies[0] == bodies[1] == bodies[2]
    assert len(bodies[0]["key"]) == 32
    head = server.requests[0][0]
    assert head.startswith("POST /api/publish HTTP/1.1\r\n")
    assert f"authorization: bearer {API_KEY}" in head.lower()


@both
async def test_a_connection_is_used_again_until_the_server_ends_it(kind: type[Any], either: MakeEither) -> None:
    end = response(200, {"position": "e:2", "is_watched": True}, "Connection: close")
    async with scripted(DONE, DONE, end, DONE) as server:
        with either(kind, f"http://127.0.0.1:{server.port}/api").publisher as publisher:
            for _ in range(4):
                await Either(publisher).publish("room", 7)
        assert server.connections == 2


@both
async def test_no_answer_in_time_is_perhaps_published(kind: type[Any], either: MakeEither) -> None:
    async with scripted(HANG) as server:
        room = either(kind, f"http://127.0.0.1:{server.port}/api", deadline=0.5, attempt_timeout=0.1)
        with pytest.raises(PublishError, match=r"no answer in time \(\d attempts\) \(perhaps it was done\)") as caught:
            await room.publish("room", 7, key="order-7")
    assert (caught.value.maybe_published, caught.value.status, caught.value.key) == (True, None, "order-7")
    assert len(server.requests) > 1


@both
async def test_nobody_listens(kind: type[Any], either: MakeEither) -> None:
    async with scripted(DONE) as server:
        port = server.port
    with pytest.raises(PublishError, match=r"cannot connect: .*efused") as caught:
        await either(kind, f"http://127.0.0.1:{port}/api", deadline=0.5).publish("room", 7)
    assert not caught.value.maybe_published


@both
async def test_one_lost_answer_is_not_forgotten(kind: type[Any], either: MakeEither) -> None:
    async with scripted(CLOSE, response(503, {"error": "down", "maybe_published": False})) as server:
        with pytest.raises(PublishError, match="503: down") as caught:
            await either(kind, f"http://127.0.0.1:{server.port}/api", deadline=0.5).publish("room", 7)
    assert caught.value.maybe_published


@both
@pytest.mark.parametrize(
    ("answer", "text", "maybe"),
    [
        (response(400, {"error": "key: no", "maybe_published": False}), "400: key: no", False),
        (response(404, b"not here"), "404: the answer is not that of mount_api: is the url its address?", False),
        (response(500, {"error": "Internal Server Error"}), "500: Internal Server Error", True),
        (response(200, b"<html>"), "the answer is not that of mount_api", True),
        (response(200, {"position": "nonsense"}), "the answer is not that of mount_api", True),
        (response(400, {"error": "\x1b[31m\n" + "x" * 600}), r"400: \x1b[31m\nxxx", False),
    ],
    ids=range(6),
)
async def test_what_does_not_help_is_not_tried_again(
    kind: type[Any], answer: bytes, text: str, maybe: bool, either: MakeEither
) -> None:
    async with scripted(answer) as server:
        with pytest.raises(PublishError) as caught:
            await either(kind, f"http://127.0.0.1:{server.port}/api").publish("room", 7)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 700
    assert caught.value.maybe_published is maybe
    assert len(server.requests) == 1


@both
async def test_an_answer_without_end(kind: type[Any], either: MakeEither) -> None:
    async with scripted(response(200, b" " * 17_000_000)) as server:
        room = either(kind, f"http://127.0.0.1:{server.port}/api")
        with pytest.raises(PublishError, match="the answer has more than 16777216 bytes"):
            await room.publish("room", 7)


@both
async def test_a_batch_that_stops_is_sent_again_as_it_was(kind: type[Any], either: MakeEither) -> None:
    one = {"position": "e:1", "is_watched": True}
    stopped = response(503, {"error": "down", "maybe_published": True, "results": [one]}, "Retry-After: 0")
    done = response(200, {"results": [one, {"position": "e:2"}]})
    async with scripted(stopped, done) as server:
        room = either(kind, f"http://127.0.0.1:{server.port}/api")
        receipts = await room.publish_batch([GroupMessage("room", number) for number in range(2)])
        assert [receipt.position.offset for receipt in receipts] == [1, 2]
        first, second = (body for _, body in server.requests)
        assert first == second
    async with scripted(stopped) as server:
        room = either(kind, f"http://127.0.0.1:{server.port}/api", deadline=0.3)
        with pytest.raises(PublishError, match="503: down") as caught:
            await room.publish_batch([GroupMessage("room", number) for number in range(2)])
        assert [receipt.position.offset for receipt in caught.value.receipts] == [1]


async def test_who_is_cancelled_leaves_no_connection() -> None:
    async with scripted(HANG) as server:
        with TrioPublisher(f"http://127.0.0.1:{server.port}/api", api_key=API_KEY) as publisher:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publisher.publish, "room", 7)
                while not server.requests:
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel(reason="nobody waits any more")
            with trio.fail_after(15):
                while not server.ends:
                    await trio.lowlevel.checkpoint()


def test_pauses_grow_up_to_a_bound_and_are_drawn() -> None:
    drawn: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        drawn.append((least, most))
        return most

    attempts = Attempts(Patience(100, 6), 100.0, "there", None, draw=draw)
    pauses = [attempts.pause(Refusal("down"), 0.0) for _ in range(7)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0])
    assert all(least == most / 2 for least, most in drawn)
    assert (
        attempts.pause(Refusal("down", pause=5.0), 0.0) == 8.0
    )  # what the server asks for, and not all at that moment
    assert [attempts.seconds(now) for now in (0.0, 97.0, 101.0)] == [6.0, 3.0, 0.0]
    with pytest.raises(PublishError, match=r"there: down \(9 attempts\)"):
        attempts.pause(Refusal("down"), 99.0)
