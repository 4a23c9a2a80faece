"""Who a user is, for other connections and other processes: a text made of whatever the application has as a user."""

from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

from .json import encode_utf8

__all__ = ["UserId", "check_user_id", "require_user_key", "user_key"]

# Gives the id of a user as text; None for somebody who is nobody in particular.
UserId = Callable[[Any], str | int | UUID | None]


def user_key(user: Any, user_id: UserId | None = None) -> str | None:
    """Return the user's id as text: what `user_id` says, or the user itself, or its "id".

    The user itself, where it is a str, an int or a UUID; else the attribute or, of a mapping, the key "id". None for
    nobody, and for what has none.

    Raises: what `user_id` raises.
    """
    if user is None:
        return None
    if user_id is not None:
        user = user_id(user)
    elif isinstance(user, Mapping):
        user = user.get("id")
    elif not isinstance(user, str | int | UUID):
        user = getattr(user, "id", None)
    if isinstance(user, bool) or not isinstance(user, str | int | UUID):
        return None
    key = str(user)
    return key if key and "\0" not in key and _is_unicode(key) else None


def require_user_key(user: Any, user_id: UserId | None = None) -> str:
    """Return the user's id as text.

    Raises: TypeError for a user that has none; what `user_id` raises.
    """
    key = user_key(user, user_id)
    if key is not None:
        return key
    accepted = "a str that is not empty, an int or a UUID"
    if user_id is not None:
        raise TypeError(f"user_id has to give {accepted}, and for a {type(user).__name__} it gives something else")
    raise TypeError(
        f"nobody can say who a user of type {type(user).__name__} is: a user is {accepted}, or has such an id; for"
        " others, say it with user_id=, a function (user) -> str, of NexiosApp or AuthenticationMiddleware"
    )


def check_user_id(user_id: Any) -> UserId | None:
    """Raises: TypeError for what cannot be asked who a user is."""
    if user_id is None:
        return None
    if not callable(user_id):
        raise TypeError(f"user_id is a function (user) -> str, or None, not {user_id!r}")
    return cast(UserId, user_id)


def _is_unicode(key: str) -> bool:
    try:
        encode_utf8(key)
    except ValueError:
        return False
    return True
