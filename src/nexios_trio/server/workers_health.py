"""Health and metrics of several workers: their parent answers for all of them, and asks them for it."""

from collections.abc import Sequence
from typing import Any

import trio
from hypercorn.config import Config
from starlette.responses import Response

from ..asgi_types import ASGIApp, Receive, Scope, Send
from ..config.settings import Settings
from ..observability.health import HealthPages
from ..observability.merging import CONTENT_TYPE, count_workers, merge_metrics
from ..transports.epoll import open_poller
from ..transports.timers import Timers
from .health_server import serve_health
from .listeners import Listener
from .server_settings import ServerSettings
from .supervisor import Supervisor
from .worker_process import Worker
from .worker_reports import ANSWER_SECONDS, NO_ANSWER

__all__ = ["WorkersHealth", "run_with_health"]

_LATE = f"no answer in {ANSWER_SECONDS:g} s"


async def run_with_health(
    supervisor: Supervisor, listeners: Sequence[Listener], config: Config, settings: Settings
) -> int:
    """Run the workers, and answer for them from before the first has started until the last has ended.

    Returns: the exit status.
    """
    health = WorkersHealth(supervisor)
    supervisor.answer = health.answer
    if not listeners:
        return await supervisor.run()
    pages, timers = HealthPages(health.live, health.ready, health.page), Timers()
    with open_poller() as poller:
        async with trio.open_nursery() as nursery:
            if poller is not None:
                nursery.start_soon(poller.run, name="poller")
            nursery.start_soon(timers.run, name="timers")
            adopted = ServerSettings(settings, is_explicit=True)
            nursery.start_soon(serve_health, listeners, pages, config, adopted, poller, timers, name="health")
            status = await supervisor.run()
            nursery.cancel_scope.cancel(reason="the workers have ended")
    return status


class WorkersHealth:
    """What the parent says of its workers."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def live(self) -> dict[str, str]:
        """Return which workers that serve do not answer. Checkpoint: always.

        While they stop, the time that this may take is the supervisor's to watch.
        """
        await trio.lowlevel.checkpoint()
        if self._supervisor.is_stopping:
            return {}
        answers = await self._ask("live")
        return {name: _LATE for name, answer in answers.items() if answer is NO_ANSWER}

    async def ready(self) -> dict[str, str]:
        """Return which workers are not ready, and why. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        if self._supervisor.is_stopping:
            return {"server": "draining"}
        found = {f"worker {number}": "starting" for number in self._supervisor.missing}
        for name, answer in (await self._ask("ready")).items():
            if answer is NO_ANSWER:
                found[name] = _LATE
            elif answer:
                found[name] = ", ".join(f"{what}: {why}" for what, why in answer.items())
        return dict(sorted(found.items()))

    def page(self, path: str) -> ASGIApp:
        """Make the page that shows what all workers have at `path`."""

        async def show(scope: Scope, receive: Receive, send: Send) -> None:
            text = await self._merged(path)
            if text is not None:
                answer = Response(text, headers={"content-type": CONTENT_TYPE})
            else:
                answer = Response("there is no such page\n", 404, media_type="text/plain")
            await answer(scope, receive, send)

        return show

    async def answer(self, question: Any) -> Any:
        """Return what a worker asks, or None. Checkpoint: always."""
        await trio.lowlevel.checkpoint()
        match question:
            case ["live"]:
                return {}
            case ["page", str() as path, int() as application]:
                return await self._merged(path, application)
            case _:  # of a worker that knows more
                return None

    async def _merged(self, *page: str | int) -> str | None:
        """Return the metrics of all workers that answer, and how many do; None if nobody has such a page.

        In a thread, beside the messages of groups.
        """
        answers = await self._ask("page", *page)
        texts = [answer for answer in answers.values() if isinstance(answer, str)]
        if not texts:
            return None
        texts.append(count_workers(len(texts), self._supervisor.count))
        return await trio.to_thread.run_sync(merge_metrics, texts)

    async def _ask(self, *question: str | int) -> dict[str, Any]:
        """Ask all workers that serve at once. Returns their answers, by name."""
        answers: dict[str, Any] = {}

        async def ask(worker: Worker) -> None:
            answers[f"worker {worker.place.number}"] = await worker.questions.ask(*question)

        async with trio.open_nursery() as nursery:
            for worker in self._supervisor.serving:
                nursery.start_soon(ask, worker)
        return answers
