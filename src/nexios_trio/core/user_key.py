"""Who a user is, for other connections and other processes: a text made of whatever the application has as a user."""

from collections.abc import Mapping
from typing import Any

__all__ = ["user_key"]


def user_key(user: Any) -> str | None:
    """Return the user's name or number as text: of a str or int, or of the "id" of a mapping or an object.

    None for nobody, and for what has none.
    """
    if isinstance(user, Mapping):
        user = user.get("id")
    elif not isinstance(user, str | int):
        user = getattr(user, "id", None)
    if isinstance(user, bool) or not isinstance(user, str | int):
        return None
    key = str(user)
    return key if key and "\0" not in key else None
