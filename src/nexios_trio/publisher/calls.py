"""What may be asked of an application from outside: each a request, and how its answer is read."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar
from uuid import UUID, uuid4

import attrs

from ..core.close_codes import check_close_code, check_reason
from ..core.json import JsonDefault, encode_json
from ..core.names import check_group_name
from ..core.present_user import PresentConnection, PresentUser
from ..core.user_key import require_user_key
from .messages import (
    NOT_OURS,
    Answer,
    GroupMessage,
    PublishReceipt,
    Refusal,
    encode_batch,
    encode_message,
    read_answer,
    read_object,
    read_refusal,
)

__all__ = ["Call", "batch_call", "disconnect_call", "presence_call", "publish_call", "unsubscribe_call"]

T = TypeVar("T")

MAX_PRESENCE_DEPTH: Final = 400  # levels of an answer, with the infos that applications may give


@attrs.frozen
class Call(Generic[T]):
    """One request.

    Args:
        name: the last part of its path.
        read: makes something of an answer; a Refusal where it has not succeeded.
        key: of its message, for errors.
        before: receipts of the messages of the same batch that are published.
        nonce: 16 bytes that are the same in each attempt, and in no other call.
    """

    name: str
    body: bytes
    read: Callable[[Answer], T | Refusal]
    key: str | None = None
    before: tuple[PublishReceipt, ...] = ()
    nonce: bytes = attrs.field(factory=lambda: uuid4().bytes)


def publish_call(message: GroupMessage, json_default: JsonDefault | None) -> Call[tuple[PublishReceipt, ...]]:
    """Publish one message. Raises: PayloadError."""
    read = partial(read_answer, count=None, first=0)
    return Call("publish", encode_message(message, json_default), read, message.key)


def batch_call(messages: list[bytes], before: tuple[PublishReceipt, ...]) -> Call[tuple[PublishReceipt, ...]]:
    """Publish several, which are encoded."""
    read = partial(read_answer, count=len(messages), first=len(before))
    return Call("batch", encode_batch(messages), read, None, before)


def presence_call(group: str) -> Call[list[PresentUser]]:
    """Ask who is present. Raises: TypeError, ValueError."""
    return Call("presence", encode_json({"group": check_group_name(group)}), partial(_read, _present))


def disconnect_call(user: Any, reason: str, code: int) -> Call[int]:
    """Close all connections of a user. Raises: TypeError, ValueError."""
    fields = {"user": require_user_key(user), "reason": check_reason(reason), "code": check_close_code(code)}
    return Call("disconnect", encode_json(fields), partial(_read, partial(_count, "connections")))


def unsubscribe_call(user: Any, group: str) -> Call[int]:
    """Let all channels of a user leave a group. Raises: TypeError, ValueError."""
    fields = {"user": require_user_key(user), "group": check_group_name(group)}
    return Call("unsubscribe", encode_json(fields), partial(_read, partial(_count, "channels")))


def _read(read: Callable[[dict[str, Any]], T], answer: Answer) -> T | Refusal:
    """Read an answer. `read` raises KeyError, TypeError or ValueError for one that is not mount_api's."""
    if answer.status != 200:
        return read_refusal(answer)
    try:
        return read(read_object(answer, MAX_PRESENCE_DEPTH))
    except (KeyError, TypeError, ValueError):
        return Refusal(NOT_OURS, answer.status, maybe_published=True, may_help=False)


def _count(name: str, found: dict[str, Any]) -> int:
    return int(found[name])


def _present(found: dict[str, Any]) -> list[PresentUser]:
    return [
        PresentUser(
            one["id"],
            one["user"],
            one["info"],
            tuple(PresentConnection(UUID(each["id"]), each["info"]) for each in one["connections"]),
        )
        for one in found["users"]
    ]
