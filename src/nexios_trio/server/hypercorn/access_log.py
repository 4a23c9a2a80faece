"""hypercorn's access log, made safe: clients choose much of what it prints.

Control characters, quotes and escape sequences are escaped, so that a line is one request and a terminal stays as it
was. Query strings, where tokens travel, are not printed.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hypercorn.logging import Logger

__all__ = ["SafeAtoms", "safe_logger_class"]

_QUERY: Final = re.compile(r"\?\S*")
_IS_LOGGED: Final = "nexios_trio.is_logged"  # in a scope
_WITH_QUERY: Final = frozenset({"R", "Uq", "f", "{referer}i"})


class SafeAtoms(Mapping[str, Any]):
    """What an access log line can be made of."""

    def __init__(self, atoms: Mapping[str, Any]) -> None:
        self._atoms = atoms

    def __getitem__(self, key: str) -> Any:
        value = self._atoms[key]
        if not isinstance(value, str):
            return value
        if key == "q":
            return "..." if value else value
        if key in _WITH_QUERY or key.lower() in _WITH_QUERY:
            value = _QUERY.sub("?...", value)
        return value.encode("unicode_escape").decode("ascii").replace('"', '\\"')

    def __iter__(self) -> Iterator[str]:
        return iter(self._atoms)

    def __len__(self) -> int:
        return len(self._atoms)


def safe_logger_class(logger_class: type[Logger]) -> type[Logger]:
    """The same kind of logger, with safe atoms."""

    class SafeLogger(logger_class):  # type: ignore[misc,valid-type]
        async def access(self, request: Any, response: Any, request_time: float) -> None:
            if not request.get(_IS_LOGGED):  # hypercorn comes twice for a WebSocket that its application never answers
                request[_IS_LOGGED] = True
                await super().access(request, response, request_time)

        def atoms(self, request: Any, response: Any, request_time: float) -> Mapping[str, Any]:
            return SafeAtoms(super().atoms(request, response, request_time))

    return SafeLogger
