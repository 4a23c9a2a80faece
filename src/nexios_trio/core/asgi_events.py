"""A message or an end, as the event that ASGI's `receive` gives."""

from typing import Any

from .lifecycle import End

__all__ = ["received_event"]


def received_event(item: str | bytes | End, *, both_keys: bool = False) -> dict[str, Any]:
    """Return the event of one message, or of the connection's end.

    A message's has only the key that it uses or, for programs that read both, ``text`` and ``bytes``, one of them None.
    """
    if both_keys and not isinstance(item, End):
        is_text = isinstance(item, str)
        return {"type": "websocket.receive", "text": item if is_text else None, "bytes": None if is_text else item}
    if isinstance(item, str):
        return {"type": "websocket.receive", "text": item}
    if isinstance(item, bytes):
        return {"type": "websocket.receive", "bytes": item}
    return {"type": "websocket.disconnect", "code": item.code, "reason": item.reason}
