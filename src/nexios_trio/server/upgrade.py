"""A WebSocket handshake that is in order: its ASGI scope, and its answer."""

from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote

import attrs
from websockets.exceptions import InvalidHandshake

from ..asgi_types import Headers
from ..protocol import deflate

__all__ = ["HEAD_END", "Upgrade"]

HEAD_END: Final = b"\r\n\r\n"
_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}  # the same object for all connections, which nobody changes


@attrs.define
class Upgrade:
    """A WebSocket handshake that is in order."""

    target: bytes  # path and query as on the request line, ASCII
    headers: list[tuple[bytes, bytes]]  # names in lower case
    accept: bytes  # the value of Sec-WebSocket-Accept
    subprotocols: list[str]
    # The value of Sec-WebSocket-Extensions: of permessage-deflate, where an offer was taken
    extension: bytes | None = None

    @property
    def deflate(self) -> bool:
        """Messages may be compressed."""
        return self.extension is not None

    def negotiate(self) -> None:
        """Take an offer of permessage-deflate, if there is one. Raises: websockets.exceptions.InvalidHeaderFormat."""
        offers = [value.decode("latin-1") for name, value in self.headers if name == b"sec-websocket-extensions"]
        self.extension = deflate.answer_offers(offers)

    def negotiate_again(self, *, compression: bool) -> None:
        """Take an offer of permessage-deflate, or none: the application has other settings than the server."""
        self.extension = None
        if compression:
            with suppress(InvalidHandshake):
                self.negotiate()

    def answer(self, subprotocol: str | None, headers: Headers) -> bytes:
        """The 101 response."""
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + self.accept,
        ]
        if subprotocol is not None:
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
        if self.extension is not None:
            lines.append(b"Sec-WebSocket-Extensions: " + self.extension)
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join(lines) + HEAD_END

    def scope(self, **connection: Any) -> dict[str, Any]:
        """The ASGI scope; `connection` adds what the head does not tell."""
        raw_path, _, query = self.target.partition(b"?")
        path = raw_path.decode()
        return {
            "type": "websocket",
            "asgi": _ASGI,
            "http_version": "1.1",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self.headers,
            "subprotocols": self.subprotocols,
            "extensions": {"websocket.http.response": {}},
            **connection,
        }
