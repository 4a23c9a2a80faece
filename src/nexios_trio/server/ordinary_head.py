"""The opening requests of ordinary clients, read in one pass.

An ordinary request has each header once, and nothing in it that is rare or wrong. Whatever is not ordinary is for the
whole parser (`request_head.parse_upgrade`), which decides what is refused, and how. So what is read here is read there
to the same end, which tests and `make fuzz` hold (docs/decisions/009).
"""

import re
from binascii import b2a_base64
from hashlib import sha1
from typing import Final

from .upgrade import Upgrade

__all__ = ["read_ordinary_head"]

_TOKEN: Final = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]++"
_HEAD: Final = re.compile(
    rb"GET (/[!-~]*+) HTTP/1\.1\r\n((?:" + _TOKEN + rb":[\x09\x20-\x7e\x80-\xff]*+\r\n){5,64})\r\n"  # 5 are necessary
)
_HOST: Final = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]+")  # characters, not syntax
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64
_SUBPROTOCOLS: Final = re.compile(_TOKEN + rb"(?:, ?" + _TOKEN + rb")*")
_CONNECTIONS: Final = frozenset({b"Upgrade", b"upgrade", b"keep-alive, Upgrade", b"Keep-Alive, Upgrade"})
# Of most headers, as clients write them: all connections share these objects.
_NAMES: Final = {
    spelled: name.lower()
    for name in (
        *(b"Host", b"Upgrade", b"Connection", b"Origin", b"Cookie", b"User-Agent", b"Pragma", b"Cache-Control"),
        *(b"Sec-WebSocket-Key", b"Sec-WebSocket-Version", b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Extensions"),
        *(b"Accept", b"Accept-Encoding", b"Accept-Language", b"Authorization", b"X-Forwarded-For", b"X-Real-IP"),
        *(b"Sec-Fetch-Dest", b"Sec-Fetch-Mode", b"Sec-Fetch-Site", b"X-Forwarded-Proto", b"X-Forwarded-Host"),
    )
    for spelled in (name, name.lower())
}
# Whole lines that many clients send alike, and that are no secret, are shared as well, as far as they have come before.
_ALIKE: Final = frozenset(
    (
        *(b"host", b"upgrade", b"connection", b"origin", b"user-agent", b"pragma", b"cache-control"),
        *(b"sec-websocket-version", b"sec-websocket-protocol", b"sec-websocket-extensions"),
        *(b"accept", b"accept-encoding", b"accept-language", b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site"),
    )
)
MAX_SHARED_LINES: Final = 512
MAX_SHARED_BYTES: Final = 256  # of one line
_shared: Final[dict[bytes, tuple[bytes, bytes]]] = {}
_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # of RFC 6455


def read_ordinary_head(head: bytes) -> Upgrade | None:
    """Read a request that is a WebSocket handshake in order; None for one that is another, or that is not ordinary."""
    found = _HEAD.fullmatch(head)
    if found is None:
        return None
    target, lines = found.groups()
    headers = [_shared.get(line) or _header(line) for line in lines[:-2].split(b"\r\n")]
    fields = dict(headers)
    key = fields.get(b"sec-websocket-key", b"")
    if (
        len(fields) != len(headers)
        or fields.get(b"connection") not in _CONNECTIONS
        or fields.get(b"upgrade", b"").lower() != b"websocket"
        or fields.get(b"sec-websocket-version") != b"13"
        or not _KEY.fullmatch(key)
        or not _HOST.fullmatch(fields.get(b"host", b""))
        or not _BODY.isdisjoint(fields)
    ):
        return None
    offered = fields.get(b"sec-websocket-protocol")
    if offered is None:
        subprotocols: list[str] = []
    elif _SUBPROTOCOLS.fullmatch(offered):
        subprotocols = offered.decode().replace(" ", "").split(",")
    else:
        return None
    accept = b2a_base64(sha1(key + _GUID).digest(), newline=False)  # what RFC 6455 asks for
    return Upgrade(target, headers, accept, subprotocols)


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    name = _NAMES.get(name) or name.lower()
    header = (name, value.strip(b" \t"))
    if name in _ALIKE and len(line) <= MAX_SHARED_BYTES:
        if len(_shared) >= MAX_SHARED_LINES:
            _shared.clear()
        _shared[line] = header
    return header
