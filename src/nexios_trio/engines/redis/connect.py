"""How a link to a Redis or Valkey server begins: the stream, who we are, and what kind of a server that is."""

import os
import ssl
from collections.abc import Iterator
from typing import Any, Final

import attrs
import trio

from ...exceptions import EngineError
from .address import RedisAddress
from .link import LinkLost, RedisLink, RedisRefusal, Word

__all__ = [
    "RedisServer",
    "ServerMisconfigured",
    "greet",
    "hello_words",
    "open_stream",
    "read_server",
    "refused_hello",
    "say_hello",
    "silent",
]

CONNECT_SECONDS: Final = 5.0
CLIENT_NAME: Final = "nexios-trio"  # in the server's CLIENT LIST
OLDEST: Final = (6, 2)  # the version of Redis whose commands we need
KEEPING_POLICY: Final = "noeviction"


class ServerMisconfigured(EngineError):
    """Only people can mend it: it makes no sense to try again."""


@attrs.frozen
class RedisServer:
    """What a server says of itself.

    Args:
        run_id: another one each time that it is started.
        name: for people, with the version.
        eviction: its policy where there is a bound to its memory; "" where there is none.
    """

    run_id: str
    name: str
    is_replica: bool
    eviction: str
    is_in_cluster: bool = False

    @property
    def may_forget(self) -> bool:
        """It may throw away what the engine keeps there."""
        return self.eviction not in ("", KEEPING_POLICY)


async def open_stream(address: RedisAddress) -> trio.abc.Stream:
    """Return a stream to the server, over which nothing was said yet.

    Checkpoint: always. Cancellation: nothing is left open. Raises: EngineError; ServerMisconfigured.
    """
    with trio.move_on_after(CONNECT_SECONDS) as scope:
        stream = await _connect(address)
        return await _secure(stream, address) if address.is_tls else stream
    assert scope.cancelled_caught
    raise silent(address, CONNECT_SECONDS)


def silent(address: RedisAddress, seconds: float) -> EngineError:
    """Return the error of whoever has waited so long."""
    hint = ", or does it speak without TLS, as redis://" if address.is_tls else ""
    return EngineError(_unreachable(address, f"nothing comes back in {seconds:g} s", hint))


async def _connect(address: RedisAddress) -> trio.SocketStream:
    try:
        if address.path:
            return await trio.open_unix_socket(address.path)
        return await trio.open_tcp_stream(address.host, address.port)
    except OSError as error:
        raise EngineError(_unreachable(address, _reason(error))) from None


async def _secure(stream: trio.SocketStream, address: RedisAddress) -> trio.abc.Stream:
    try:
        secure = trio.SSLStream(stream, _tls_context(address), server_hostname=address.host)
        await secure.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError | OSError):
            raise _no_tls(address, error) from None
        raise
    return secure


def _tls_context(address: RedisAddress) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=address.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ServerMisconfigured(f"the certificates in {address.ca} cannot be read: {error}") from None


def _no_tls(address: RedisAddress, error: BaseException) -> EngineError:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ServerMisconfigured(
            f"the certificate of {address} is not trusted: {cause.verify_message}. One of your own is trusted with"
            " ?ca=/path/of/file.pem in the URL"
        )
    return EngineError(f"{address} does not speak TLS: {_reason(cause)}; without TLS it is redis://…")


def _unreachable(address: RedisAddress, why: str, hint: str = "") -> str:
    return f"no server answers at {address}: {why}. Is it started, and is the address right{hint}?"


def _reason(error: BaseException) -> str:
    for leaf in _leaves(error.__cause__ or error):
        if isinstance(leaf, OSError) and leaf.errno:
            return os.strerror(leaf.errno) if leaf.errno > 0 else str(leaf.strerror)
    return str(error)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


async def say_hello(link: RedisLink, address: RedisAddress) -> None:
    """Say who we are. Checkpoint: always. Raises: ServerMisconfigured; EngineError."""
    try:
        await link.call(*hello_words(address))
    except RedisRefusal as refusal:
        raise refused_hello(address, refusal) from None
    except LinkLost:
        hint = "" if address.is_tls or address.path else ". Where it speaks TLS alone, it is rediss://…"
        raise EngineError(f"{address} ends the connection before it has said anything{hint}") from None


def hello_words(address: RedisAddress) -> tuple[Word, ...]:
    """Return the command that says who we are."""
    login: tuple[str, ...] = ("AUTH", address.user or "default", address.password) if address.password else ()
    return ("HELLO", 3, *login, "SETNAME", CLIENT_NAME)


async def greet(link: RedisLink, address: RedisAddress) -> RedisServer:
    """Say who we are, and which database is ours. Returns who answers.

    Checkpoint: always. Raises: ServerMisconfigured; EngineError.
    """
    await say_hello(link, address)
    if address.database:
        try:
            await link.call("SELECT", address.database)
        except RedisRefusal as refusal:
            raise ServerMisconfigured(f"{address} has no database {address.database}: {refusal}") from None
    try:
        info = await link.call("INFO")
    except RedisRefusal as refusal:
        info = refusal
    return read_server(address, info)


def refused_hello(address: RedisAddress, refusal: RedisRefusal) -> EngineError:
    """Return why a server lets us not in, in words for people."""
    match refusal.code:
        case "NOAUTH":
            return ServerMisconfigured(
                f"{address} wants a password: redis://:password@host, or redis://user:password@host"
            )
        case "WRONGPASS":
            who = f"user {address.user!r}" if address.user else "its default user"
            return ServerMisconfigured(f"{address} does not accept the password for {who}")
        case "NOPROTO" | "ERR" if refusal.code == "NOPROTO" or "unknown command" in str(refusal):
            return ServerMisconfigured(f"{address} is older than Redis {_dotted(OLDEST)}: {refusal}")
        case _:
            return EngineError(f"{address} lets nobody in: {refusal}")


def read_server(address: RedisAddress, info: Any) -> RedisServer:
    """Read the answer to INFO. Raises: ServerMisconfigured."""
    if isinstance(info, RedisRefusal):
        raise ServerMisconfigured(f"{address} does not tell about itself: {info}") from None
    text = bytes(info).decode(errors="replace")
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    version = facts.get("redis_version", "0")
    if _numbers(version) < OLDEST:
        raise ServerMisconfigured(f"{address} is Redis {version}; at least {_dotted(OLDEST)} is needed")
    if "sentinel" in (facts.get("server_mode"), facts.get("redis_mode")):  # Valkey's, Redis's
        raise ServerMisconfigured(f"{address} is a Sentinel: name it as redis+sentinel://…/NAME")
    bounded = facts.get("maxmemory", "0") != "0"
    name = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {version}"
    return RedisServer(
        run_id=facts.get("run_id", ""),
        name=name,
        is_replica=facts.get("role") == "slave",
        eviction=facts.get("maxmemory_policy", "") if bounded else "",
        is_in_cluster=facts.get("cluster_enabled") == "1",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
