"""HTTP/1.1 as bytes: requests for one address, and their answers. Without I/O."""

from typing import Final

import h11

from .address import Address
from .messages import Answer

__all__ = ["HttpConnection", "UnreadableAnswer"]

MAX_ANSWER_BYTES: Final = 16_777_216  # a presence of some 50,000 users


class UnreadableAnswer(Exception):
    """What came is no answer, or not all of it, or too much; `may_help`: to ask again."""

    def __init__(self, text: str, may_help: bool = True) -> None:
        super().__init__(text)
        self.may_help = may_help


class HttpConnection:
    """One connection: a request, its answer, the next request."""

    may_have_published = True  # from its first bytes on

    def __init__(self, address: Address, api_key: str) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._path = address.path
        self._headers = [
            ("Host", address.authority),
            ("Authorization", f"Bearer {api_key}"),
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("User-Agent", "nexios-trio"),
        ]
        self._response: h11.Response | None = None
        self._body = b""

    @property
    def is_reusable(self) -> bool:
        """The answer is complete, and another request may follow."""
        return self._http.our_state is h11.IDLE and self._http.their_state is h11.IDLE

    def request(self, name: str, body: bytes, nonce: bytes) -> bytes:
        """Return a request, as bytes."""
        headers = [*self._headers, ("Content-Length", str(len(body)))]
        head = self._http.send(h11.Request(method="POST", target=f"{self._path}/{name}", headers=headers))
        self._response, self._body = None, b""
        parts = (head, self._http.send(h11.Data(data=body)), self._http.send(h11.EndOfMessage()))
        return b"".join(part or b"" for part in parts)

    def more(self) -> bytes:
        """Return what is to be said before the answer is complete: nothing."""
        return b""

    def receive(self, data: bytes) -> Answer | None:
        """Take what came, b"" for the end; return the answer when that is complete. Raises: UnreadableAnswer."""
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.ConnectionClosed):
                    raise UnreadableAnswer("the connection was closed without an answer")
                if isinstance(event, h11.Response):
                    self._response = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > MAX_ANSWER_BYTES:
                        raise UnreadableAnswer(f"the answer has more than {MAX_ANSWER_BYTES} bytes", may_help=False)
                elif isinstance(event, h11.EndOfMessage):
                    return self._complete()
        except h11.RemoteProtocolError as error:
            raise UnreadableAnswer(str(error) if data else "the connection was closed in an answer") from None

    def _complete(self) -> Answer:
        assert self._response is not None
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._response.headers}
        return Answer(self._response.status_code, headers, self._body)
