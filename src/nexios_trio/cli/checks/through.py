"""What arrives here of a handshake that goes through the proxies in front, as a browser's would."""

import copy
import secrets
import ssl
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import attrs
import trio
from hypercorn.config import Config
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from ...asgi_types import Receive, Scope, Send
from ...config.settings import Settings
from ...middleware.origin import explain_origin, origin_problem
from ...server import serve
from ...server.errors import sole
from .findings import Finding, note, ok, wrong

__all__ = ["check_through"]

SUBJECT: Final = "through"
TIMEOUT_SECONDS: Final = 10.0  # for the handshake there and back
SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_UPGRADE: Final = (
    "nginx: proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade, proxy_set_header Connection"
    " $connection_upgrade"
)


@attrs.define
class Probe:
    """An ASGI application that keeps the scope of the one request that knows its token."""

    token: str = attrs.field(factory=secrets.token_hex)
    scope: Scope | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("a probe has no lifespan")
        if self.token.encode() in scope["query_string"]:
            self.scope = scope
        await receive()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
        else:
            await send({"type": "http.response.start", "status": 426, "headers": []})
            await send({"type": "http.response.body", "body": b"this is no WebSocket\n"})


def check_through(url: str, config: Config, settings: Settings) -> Iterator[Finding]:
    """Serve a probe where the server would listen, for a moment, and ask for a WebSocket at `url`."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        yield wrong(SUBJECT, f"--through takes what clients connect to, as in wss://chat.example.com/ws, not {url}")
        return
    parts = parts._replace(scheme=SCHEMES[parts.scheme], path=parts.path or "/")
    probe = Probe()
    try:
        problem = trio.run(_ask, parts, probe, config, settings)
    except (OSError, ValueError, BaseExceptionGroup) as error:
        failure = sole(error)
        text = (isinstance(failure, OSError) and failure.strerror) or failure
        yield wrong(SUBJECT, f"the addresses are needed for this, and {text}")
        return
    if probe.scope is None:
        yield wrong(SUBJECT, f"nothing arrives here: {problem or 'somebody else has answered'}")
    elif probe.scope["type"] == "http":
        yield wrong(SUBJECT, f"the handshake arrives without its Upgrade header, as a plain request: {_UPGRADE}")
    elif problem is not None:
        yield wrong(SUBJECT, f"the handshake arrives, and the answer is lost: {problem}")
    else:
        yield ok(SUBJECT, f"WebSockets come through, at {probe.scope['path']}")
        yield from _check_scope(probe.scope, parts, settings)


async def _ask(parts: SplitResult, probe: Probe, config: Config, settings: Settings) -> str | None:
    quick = settings.evolve(drain_jitter=0.0, drain_timeout=1.0)
    quiet = copy.copy(config)
    quiet.accesslog = None
    url = parts._replace(query=probe.token).geturl()
    origin = f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc.rpartition('@')[2]}"
    stop = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
            await serve(probe, quiet, settings=quick, shutdown_trigger=stop.wait, task_status=task_status)

        await nursery.start(run)
        problem = await trio.to_thread.run_sync(_shake_hands, url, origin)
        stop.set()
    return problem


def _shake_hands(url: str, origin: str) -> str | None:
    """Say what went wrong. Called in a thread."""
    try:
        with connect(url, origin=Origin(origin), open_timeout=TIMEOUT_SECONDS, close_timeout=1.0, proxy=None):
            return None
    except InvalidStatus as error:
        return _explain_status(error.response.status_code)
    except ssl.SSLCertVerificationError as error:
        why = f"TLS with {urlsplit(url).hostname} fails: {error.verify_message}"
        return f"{why}; SSL_CERT_FILE=FILE in the environment has one of your own trusted"
    except ssl.SSLError as error:
        return f"TLS with {urlsplit(url).hostname} fails: {error}"
    except TimeoutError:
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    except (OSError, InvalidHandshake, EOFError) as error:
        return f"{type(error).__name__}: {error}"


def _explain_status(status: int) -> str:
    match status:
        case 502 | 503 | 504:
            return (
                f"the proxy answers {status}: it cannot connect to this address. Is it the one in its configuration?"
                " A Unix socket needs --umask 007 and its group, or --umask 000"
            )
        case 404 | 405:
            return f"somebody on the way answers {status}: the proxy has another place for this path"
        case _:
            return f"somebody on the way answers {status}"


def _check_scope(scope: Scope, parts: SplitResult, settings: Settings) -> Iterator[Finding]:
    problem = origin_problem(scope, settings.allowed_origins, required=settings.require_origin)
    if problem is not None:
        yield wrong(SUBJECT, f"browsers get 403: {explain_origin(scope, problem)}")
    forwarded = _header(scope, b"x-forwarded-for")
    client = None if scope["client"] is None else scope["client"][0]
    peer = "unix" if client is None else client
    if not forwarded:
        yield note(SUBJECT, f"no X-Forwarded-For: every client looks like {peer}, who connects")
    elif client is None or client not in forwarded:
        yield wrong(SUBJECT, f"X-Forwarded-For of {peer} is not believed: --set trusted_proxies={peer}")
    else:
        yield ok(SUBJECT, f"the client's address is {client}, by X-Forwarded-For")
    if parts.scheme == "wss" and scope["scheme"] != "wss":
        said = _header(scope, b"x-forwarded-proto")
        why = f"says {said}, and is not believed" if said == "https" else f"says {said}" if said else "is not sent"
        yield wrong(SUBJECT, f"the server does not know of the TLS: X-Forwarded-Proto {why}")


def _header(scope: Any, name: bytes) -> str:
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)
