"""What backends may ask of the application over HTTP: JSON objects, read field by field."""

import binascii
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import attrs

from ..core.close_codes import check_close_code, check_reason
from ..core.names import check_group_name
from ..core.user_key import user_key
from ..engines.base import check_key
from ..exceptions import InvalidName

__all__ = [
    "MAX_BATCH",
    "BadField",
    "Disconnect",
    "Publish",
    "Unsubscribe",
    "read_batch",
    "read_disconnect",
    "read_presence",
    "read_publish",
    "read_unsubscribe",
]

T = TypeVar("T")

MAX_BATCH: Final = 1000  # messages of one request; its bytes are bounded by `max_body_size`
_SHOWN: Final = 40  # characters of what somebody sent that an error repeats
_PUBLISH_FIELDS: Final = ("group", "payload", "payload_base64", "key", "save_history", "transient")


class BadField(ValueError):
    """Something in a body is not accepted.

    Args:
        field: its path, as in ``messages[3].group``; "" for the body itself.
        problem: what is wrong, and what is accepted.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field


@attrs.frozen
class Publish:
    """One message, as it was asked for. `at` is where it stands in the body, with a dot behind it, or ""."""

    at: str
    group: str
    payload: Any
    key: str | None
    save_history: bool
    transient: bool


@attrs.frozen
class Disconnect:
    """The connections of a user are to be closed."""

    user: str
    reason: str
    code: int


@attrs.frozen
class Unsubscribe:
    """The connections of a user are to leave a group."""

    user: str
    group: str


def read_publish(body: Any, header_key: str | None = None, at: str = "") -> Publish:
    """Read what one message is to be.

    Args:
        header_key: the Idempotency-Key of the request, which is the message's.
        at: see `Publish.at`.
    Raises: BadField.
    """
    fields = _object(body, _PUBLISH_FIELDS, at)
    save_history, transient = (_bool(fields, name, at) for name in ("save_history", "transient"))
    if save_history and transient:
        raise BadField(f"{at}transient", "a transient message is kept by nobody: either transient or save_history")
    return Publish(at, _group(fields, at), _payload(fields, at), _key(fields, header_key, at), save_history, transient)


def read_batch(body: Any) -> list[Publish]:
    """Read what several messages are to be: `{"messages": [...]}`. Raises: BadField."""
    messages = _object(body, ("messages",)).get("messages")
    if not isinstance(messages, list):
        raise BadField("messages", f"accepted is a list of 1 to {MAX_BATCH} messages, not {_kind(messages)}")
    if not 0 < len(messages) <= MAX_BATCH:
        raise BadField("messages", f"accepted are 1 to {MAX_BATCH} messages, not {len(messages)}")
    return [read_publish(message, None, f"messages[{number}].") for number, message in enumerate(messages)]


def read_presence(body: Any) -> str:
    """Read whose presence is asked for: a group. Raises: BadField."""
    return _group(_object(body, ("group",)))


def read_disconnect(body: Any) -> Disconnect:
    """Raises: BadField."""
    fields = _object(body, ("user", "reason", "code"))
    reason = _checked("reason", check_reason, fields.get("reason"))
    return Disconnect(_user(fields), reason, _checked("code", check_close_code, fields.get("code", 1000)))


def read_unsubscribe(body: Any) -> Unsubscribe:
    """Raises: BadField."""
    fields = _object(body, ("user", "group"))
    return Unsubscribe(_user(fields), _group(fields))


def _object(body: Any, accepted: Iterable[str], at: str = "") -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise BadField(at.removesuffix("."), f"accepted is an object with {', '.join(accepted)}, not {_kind(body)}")
    for name in body:
        if name not in accepted:
            raise BadField(f"{at}{_shown(name)}", f"there is no such field; accepted are {', '.join(accepted)}")
    return body


def _user(fields: Mapping[str, Any]) -> str:
    user = fields.get("user")
    key = user_key(user) if isinstance(user, str | int) else None
    if key is None:
        raise BadField("user", "accepted is the user's id: a string that is not empty, or a whole number")
    return key


def _checked(name: str, check: Callable[[object], T], value: Any) -> T:
    try:
        return check(value)
    except (TypeError, ValueError) as error:
        raise BadField(name, str(error)) from None


def _group(fields: Mapping[str, Any], at: str = "") -> str:
    try:
        return check_group_name(fields.get("group"))
    except InvalidName as error:
        raise BadField(f"{at}group", str(error)) from None


def _payload(fields: Mapping[str, Any], at: str) -> Any:
    if ("payload" in fields) is ("payload_base64" in fields):
        raise BadField(f"{at}payload", "give either payload, any JSON, or payload_base64, for a binary message")
    if "payload" in fields:
        return fields["payload"]
    encoded = fields["payload_base64"]
    try:
        if isinstance(encoded, str):
            return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise BadField(f"{at}payload_base64", "accepted is text in base64, with its padding (RFC 4648, section 4)")


def _key(fields: Mapping[str, Any], header_key: str | None, at: str) -> str | None:
    key = fields.get("key", header_key)
    if key is None:
        return None
    if header_key is not None and key != header_key:
        raise BadField(f"{at}key", "it differs from the header Idempotency-Key: give one of the two")
    try:
        return check_key(key)
    except (TypeError, ValueError) as error:
        raise BadField(f"{at}key", str(error)) from None


def _bool(fields: Mapping[str, Any], name: str, at: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise BadField(f"{at}{name}", f"accepted are true and false, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    """Return what JSON calls a value of this type."""
    if value is None:
        return "null"
    names = ((bool, "a boolean"), (int | float, "a number"), (str, "a string"), (list, "a list"))
    return next((name for types, name in names if isinstance(value, types)), "an object")


def _shown(name: str) -> str:
    return ascii(name)[1:-1][:_SHOWN]
