"""`/healthz` and `/readyz`: whether the process answers, and whether it should be sent clients."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.responses import Response

from ..asgi_types import ASGIApp, Event, Receive, Scope, Send
from ..core.json import encode_json

__all__ = ["LIVE_PATH", "READY_PATH", "HealthPages", "live_response", "ready_response"]

LIVE_PATH: Final = "/healthz"
READY_PATH: Final = "/readyz"

# What is wrong, by name; empty where nothing is.
Problems = Callable[[], Awaitable[Mapping[str, str]]]


def live_response(problems: Mapping[str, str]) -> Response:
    """Answer whether the process works at all."""
    return _json({"alive": not problems, **({"not_answering": dict(problems)} if problems else {})}, problems)


def ready_response(problems: Mapping[str, str]) -> Response:
    """Answer whether clients may come; if not, with 503 and what is not ready."""
    return _json({"ready": not problems, **({"not_ready": dict(problems)} if problems else {})}, problems)


def _json(body: object, problems: Mapping[str, str]) -> Response:
    status = 503 if problems else 200
    return Response(encode_json(body), status, {"cache-control": "no-store"}, "application/json")


class HealthPages:
    """The ASGI application of an address for health alone.

    Args:
        live: what does not answer.
        ready: what is not ready.
        page: finds what else is shown there, by its path.
    """

    def __init__(self, live: Problems, ready: Problems, page: Callable[[str], ASGIApp | None]) -> None:
        self._live = live
        self._ready = ready
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        answer = await self._answer(scope["method"], scope["path"])
        await answer(scope, receive, _without_body(send) if scope["method"] == "HEAD" else send)

    async def _answer(self, method: str, path: str) -> ASGIApp:
        if method not in ("GET", "HEAD"):
            return Response("only GET and HEAD\n", 405, {"allow": "GET, HEAD"}, "text/plain")
        if path == LIVE_PATH:
            return live_response(await self._live())
        if path == READY_PATH:
            return ready_response(await self._ready())
        return self._page(path) or Response(f"here are {LIVE_PATH} and {READY_PATH}\n", 404, media_type="text/plain")


def _without_body(send: Send) -> Send:
    async def head_send(event: Event) -> None:
        await send({**event, "body": b""} if event["type"] == "http.response.body" else event)

    return head_send
