"""Names that users and peers choose: of groups, and of the boxes that these are in.

A name travels in logs, metric labels and keys of other servers, so it is plain ASCII without spaces or
separators that mean something there. It is checked on every call that takes one, hence the cache.
"""

import re
from functools import lru_cache
from typing import Final

from ..exceptions import InvalidName

__all__ = ["MAX_NAME_LENGTH", "check_box_name", "check_group_name"]

MAX_NAME_LENGTH: Final = 100

# fullmatch below: "$" would let a trailing newline through
_GROUP_NAME: Final = re.compile(rf"[A-Za-z0-9_.:@-]{{1,{MAX_NAME_LENGTH}}}")
_ACCEPTED: Final = f"1 to {MAX_NAME_LENGTH} characters of A-Z a-z 0-9 _ . : @ -"
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


# Bounded: names from peers can push others out, never make it grow. Failures are not stored.
@lru_cache(maxsize=4096)
def _checked(name: str) -> str:
    if _GROUP_NAME.fullmatch(name):
        return str.__str__(name)  # an enum member or another subclass becomes the plain value
    shown = ascii(str.__str__(name[:_SHOWN])) + ("..." if len(name) > _SHOWN else "")
    raise InvalidName(f"invalid group name {shown} (length {len(name)}): accepted are {_ACCEPTED}")
