"""Names that users and peers choose: of groups, and of the boxes that these are in.

A name travels in logs, metric labels and keys of other servers, so it is plain ASCII without spaces or
separators that mean something there. It is checked on every call that takes one, hence the cache.

Names that begin with `$` are the package's own: nobody else can choose, send to or join those.
"""

import re
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256
from typing import Final

from ..exceptions import InvalidName

__all__ = ["MAX_NAME_LENGTH", "check_box_name", "check_group_name", "is_reserved", "personal_group"]

MAX_NAME_LENGTH: Final = 100

# fullmatch below: "$" would let a trailing newline through
_GROUP_NAME: Final = re.compile(rf"[A-Za-z0-9_.:@-]{{1,{MAX_NAME_LENGTH}}}")
_ACCEPTED: Final = f"1 to {MAX_NAME_LENGTH} characters of A-Z a-z 0-9 _ . : @ -"
_RESERVED: Final = "$"
_MAX_PLAIN_ID: Final = 64  # bytes of a user's id that fit into a name as they are
_SHOWN: Final = 40  # characters of a refused name that an error repeats


def check_group_name(name: object) -> str:
    """Return `name` as a plain ``str`` if it is a valid group name.

    Raises:
        InvalidName: a ``ValueError``; it says what is wrong and what is accepted.
    """
    if isinstance(name, str):
        return _checked(name)
    raise InvalidName(f"a group name is a str of {_ACCEPTED}, not {type(name).__name__}")


def check_box_name(name: object) -> str:
    """Return the name of an application or a box, if it is valid. Raises: InvalidName."""
    if isinstance(name, str) and _GROUP_NAME.fullmatch(name):
        return str.__str__(name)
    raise InvalidName(f"the name of an application or a box is a str of {_ACCEPTED}, not {name!r:.{_SHOWN}}")


def is_reserved(name: str) -> bool:
    """Tell whether a group is one of the package's own, of which applications and peers see nothing."""
    return name.startswith(_RESERVED)


def personal_group(user: str) -> str:
    """Return the name of the group that all connections of a user are in. Takes the user's id: `core.user_key`."""
    data = user.encode()
    if len(data) <= _MAX_PLAIN_ID:
        return f"{_RESERVED}user:{_base64(data)}"
    return f"{_RESERVED}user:.{_base64(sha256(data).digest())}"  # base64 has no dot, so nobody has this id


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


# Bounded: names from peers can push others out, never make it grow. Failures are not stored.
@lru_cache(maxsize=4096)
def _checked(name: str) -> str:
    if _GROUP_NAME.fullmatch(name):
        return str.__str__(name)  # an enum member or another subclass becomes the plain value
    if is_reserved(name):
        raise InvalidName(
            f"group names that begin with {_RESERVED} are reserved: all connections of a user are reached with"
            f" app.user(...), and groups of yours are called by {_ACCEPTED}"
        )
    shown = ascii(str.__str__(name[:_SHOWN])) + ("..." if len(name) > _SHOWN else "")
    raise InvalidName(f"invalid group name {shown} (length {len(name)}): accepted are {_ACCEPTED}")
