"""Why a connection ended, or was refused before any application saw it: in words, and with what can be done about it.

The log says this, and the page "Close codes and causes" has all of it.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from attrs import frozen

from .lifecycle import Cause, End

__all__ = ["ENDS", "ServerRefusal", "Words", "explain_end"]


@frozen
class Words:
    """What has happened, and what an operator can do; no remedy where nothing is wrong."""

    what: str
    remedy: str = ""


ENDS: Final[Mapping[Cause, Words]] = MappingProxyType(
    {
        Cause.HANDLER_RETURNED: Words("the handler has returned"),
        Cause.LOCAL_CLOSE: Words("the application closed it"),
        Cause.PEER_CLOSED: Words("the peer closed it"),
        Cause.PEER_LOST: Words(
            "the peer has gone without a close frame",
            "where all do after the same time, a proxy's timeout is shorter than ping_interval",
        ),
        Cause.OVERFLOW: Words(
            "the peer was too slow: its send queue is full",
            "raise outbox_messages and outbox_bytes, or choose what is dropped instead with overflow=drop_oldest",
        ),
        Cause.GAP: Words(
            "the peer was owed messages that the engine could not give: messages were missed, or groups are out of "
            "reach",
            "look at the engine's records; the client comes back, and reads what the history has",
        ),
        Cause.WRITE_TIMEOUT: Words(
            "the peer took nothing of what was sent to it",
            "where networks stand still for longer, raise write_timeout, or lower min_read_rate",
        ),
        Cause.HEARTBEAT_TIMEOUT: Words(
            "nothing was heard of the peer, pings included",
            "where networks are silent for longer, raise ping_timeout",
        ),
        Cause.ACCEPT_TIMEOUT: Words(
            "the handler did not accept the connection in time",
            "call accept() before what takes long, or raise accept_timeout",
        ),
        Cause.AUTH_TIMEOUT: Words(
            "the peer did not authenticate in time", "let it do so at once, or raise auth_timeout"
        ),
        Cause.EXPIRED: Words("it has expired", "expire_after(), called again, moves the deadline"),
        Cause.SERVER_SHUTDOWN: Words("the server stops"),
        Cause.CANCELLED: Words("its task was cancelled"),
        Cause.ABORTED: Words("it was aborted"),
        Cause.HANDLER_ERROR: Words("the handler failed", "its traceback is in the log"),
        Cause.HANDLER_CLOSED: Words("the handler raised a WebSocketException"),
        Cause.DENIED: Words("the application refused it"),
        Cause.NOT_FOUND: Words("there is no such route", "compare the path with the application's routes"),
        Cause.PROTOCOL_ERROR: Words("the peer broke the WebSocket protocol", "look at the client's library"),
        Cause.UNSUPPORTED_DATA: Words(
            "the peer sent what the handler does not take",
            "the handler's receive_text, receive_bytes or receive_json has to fit what clients send",
        ),
        Cause.INVALID_DATA: Words("the peer sent text that is not UTF-8", "look at the client"),
        Cause.MESSAGE_TOO_BIG: Words("the peer sent too much in one message", "raise max_message_size"),
        Cause.RATE_LIMITED: Words(
            "the peer came, or sent, too often",
            "raise the limits of the rate limit middleware, or max_connections_per_user",
        ),
        Cause.UNAUTHORIZED: Words("authentication failed", "look at the token or cookie that the client has"),
    }
)


def explain_end(end: End) -> str:
    """Return an end in words, with its reason and with the remedy for its cause.

    The reason of a refusal is all there is to say: whoever refuses gives it.
    """
    words = ENDS[end.cause]
    if end.cause is Cause.DENIED:
        return end.reason or words.what
    what = words.what if end.reason in words.what else f"{words.what}: {end.reason}"
    return f"{what}; {words.remedy}" if words.remedy else what


class ServerRefusal(Enum):
    """What our server refuses by itself: the status, what the client is told, and the words for the log."""

    TOO_MANY = (
        503,
        "too many connections",
        Words(
            "max_connections is reached, or the file limit",
            "raise max_connections and the file limit (ulimit -n), or start more workers",
        ),
    )
    TOO_MANY_FROM_ADDRESS = (
        503,
        "too many connections",
        Words(
            "max_connections_per_address is reached",
            "raise it; where that is a proxy's address, name the proxy in trusted_proxies",
        ),
    )
    STOPPING = 503, "the server stops", Words("the server stops")
    WRONG_HOST = 404, "not found", Words("the Host is not one of server_names", "add it, or let the proxy pass Host on")
    NO_REQUEST = (
        400,
        "this is not an HTTP request",
        Words("what came is no HTTP request", "look at the client; over TLS it has to ask the port that has TLS"),
    )
    TLS_WITHOUT = (
        400,
        "this is not an HTTP request",
        Words("TLS was spoken to a port without TLS", "use ws: and http: here, or give --certfile and --keyfile"),
    )
    HEAD_TOO_BIG = (
        431,
        "the request head is too large",
        Words("the request's head is larger than max_handshake_size", "raise it, or let clients send fewer cookies"),
    )
    TOO_SLOW = (
        408,
        "the request took too long",
        Words("the request's head was not there in time", "for slow networks raise handshake_timeout"),
    )

    def __init__(self, status: int, text: str, words: Words) -> None:
        self.status = status
        self.text = text
        self.words = words

    def explain(self) -> str:
        """Return the words for the log."""
        return f"{self.words.what}; {self.words.remedy}" if self.words.remedy else self.words.what
