"""Where a Redis or Valkey server is, as an URL says it, and as what the engine speaks to it."""

import math
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

__all__ = ["REDIS_SCHEMES", "RedisAddress", "parse_redis_url"]

REDIS_SCHEMES: Final = (
    *("redis", "rediss", "redis+unix", "valkey", "valkeys"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)
OPTIONS: Final = ("prefix", "timeout", "db", "ca")
SENTINEL_OPTIONS: Final = ("sentinel_user", "sentinel_password")
DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
MAX_PREFIX_LENGTH: Final = 100  # characters
MAX_TIMEOUT_SECONDS: Final = 600

_FORMS: Final = (
    "redis://user:password@host:6379/0, rediss://… for TLS, redis+unix:///path/of/socket,"
    " redis+sentinel://host:26379,host:26379/master or redis+cluster://host:6379,host:6379"
)
_SENTINEL_FORM: Final = "redis+sentinel://host:26379,host:26379/master, with the name that Sentinel has for the servers"

Place = tuple[str, int]  # host and port


@attrs.frozen
class RedisAddress:
    """Args:
    host: a name or an IP address; "" with `path`, and where `seeds` are to be asked.
    path: of a Unix socket; "" with `host`.
    user: "" for the server's default user.
    password: "" for none.
    prefix: of all keys and channels; "" for one that the engine makes of its name.
    ca: a file with the certificates that TLS trusts; "" for those of the system.
    timeout: seconds for each answer, and for the start; 0 for the engine's own.
    seeds: of a Sentinel or a Cluster: whom to ask first.
    master: the name that Sentinel has for the servers; "" for a Cluster.
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
    timeout: float = 0.0
    seeds: tuple[Place, ...] = ()
    master: str = ""
    sentinel_user: str = ""
    sentinel_password: str = attrs.field(default="", repr=False)

    @property
    def is_cluster(self) -> bool:
        return bool(self.seeds) and not self.master

    def at(self, host: str, port: int) -> "RedisAddress":
        """Return the address of one server of those that this one is about."""
        return attrs.evolve(self, host=host, port=port, seeds=(), master="")

    def sentinel_at(self, host: str, port: int) -> "RedisAddress":
        """Return the address of one of the Sentinels."""
        return attrs.evolve(self.at(host, port), user=self.sentinel_user, password=self.sentinel_password, database=0)

    def __str__(self) -> str:
        """As it may be shown: without user and password."""
        if self.path:
            return f"redis+unix://{self.path}"
        scheme = "rediss" if self.is_tls else "redis"
        if self.seeds:
            hosts = ",".join(_show(*seed) for seed in self.seeds)
            return f"{scheme}+sentinel://{hosts}/{self.master}" if self.master else f"{scheme}+cluster://{hosts}"
        return f"{scheme}://{_show(self.host, self.port)}"


def _show(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_redis_url(url: str) -> RedisAddress:
    """Return the address that an URL names. Raises: ValueError, without the password in it."""
    parts = urlsplit(url)
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError(f"an engine's URL is {_FORMS}, and does not begin with {parts.scheme or 'no scheme'!r}")
    base, _, kind = parts.scheme.partition("+")
    options = _read_options(parts.query, kind)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    address = RedisAddress(
        is_tls=base in ("rediss", "valkeys"),
        user=unquote(user),
        password=unquote(password),
        prefix=_check_prefix(options.get("prefix", "")),
        timeout=_read_timeout(options.get("timeout", "")),
        ca=options.get("ca", ""),
        sentinel_user=options.get("sentinel_user", ""),
        sentinel_password=options.get("sentinel_password", ""),
    )
    return attrs.evolve(address, **_read_place(parts, kind, hosts, options.get("db", "")))


def _read_place(parts: SplitResult, kind: str, hosts: str, database: str) -> dict[str, Any]:
    """Read where it is, and which database."""
    path = parts.path.strip("/")
    if kind == "unix":
        if hosts or not path:
            raise ValueError("a Unix socket is named as redis+unix:///path/of/socket, with three slashes")
        return {"path": unquote(parts.path), "database": _read_database(database)}
    places = [_read_host(each, SENTINEL_PORT if kind == "sentinel" else DEFAULT_PORT) for each in hosts.split(",")]
    if kind == "cluster":
        if path or database:
            raise ValueError("a Cluster has one database, and no path: redis+cluster://host:6379,host:6379")
        return {"seeds": tuple(places)}
    if kind == "sentinel":
        master, _, path = path.partition("/")
        if not master:
            raise ValueError(f"a Sentinel is asked for a name: {_SENTINEL_FORM}")
        return {"seeds": tuple(places), "master": unquote(master), "database": _read_database(path or database)}
    if len(places) > 1:
        raise ValueError("several hosts are those of a redis+sentinel:// or a redis+cluster://")
    host, port = places[0]
    return {"host": host, "port": port, "database": _read_database(path or database)}


def _read_host(text: str, default: int) -> Place:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or default
    except ValueError:
        raise ValueError("the port in an engine's URL is a number from 1 to 65535") from None
    if not host:
        raise ValueError(f"an engine's URL names a host: {_FORMS}")
    return host, port


def _read_options(query: str, kind: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    accepted = (*OPTIONS, *SENTINEL_OPTIONS) if kind == "sentinel" else OPTIONS
    for name in options:
        if name not in accepted:
            raise ValueError(f"an engine's URL may have the options {', '.join(accepted)}, not {name!r}")
    return options


def _read_timeout(text: str) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if not (seconds > 0 or not text) or seconds > MAX_TIMEOUT_SECONDS:
        raise ValueError(f"timeout in an engine's URL is seconds, up to {MAX_TIMEOUT_SECONDS}, not {text!r}")
    return seconds


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
