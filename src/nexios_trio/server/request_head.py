"""Read the opening request: which connections are WebSockets.

Only the head is read here. What ordinary clients send is read in one pass (`ordinary_head`); everything else by the
sans-I/O parser of the `websockets` library, which also checks the handshake and computes its answer. Whatever is not a
WebSocket upgrade over HTTP/1.1 is left, bytes and all, to hypercorn.
"""

import email.utils
import re
from http import HTTPStatus

import attrs
from websockets.exceptions import InvalidHandshake, InvalidHeader, TooManyHeaders
from websockets.headers import parse_subprotocol
from websockets.http11 import MAX_NUM_HEADERS, Request
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from ..asgi_types import Headers
from ..protocol import deflate
from ..protocol.denial import BODILESS_STATUSES
from .ordinary_head import read_ordinary_head
from .upgrade import HEAD_END, Upgrade

__all__ = [
    "HEAD_END",
    "BadUpgrade",
    "Upgrade",
    "WebSocketRequest",
    "http_response",
    "is_upgrade",
    "parse_upgrade",
    "read_upgrade",
]

_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[ \t]*websocket", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]+")  # characters, not syntax
_TARGET = re.compile(r"/[!-~]*")
_SPOKEN = ((b"sec-websocket-version", b"13"), (b"upgrade", b"websocket"))  # what we say to those who speak another
_HANDSHAKES = ServerProtocol()  # used for its checks only, which keep nothing


class BadUpgrade(Exception):
    """A WebSocket upgrade that is not in order. `response` is the whole HTTP answer."""

    def __init__(self, status: int, text: str, headers: Headers = ()) -> None:
        super().__init__(text)
        self.status = status
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
        self.response = http_response(status, headers, text.encode())


@attrs.frozen
class WebSocketRequest:
    """A connection that was served as HTTP asks for a WebSocket after all.

    Args:
        received: what it has sent, from that request's head on.
    """

    received: bytes

    @property
    def head_size(self) -> int:
        return self.received.index(HEAD_END) + len(HEAD_END)


def read_upgrade(head: bytes, *, compression: bool = False) -> Upgrade | None:
    """Read the head of a request; None for one that asks for no WebSocket. Raises: BadUpgrade."""
    upgrade = read_ordinary_head(head)
    if upgrade is None:
        return parse_upgrade(head, compression=compression) if is_upgrade(head) else None
    if compression:
        try:
            upgrade.negotiate()
        except InvalidHandshake as error:
            raise BadUpgrade(400, _problem(error), _SPOKEN) from None
    return upgrade


def is_upgrade(head: bytes) -> bool:
    """Tell whether the request asks for a WebSocket, in order or not."""
    return head.startswith(b"GET ") and _UPGRADE.search(head) is not None


def parse_upgrade(head: bytes, *, compression: bool = False) -> Upgrade:
    """Read a request of which `is_upgrade` is true, whatever is in it. Raises: BadUpgrade."""
    request = _parse(head)
    try:
        accept, _, _ = _HANDSHAKES.process_request(request)
        offered = request.headers.get_all("Sec-WebSocket-Protocol")
        subprotocols = [str(name) for value in offered for name in parse_subprotocol(value)]
        extension = deflate.answer_offers(request.headers.get_all("Sec-WebSocket-Extensions")) if compression else None
    except InvalidHandshake as error:
        status = 426 if isinstance(error, InvalidHeader) and error.name == "Sec-WebSocket-Version" else 400
        raise BadUpgrade(status, _problem(error), _SPOKEN) from None
    if not _TARGET.fullmatch(request.path):
        raise BadUpgrade(400, "the request target must be a path, of ASCII without control characters\n")
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.raw_items()]
    return Upgrade(request.path.encode(), headers, accept.encode(), subprotocols, extension)


def _problem(error: InvalidHandshake) -> str:
    """Without the header's value, which may be a secret."""
    if not isinstance(error, InvalidHeader):
        return "the handshake is not in order\n"
    return f"the {error.name} header is {'missing' if error.value is None else 'not in order'}\n"


def _parse(head: bytes) -> Request:
    reader = StreamReader()
    reader.feed_data(head)
    try:
        next(Request.parse(lambda _, error: reader.read_line(len(head), error)))  # one line may be all of it
    except StopIteration as result:
        request: Request = result.value
        hosts = request.headers.get_all("Host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise BadUpgrade(400, "exactly one Host header is needed, with a host and perhaps a port\n") from None
        return request
    except TooManyHeaders:
        raise BadUpgrade(431, f"a request may have {MAX_NUM_HEADERS} headers\n") from None
    except NotImplementedError:
        raise BadUpgrade(501, "an upgrade has no body\n") from None
    except Exception:
        raise BadUpgrade(400, "the request is malformed\n") from None
    raise BadUpgrade(400, "the request is incomplete\n")


def http_response(status: int, headers: Headers, body: bytes) -> bytes:
    """A whole HTTP/1.1 response after which the connection is closed."""
    lines = [
        f"HTTP/1.1 {status} {_phrase(status)}".encode(),
        b"date: " + email.utils.formatdate(usegmt=True).encode(),
        b"connection: close",
    ]
    if status not in BODILESS_STATUSES:
        lines.append(b"content-length: %d" % len(body))
    lines += [name + b": " + value for name, value in headers if name.lower() != b"content-length"]
    return b"\r\n".join(lines) + HEAD_END + body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
