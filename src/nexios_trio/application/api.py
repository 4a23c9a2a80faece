"""Routes for backends that publish, and act on users, over HTTP: scripts, task queues, services in other languages.

Who shows the key acts for the application itself, so `authorize`, which is about clients, is not asked.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from ..core.present_user import PresentUser
from ..exceptions import EngineError, LifecycleError, MessageTooBig
from ..groups.box import ChannelBox
from ..groups.user_connections import UserConnections
from ..http import Request, Response, error_response
from ..logs.fields import connection_fields
from ..routing.entries import HttpRoute, check_prefix
from ..routing.listing import made_by
from .api_bodies import (
    BadField,
    Publish,
    read_batch,
    read_disconnect,
    read_presence,
    read_publish,
    read_unsubscribe,
)
from .api_keys import ApiKeys
from .observing import ObservedRoutes

__all__ = ["ApiRoutes"]

logger = logging.getLogger("nexios_trio.http")

RETRY_AFTER_SECONDS: Final = 1
_KEY_HEADER: Final = "idempotency-key"

Serve = Callable[[Request], Awaitable[dict[str, Any] | Response]]


class ApiRoutes(ObservedRoutes):
    """What `NexiosApp` has for backends."""

    _api_paths: frozenset[str] = frozenset()

    def mount_api(self, path: str, *, key: str | Iterable[str]) -> None:
        """Let backends publish over HTTP: `POST path/publish` and `POST path/batch`, with JSON.

        Also `presence` of a group, and `disconnect` and `unsubscribe` of a user, on all nodes.

        A request shows the key, as in `Authorization: Bearer KEY`, and is then one of the application itself:
        `authorize` is not asked. `nexios_trio.publisher` and `nexios-trio publish` make such requests.

        Args:
            path: what the paths begin with, as in "/api".
            key: a secret of 16 characters or more; several while a new one takes the place of an old one.
        Raises: TypeError, ValueError for a key that is missing or too short, and for what is no path.
        """
        keys = ApiKeys(key)
        prefix = check_prefix(path)
        if not prefix:
            raise ValueError(f"path is what the API's paths begin with, as in '/api', not {path!r}")
        if prefix in self._api_paths:
            raise ValueError(f"there is an API at {prefix!r} already: give mount_api all keys at once")
        for name, serve in (
            ("publish", self._publish),
            ("batch", self._publish_batch),
            ("presence", self._presence),
            ("disconnect", self._disconnect),
            ("unsubscribe", self._unsubscribe),
        ):
            self.add_route(HttpRoute(f"{prefix}/{name}", _guarded(keys, serve), "POST"))
        self._api_paths |= {prefix}

    async def _publish(self, request: Request) -> dict[str, Any] | Response:
        publish = read_publish(await request.json(), request.headers.get(_KEY_HEADER))
        try:
            return await _post(self.runtime.box, publish)
        except (MessageTooBig, EngineError) as error:
            return _failure(publish, error)

    async def _publish_batch(self, request: Request) -> dict[str, Any] | Response:
        """Publish one after the other: where one fails, the rest is not tried, so a retry of all keeps the order."""
        if _KEY_HEADER in request.headers:
            raise BadField("", "a batch has no Idempotency-Key: each of its messages has a key of its own")
        results: list[dict[str, Any]] = []
        for publish in read_batch(await request.json()):
            try:
                results.append(await _post(self.runtime.box, publish))
            except (MessageTooBig, EngineError) as error:
                return _failure(publish, error, results=results)
        return {"results": results}

    async def _presence(self, request: Request) -> dict[str, Any] | Response:
        group = read_presence(await request.json())
        try:
            return {"users": [_described(user) for user in await self.runtime.box.presence(group)]}
        except LifecycleError as error:
            raise BadField("group", str(error)) from None
        except EngineError as error:
            return _unavailable(error, maybe_done=False)

    async def _disconnect(self, request: Request) -> dict[str, Any] | Response:
        asked = read_disconnect(await request.json())
        user = UserConnections(self.runtime.box, asked.user)
        try:
            return {"connections": await user.disconnect(asked.reason, asked.code)}
        except EngineError as error:
            return _unavailable(error, maybe_done=True)

    async def _unsubscribe(self, request: Request) -> dict[str, Any] | Response:
        asked = read_unsubscribe(await request.json())
        user = UserConnections(self.runtime.box, asked.user)
        try:
            return {"channels": await user.unsubscribe(asked.group)}
        except EngineError as error:
            return _unavailable(error, maybe_done=True)


def _guarded(keys: ApiKeys, serve: Serve) -> Callable[..., Awaitable[Any]]:
    """Return a handler that serves those who have a key. Nothing of others is read."""

    @made_by("mount_api")
    async def answer(request: Request, response: Any) -> Any:
        problem = keys.problem(request.headers.get("authorization"))
        if problem is not None:
            logger.warning(
                "refused with 401 at mount_api: %s",
                problem,
                extra={"status": 401, **connection_fields(request.scope)},
            )
            refusal = error_response(401, problem, maybe_published=False)
            refusal.headers["www-authenticate"] = "Bearer"
            return refusal
        try:
            return await serve(request)
        except BadField as error:
            return error_response(400, str(error), field=error.field, maybe_published=False)

    return answer


async def _post(box: ChannelBox, publish: Publish) -> dict[str, Any]:
    """Raises: MessageTooBig, EngineError."""
    receipt = box.post(
        publish.group, publish.payload, publish.save_history, transient=publish.transient, key=publish.key
    )
    position = await receipt
    group = box._index.groups.get(publish.group)
    if group is not None and group.backlogs:
        await box.broadcaster.wait_for_writers(group)  # as `group_send` does
    return {"position": None if position is None else str(position), "is_watched": receipt.is_watched}


def _failure(publish: Publish, error: MessageTooBig | EngineError, **more: Any) -> Response:
    if isinstance(error, MessageTooBig):
        return error_response(
            413, f"{publish.at}payload: {error}", field=f"{publish.at}payload", maybe_published=False, **more
        )
    return _unavailable(error, maybe_done=error.maybe_published, **more)


def _unavailable(error: EngineError, *, maybe_done: bool, **more: Any) -> Response:
    answer = error_response(503, str(error), maybe_published=maybe_done, **more)
    answer.headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    return answer


def _described(user: PresentUser) -> dict[str, Any]:
    return {
        "id": user.id,
        "user": user.user,
        "info": user.info,
        "connections": [{"id": str(one.id), "info": one.info} for one in user.connections],
    }
