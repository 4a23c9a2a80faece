"""What a record says about a connection: which path, who is at the other end."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

__all__ = ["UNIX_CLIENT", "client_name", "connection_fields", "user_name"]

UNIX_CLIENT: Final = "unix"  # in place of an address, which a peer on a Unix socket has not
_Name = str | int | UUID
_NAMES: Final = ("identity", "username", "name", "display_name", "id")


def client_name(client: Any) -> str:
    """Return the address of an ASGI scope's `client`, without the port."""
    return str(client[0]) if client else UNIX_CLIENT


def user_name(user: Any) -> str | None:
    """Return what a user is called: itself, where it is a str, a number or a UUID, or one of its attributes or keys.

    None where there is none of those: nothing else of a user belongs in a log.
    """
    if isinstance(user, _Name):
        return str(user)
    for name in _NAMES:
        try:
            found = user.get(name) if isinstance(user, Mapping) else getattr(user, name, None)
        except Exception:  # Starlette's users have properties that raise
            continue
        if isinstance(found, _Name) and found != "":
            return str(found)
    return None


def connection_fields(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return `path`, `client` and `user` of an ASGI scope."""
    return {
        "path": scope.get("path"),
        "client": client_name(scope.get("client")),
        "user": user_name(scope.get("user")),
    }
