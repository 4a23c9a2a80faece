"""What a parent asks its workers, over a real pair of sockets."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import trio
from starlette.responses import Response

from nexios_trio.server.worker_reports import NO_ANSWER, Lines, WorkerReports, answer_question
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


@asynccontextmanager
async def asked(overview: ServerOverview | None) -> AsyncIterator[WorkerReports]:
    """The parent's side of a worker that answers; None: that stands still."""
    ours, theirs = socket.socketpair()
    link, other = (trio.SocketStream(trio.socket.from_stdlib_socket(one)) for one in (ours, theirs))
    reports = WorkerReports(link)

    async def work(overview: ServerOverview) -> None:
        lines = Lines(other.receive_some)
        while said := await lines.next():
            for line in said:
                for byte in await answer_question(line, overview):  # as slowly as can be
                    await other.send_all(bytes([byte]))

    async def listen() -> None:
        lines = Lines(link.receive_some)
        while said := await lines.next():
            for line in said:
                reports.note(line)

    async with link, other, trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        if overview is not None:
            nursery.start_soon(work, overview)
        yield reports
        nursery.cancel_scope.cancel()


async def test_questions_and_answers(caplog: pytest.LogCaptureFixture) -> None:
    overview = ServerOverview()
    async with asked(overview) as reports:
        assert await reports.ask("live") == {}
        assert await reports.ask("ready") == {"server": "starting"}
        overview.problem = None
        overview.applications.append(Application())
        assert await reports.ask("ready") == {"engine": "down"}
        assert await reports.ask("page", "/numbers") == "é 1\n2\n"
        assert await reports.ask("page", "/nothing") is None
        assert await reports.ask("unheard of") is None
        assert await reports.ask("page", "/broken") is None
        assert await reports.ask("live") == {}
    [record] = caplog.records
    assert record.levelno == logging.ERROR


async def test_many_may_ask_at_a_time() -> None:
    found: list[Any] = []
    async with asked(ServerOverview(problem=None)) as reports:

        async def ask(*question: str) -> None:
            found.append(await reports.ask(*question))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask, "live")
                nursery.start_soon(ask, "ready")
    assert found == [{}] * 20


async def test_one_that_stands_still_is_asked_once(autojump_clock: Any) -> None:
    async with asked(None) as reports:
        for number in range(40):
            assert await reports.ask("page", f"/{number}") is NO_ANSWER
            assert await reports.ask("live") is NO_ANSWER
        assert len(reports._asked) == 16
        reports.note(b"garbage")
        reports.note(b"[1, 2, 3]")
        reports.note(b'[["never asked"], {}]')
        reports.note(orjson.dumps([["live"], {}]))
    assert trio.current_time() == pytest.approx((40 + 15) * 0.9)  # over the limit nobody waits


async def test_one_that_is_gone() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    link = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    reports = WorkerReports(link)
    assert await Lines(link.receive_some).next() == []
    assert await reports.ask("live") is NO_ANSWER
    link.socket.close()
    assert await reports.ask("ready") is NO_ANSWER
