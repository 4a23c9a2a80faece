"""Where an application takes what is published from outside."""

import re
import ssl
from typing import Final
from urllib.parse import SplitResult, urlsplit

import attrs

from ..core.names import check_box_name
from ..engines.redis.address import REDIS_SCHEMES, RedisAddress, parse_redis_url

__all__ = ["Address", "check_api_key", "check_application", "parse_address"]

_ACCEPTED: Final = (
    "accepted is the address of mount_api, as in https://example.com/api, or that of an engine, as in redis://host"
)
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~%!$&'()*+,;=:@-]+)+")
_API_KEY: Final = re.compile(r"[!-~]+")  # what a header can carry


@attrs.frozen
class Address:
    """A server, and what the paths of its API begin with.

    Args:
        host: a name or an address, without brackets.
        authority: host and port, as the header Host has them.
        unix_socket: its file, in place of host and port.
        ssl_context: None without TLS.
        engine: the server of an engine; None: it is the address of an API.
    """

    host: str
    port: int
    authority: str
    path: str
    unix_socket: str | None
    ssl_context: ssl.SSLContext | None
    engine: RedisAddress | None = None

    def __str__(self) -> str:
        if self.engine is not None:
            return str(self.engine)
        where = f"{'http' if self.ssl_context is None else 'https'}://{self.authority}{self.path}"
        return where if self.unix_socket is None else f"{where} on {self.unix_socket}"


def parse_address(url: str, unix_socket: str | None = None, ssl_context: ssl.SSLContext | None = None) -> Address:
    """Read an address. Raises: TypeError, ValueError, saying what is accepted."""
    if not isinstance(url, str):
        raise TypeError(f"url is a str, not {type(url).__name__}: {_ACCEPTED}")
    if url.partition(":")[0] in REDIS_SCHEMES:
        return _engine_address(url, unix_socket, ssl_context)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url: {error}; {_ACCEPTED}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url begins with http://HOST or https://HOST, also with unix_socket; {_ACCEPTED}")
    _check(parts)
    is_tls = parts.scheme == "https"
    if ssl_context is not None and not is_tls:
        raise ValueError("ssl_context is for https://, and the url has http://")
    if is_tls and ssl_context is None:
        ssl_context = ssl.create_default_context()
    host = parts.hostname
    shown = f"[{host}]" if ":" in host else host
    return Address(
        host,
        port or (443 if is_tls else 80),
        shown if port is None else f"{shown}:{port}",
        parts.path.rstrip("/"),
        unix_socket,
        ssl_context,
    )


def _engine_address(url: str, unix_socket: str | None, ssl_context: ssl.SSLContext | None) -> Address:
    if unix_socket is not None:
        raise ValueError("unix_socket is for an API; a server's socket is named as redis+unix:///path/of/socket")
    engine = parse_redis_url(url)
    if engine.seeds:
        raise ValueError(f"url is {engine}, by which nothing is published yet: name the primary, or mount_api")
    try:
        import hiredis
    except ImportError:
        raise ModuleNotFoundError(
            f'{engine} needs an extra: pip install "nexios-trio[redis]"', name="hiredis"
        ) from None
    del hiredis
    if ssl_context is not None and not engine.is_tls:
        raise ValueError("ssl_context is for rediss://, and the url has no TLS")
    if ssl_context is None and engine.is_tls:
        ssl_context = ssl.create_default_context(cafile=engine.ca or None)
    return Address(engine.host, engine.port, "", "", engine.path or None, ssl_context, engine)


def check_application(name: object) -> str:
    """Return an application's name. Raises: TypeError, ValueError."""
    if name is None:
        raise TypeError(
            "with the address of an engine, name= says whose groups, as that of mount_api does: the application's"
        )
    return check_box_name(name)


def _check(parts: SplitResult) -> None:
    if parts.username is not None or parts.password is not None:
        raise ValueError("url has a user or a password: the key of mount_api is given as api_key")
    if parts.query or parts.fragment:
        raise ValueError(f"url has a query or a fragment; {_ACCEPTED}")
    if not _PATH.fullmatch(parts.path.rstrip("/")):
        raise ValueError(f"url has to have the path that mount_api was given; {_ACCEPTED}")


def check_api_key(api_key: object) -> str:
    """Return what is shown to the server. Raises: TypeError, ValueError, without the key in their text."""
    if not isinstance(api_key, str):
        raise TypeError(f"api_key is the str that mount_api was given as key, not {type(api_key).__name__}")
    if not _API_KEY.fullmatch(api_key):
        raise ValueError("api_key is empty, or has characters that no header carries, such as spaces and line ends")
    return api_key
