"""Close codes and reasons that an application may send."""

from typing import Final

__all__ = [
    "MAX_REASON_BYTES",
    "check_asgi_close_code",
    "check_close_code",
    "check_reason",
    "clip_reason",
    "is_sendable",
]

MAX_REASON_BYTES: Final = 123  # a control frame holds 125 bytes, two of them the code


def is_sendable(code: int) -> bool:
    """Tell whether an application may send this close code."""
    return code in (1000, 1001, 1003) or 1007 <= code <= 1013 or 3000 <= code <= 4999


def check_close_code(code: object) -> int:
    """Return `code` if an application may send it.

    The protocol itself also sends 1002; 1005, 1006 and 1015 are never on the wire.

    Raises:
        TypeError: it is not an int.
        ValueError: it is not one of the codes that may be sent.
    """
    accepted = "1000, 1001, 1003, 1007 to 1013, 3000 to 4999"
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"a close code is an int ({accepted}), not {type(code).__name__}")
    if not is_sendable(code):
        raise ValueError(f"close code {int(code)} may not be sent; accepted: {accepted}")
    return int(code)


def check_asgi_close_code(code: object) -> int:
    """Return `code` if an ASGI application may send it: as `check_close_code`, and 1002 and 1014.

    An application that forwards WebSockets passes on what it has heard (1002), or says that it cannot reach the server
    behind it (1014).

    Raises:
        TypeError, ValueError: as `check_close_code`.
    """
    return code if isinstance(code, int) and code in (1002, 1014) else check_close_code(code)


def check_reason(reason: object) -> str:
    """Return `reason` (``""`` for ``None``) if it fits in a close frame.

    Raises:
        TypeError: it is neither ``None`` nor a str.
        ValueError: it is longer than 123 bytes of UTF-8, or has no UTF-8 form.
    """
    if reason is None:
        return ""
    if not isinstance(reason, str):
        raise TypeError(f"a close reason is a str or None, not {type(reason).__name__}")
    try:
        size = len(reason.encode())
    except UnicodeEncodeError:
        raise ValueError("a close reason has to be valid Unicode, without lone surrogates") from None
    if size > MAX_REASON_BYTES:
        raise ValueError(f"close reason of {size} bytes; accepted: up to {MAX_REASON_BYTES} bytes of UTF-8")
    return reason


def clip_reason(reason: str | None) -> str:
    """`reason` cut to 123 bytes of UTF-8, on a character. Lone surrogates become ``?``. Never raises."""
    data = (reason or "").encode("utf-8", "replace")
    return data[:MAX_REASON_BYTES].decode("utf-8", "ignore")
