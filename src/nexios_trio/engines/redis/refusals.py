"""What a server's refusals say about where to go on."""

from typing import Any, Final

from .address import Place
from .link import RedisRefusal

__all__ = ["is_elsewhere", "is_redirect", "place_in"]

# The server has done nothing, and will do nothing: it is not the one that the link was opened to, or not yet ready.
ELSEWHERE: Final = frozenset(("NOSCRIPT", "READONLY", "LOADING", "MASTERDOWN"))
REDIRECTS: Final = frozenset(("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"))  # the same, for one slot of a Cluster


def is_elsewhere(answer: Any) -> bool:
    """Tell whether the answer says that nothing was done, and that there is no use for the link any more."""
    return isinstance(answer, RedisRefusal) and (answer.code in ELSEWHERE or answer.code in REDIRECTS)


def is_redirect(answer: Any) -> bool:
    """Tell whether the answer says that nothing was done, and that a slot is, or will be, at another server."""
    return isinstance(answer, RedisRefusal) and answer.code in REDIRECTS


def place_in(refusal: RedisRefusal, host: str) -> Place:
    """Read where a slot has gone: "MOVED 3999 127.0.0.1:6381". Without a host it is the same."""
    name, _, port = str(refusal).split()[2].rpartition(":")
    return name or host, int(port)
