"""What a parent and its workers ask each other, over a real pair of sockets."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
import trio
import trio.testing
from starlette.responses import Response

from nexios_trio.server.worker_reports import NO_ANSWER, Questions, find_answer
from nexios_trio.transports.server_context import ServerOverview


class Application:
    """One that has a page, and one that fails."""

    async def problems(self) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return {"engine": "down"}

    def private_page(self, path: str) -> Any:
        async def fail(scope: Any, receive: Any, send: Any) -> None:
            raise ZeroDivisionError

        return {"/numbers": Response("é 1\n2\n"), "/broken": fail}.get(path)


class Slow:
    """A link that brings bytes one by one."""

    def __init__(self, link: trio.SocketStream) -> None:
        self._link = link
        self.send_all = link.send_all

    async def receive_some(self, most: int) -> bytes:
        return bytes(await self._link.receive_some(1))


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(one)) for one in socket.socketpair())
    return ours, theirs


async def nothing(question: Any) -> None:
    await trio.lowlevel.checkpoint()


def no_word(line: bytes) -> None:
    raise AssertionError(line)


@asynccontextmanager
async def asked(overview: ServerOverview | None) -> AsyncIterator[Questions]:
    """The parent's end of the link to a worker that answers; None: that stands still."""
    link, other = pair()
    questions = Questions(cast(trio.SocketStream, Slow(link)), nothing)
    async with link, other, trio.open_nursery() as nursery:
        nursery.start_soon(questions.run, no_word)
        if overview is not None:
            nursery.start_soon(Questions(other, partial(find_answer, overview)).run, no_word)
        yield questions
        nursery.cancel_scope.cancel()


async def test_questions_and_answers(caplog: pytest.LogCaptureFixture) -> None:
    overview = ServerOverview()
    async with asked(overview) as questions:
        assert await questions.ask("live") == {}
        assert await questions.ask("ready") == {"server": "starting"}
        overview.problem = None
        overview.applications.append(Application())
        assert await questions.ask("ready") == {"engine": "down"}
        assert await questions.ask("page", "/numbers") == "é 1\n2\n"
        assert await questions.ask("page", "/numbers", 0) == "é 1\n2\n"
        assert await questions.ask("page", "/numbers", 1) is None  # there is one application
        assert await questions.ask("page", "/nothing") is None
        assert await questions.ask("unheard of") is None
        assert await questions.ask("page", "/broken") is None
        assert await questions.ask("live") == {}
    [record] = caplog.records
    assert record.levelno == logging.ERROR


async def test_many_may_ask_at_a_time() -> None:
    found: list[Any] = []
    async with asked(ServerOverview(problem=None)) as questions:

        async def ask(*question: str) -> None:
            found.append(await questions.ask(*question))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask, "live")
                nursery.start_soon(ask, "ready")
    assert found == [{}] * 20


async def test_one_that_stands_still_is_asked_once(autojump_clock: Any) -> None:
    async with asked(None) as questions:
        for number in range(40):
            assert await questions.ask("page", f"/{number}") is NO_ANSWER
            assert await questions.ask("live") is NO_ANSWER
        assert len(questions._asked) == 16
    assert trio.current_time() == pytest.approx((40 + 15) * 0.9)  # over the limit nobody waits


async def test_both_ends_ask_at_a_time() -> None:
    link, other = pair()

    async def echo(question: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return ["you said", *question]

    ends, found = [Questions(link, echo), Questions(other, echo)], []

    async def ask(end: Questions, number: int) -> None:
        found.append(await end.ask("x" * 100_000, number))

    async with link, other, trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.run, no_word)
        async with trio.open_nursery() as asking:
            for number in range(10):
                for end in ends:
                    asking.start_soon(ask, end, number)
        nursery.cancel_scope.cancel()
    assert sorted(answer[2] for answer in found) == [number // 2 for number in range(20)]


async def test_what_nobody_asked_and_what_is_no_question_is_dropped() -> None:
    words: list[bytes] = []
    async with trio.open_nursery() as nursery:
        link, other = pair()
        async with link, other:
            questions = Questions(link, nothing)
            nursery.start_soon(questions.run, words.append)
            await other.send_all(b'[garbage\n[1, 2, 3]\n[["never asked"], {}]\n[]\nready\n["unheard of"]\n')
            assert await other.receive_some() == b'[["unheard of"],null]\n'
            await other.aclose()
    assert words == [b"ready"]


async def test_an_answer_that_is_too_long_is_none(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(question: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return "x" * 16_777_216

    link, other = pair()
    async with link, other, trio.open_nursery() as nursery:
        questions = Questions(link, nothing)
        nursery.start_soon(questions.run, no_word)
        nursery.start_soon(Questions(other, answer).run, no_word)
        assert await questions.ask("page", "/metrics") is None
        nursery.cancel_scope.cancel()
    assert "at most 16777216 are an answer" in caplog.text


async def test_who_waits_for_one_that_goes_has_no_answer_at_once(autojump_clock: Any) -> None:
    link, other = pair()
    questions = Questions(link, nothing)

    async def ask() -> None:
        assert await questions.ask("live") is NO_ANSWER

    async with link, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(questions.run, no_word)
        await trio.testing.wait_all_tasks_blocked()
        await other.aclose()
    assert await questions.ask("ready") is NO_ANSWER
    assert trio.current_time() == 0
