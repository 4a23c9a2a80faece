"""What a setting accepts: validators for attrs, and how a value is read from text.

Each validator says in one sentence what is accepted, and every error repeats it.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import inf, isnan
from typing import Any, Final

import attrs

from ..core.json import JsonDefault
from ..core.proxy_headers import UNIX, Network, Proxy

__all__ = ["Accepted", "Count", "Seconds", "Size", "Switch", "json_hook", "origins", "parse", "proxies", "words"]

_UNITS: Final = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)


class Accepted:
    """A validator that knows its own sentence: `accepted`."""

    accepted: str

    def __call__(self, instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not self.allows(value):
            kind = TypeError if self.wrong_type(value) else ValueError
            raise kind(f"{attribute.name} must be {self.accepted}, not {value!r}")

    def allows(self, value: object) -> bool:
        raise NotImplementedError

    def wrong_type(self, value: object) -> bool:
        raise NotImplementedError

    def read(self, text: str) -> object:
        """The value that `text` stands for; ``ValueError`` if none."""
        raise NotImplementedError


@attrs.frozen
class Seconds(Accepted):
    """A time span: above 0 (or from 0), finite unless `endless`."""

    endless: bool = False
    zero: bool = False

    @property
    def accepted(self) -> str:  # type: ignore[override]
        return f"seconds {'from' if self.zero else 'above'} 0{', inf for never' if self.endless else ''}"

    def allows(self, value: object) -> bool:
        if self.wrong_type(value) or not isinstance(value, int | float) or isnan(value):
            return False
        return (value > 0 or (self.zero and value == 0)) and (value < inf or self.endless)

    def wrong_type(self, value: object) -> bool:
        return isinstance(value, bool) or not isinstance(value, int | float)

    def read(self, text: str) -> float:
        return float(text)


@attrs.frozen
class Count(Accepted):
    """A whole number, `low` at least; ``None`` for no bound where `optional`."""

    low: int = 1
    optional: bool = False

    @property
    def accepted(self) -> str:  # type: ignore[override]
        return f"a whole number from {self.low}{', or None for no bound' if self.optional else ''}"

    def allows(self, value: object) -> bool:
        if value is None:
            return self.optional
        return not self.wrong_type(value) and isinstance(value, int) and value >= self.low

    def wrong_type(self, value: object) -> bool:
        return isinstance(value, bool) or not isinstance(value, int)

    def read(self, text: str) -> int | None:
        if self.optional and text.lower() in ("", "none"):
            return None
        return int(text)


@attrs.frozen
class Size(Count):
    """A number of bytes; in text also with a unit, as in 64KiB."""

    @property
    def accepted(self) -> str:  # type: ignore[override]
        nothing = ", or None" if self.optional else ""
        return f"a whole number of bytes from {self.low} (in the environment also as 64KiB, 1MiB){nothing}"

    def read(self, text: str) -> int | None:
        if self.optional and text.lower() in ("", "none"):
            return None
        found = re.fullmatch(r"([0-9_]+)\s*([a-z]*)", text.lower(), re.ASCII)
        if found is None or found[2] not in _UNITS:
            raise ValueError(text)
        return int(found[1]) * _UNITS[found[2]]


@attrs.frozen
class Switch(Accepted):
    """True or False."""

    @property
    def accepted(self) -> str:  # type: ignore[override]
        return "True or False (in the environment 1/0, true/false, yes/no, on/off)"

    def allows(self, value: object) -> bool:
        return isinstance(value, bool)

    def wrong_type(self, value: object) -> bool:
        return True

    def read(self, text: str) -> bool:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError(text)
        return text.lower() in _TRUE


def parse(validator: object, text: str) -> object:
    """Read `text` from the environment as a field with this validator would have it.

    Raises:
        ValueError: nothing that it accepts.
    """
    return validator.read(text.strip()) if isinstance(validator, Accepted) else text.strip()


def words(value: str | Iterable[object]) -> tuple[object, ...]:
    """A comma-separated text (``none`` for nothing), or several values, as a tuple."""
    if isinstance(value, str):
        if value.strip().lower() == "none":
            return ()
        return tuple(word for part in value.split(",") if (word := part.strip()))
    return tuple(value)


def origins(value: str | Iterable[str]) -> tuple[str, ...]:
    """Origins that browsers may come from, in lower case: ``scheme://host[:port]``, or ``*`` for any."""
    return tuple(map(_origin, words(value)))


def _origin(value: object) -> str:
    if isinstance(value, str) and (value == "*" or _ORIGIN.fullmatch(value.lower())):
        return value.lower()
    raise ValueError(f"allowed_origins takes scheme://host[:port] without a path, or '*', not {value!r}")


def proxies(value: str | Iterable[str | Network]) -> tuple[Proxy, ...]:
    """Read addresses or networks of the reverse proxies whose forwarding headers are believed.

    ``unix`` stands for every peer on a Unix socket.
    """
    return tuple(_proxy(word) for word in words(value))


def _proxy(value: object) -> Proxy:
    if isinstance(value, IPv4Network | IPv6Network):
        return _unmapped(value)
    try:
        if isinstance(value, str):
            return UNIX if value.lower() == UNIX else _unmapped(ip_network(value))
        reason = "a str or a network of the ipaddress module is accepted"
    except ValueError as error:
        reason = str(error)
    raise ValueError(
        f"trusted_proxies takes addresses and networks such as 10.0.0.0/8, and unix, not {value!r}: {reason}"
    )


def _unmapped(network: Network) -> Network:
    """A network of IPv4-mapped addresses as the IPv4 network that it stands for."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def json_hook(value: Any) -> JsonDefault | None:
    """Return a function of one value, or None, which a variable may say too. Raises: TypeError for anything else."""
    if value is None or value == "None":
        return None
    if not callable(value):
        raise TypeError(f"json_default is a function of one value, given in code, or None; not {value!r}")
    function: JsonDefault = value
    return function
