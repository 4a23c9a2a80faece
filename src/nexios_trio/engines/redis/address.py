"""Where a Redis or Valkey server is, as an URL says it, and as what the engine speaks to it."""

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs

__all__ = ["REDIS_SCHEMES", "RedisAddress", "parse_redis_url"]

REDIS_SCHEMES: Final = ("redis", "rediss", "redis+unix", "valkey", "valkeys")
OPTIONS: Final = ("prefix", "db", "ca")
DEFAULT_PORT: Final = 6379
MAX_PREFIX_LENGTH: Final = 100  # characters

_FORMS: Final = "redis://user:password@host:6379/0, rediss://… for TLS, or redis+unix:///path/of/socket"


@attrs.frozen
class RedisAddress:
    """Args:
    host: a name or an IP address; "" with `path`.
    path: of a Unix socket; "" with `host`.
    user: "" for the server's default user.
    password: "" for none.
    prefix: of all keys and channels; "" for one that the engine makes of its name.
    ca: a file with the certificates that TLS trusts; "" for those of the system.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    is_tls: bool = False
    user: str = ""
    password: str = attrs.field(default="", repr=False)
    database: int = 0
    prefix: str = ""
    ca: str = ""

    def __str__(self) -> str:
        """As it may be shown: without user and password."""
        if self.path:
            return f"redis+unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.is_tls else 'redis'}://{host}:{self.port}"


def parse_redis_url(url: str) -> RedisAddress:
    """Return the address that an URL names. Raises: ValueError, without the password in it."""
    parts = urlsplit(url)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError(f"an engine's URL is {_FORMS}, not one of {parts.scheme or 'no scheme'!r}")
    options = _read_options(parts.query)
    is_unix = parts.scheme == "redis+unix"
    database = options.get("db", "")
    if not is_unix and parts.path.strip("/"):
        database = parts.path.strip("/")
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError("the port in an engine's URL is a number from 1 to 65535") from None
    if is_unix and (parts.hostname or len(parts.path) < 2):
        raise ValueError("a Unix socket is named as redis+unix:///path/of/socket, with three slashes")
    if not is_unix and not parts.hostname:
        raise ValueError(f"an engine's URL names a host: {_FORMS}")
    return RedisAddress(
        host="" if is_unix else parts.hostname or "",
        port=port,
        path=unquote(parts.path) if is_unix else "",
        is_tls=parts.scheme in ("rediss", "valkeys"),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=_read_database(database),
        prefix=_check_prefix(options.get("prefix", "")),
        ca=options.get("ca", ""),
    )


def _read_options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise ValueError(f"an engine's URL may have the options {', '.join(OPTIONS)}, not {name!r}")
    return options


def _read_database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"the database in an engine's URL is a number from 0, not {text!r}")
    return int(text)


def _check_prefix(prefix: str) -> str:
    if len(prefix) > MAX_PREFIX_LENGTH or not all("!" <= char <= "~" for char in prefix):
        raise ValueError(f"prefix has at most {MAX_PREFIX_LENGTH} visible ASCII characters, not {prefix!r}")
    return prefix
