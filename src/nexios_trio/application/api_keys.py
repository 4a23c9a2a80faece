"""The keys that backends show, compared in constant time."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["ApiKeys"]

MIN_KEY_LENGTH: Final = 16  # characters; nobody guesses so many that were drawn at random
MAX_KEY_LENGTH: Final = 512
_KEY: Final = re.compile(rf"[A-Za-z0-9._~+/=-]{{{MIN_KEY_LENGTH},{MAX_KEY_LENGTH}}}")  # RFC 6750, section 2.1
_ACCEPTED: Final = (
    f"{MIN_KEY_LENGTH} to {MAX_KEY_LENGTH} characters of A-Z a-z 0-9 - . _ ~ + / =, as"
    " `python -c 'import secrets; print(secrets.token_urlsafe(32))'` makes them"
)


class ApiKeys:
    """One key, or several while a new one takes the place of an old one. Only their digests are kept.

    Raises: TypeError, ValueError, which say how long a key was and not which.
    """

    def __init__(self, key: str | Iterable[str]) -> None:
        keys = _listed(key)
        if not keys:
            raise ValueError(f"key is empty: without one anybody could publish; accepted are {_ACCEPTED}")
        for one in keys:
            if not isinstance(one, str):
                raise TypeError(f"key is a str, or several, not one that is {type(one).__name__}")
            if not _KEY.fullmatch(one):
                raise ValueError(f"a key of {len(one)} characters: accepted are {_ACCEPTED}")
        self._digests = [_digest(one.encode()) for one in keys]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._digests)}>"

    def problem(self, authorization: str | None) -> str | None:
        """Return why a request with this header may not publish; None: it may."""
        if authorization is None:
            return "give the key of mount_api in a header, Authorization: Bearer KEY"
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return "the header Authorization is to begin with Bearer"
        digest = _digest(given.strip().encode("latin-1", "replace"))
        found = [hmac.compare_digest(digest, one) for one in self._digests]  # all of them, whichever it is
        return None if any(found) else "the key is not one of mount_api"


def _listed(key: Any) -> list[Any]:
    if isinstance(key, str):
        return [key]
    if isinstance(key, Iterable) and not isinstance(key, bytes | bytearray):
        return list(key)
    raise TypeError(
        f"key is a str, or several for rotation, not {type(key).__name__}: without one anybody could publish; accepted"
        f" are {_ACCEPTED}"
    )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
