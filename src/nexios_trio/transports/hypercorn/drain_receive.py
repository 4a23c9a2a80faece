"""What a server still has to say when its application has gone.

Hypercorn reads up to 64 KiB and puts the messages in them into a queue of ten, one by one. Where nobody takes them out
any more, the task that reads stays behind for ever, and with it what it holds. The connection's socket may be closed
only once the application has returned, so none of its own tasks can do this: it is the application's.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

# Between two messages the server may have thousands of control frames to look at, none of which we see.
QUIET_SECONDS = 1.0  # without an event after which nothing more is expected
MAX_EVENTS = 65536  # what has been read when the socket is closed holds fewer


def has_remains(receive: object) -> bool:
    """Tell whether `receive` is a channel's, as hypercorn's is. Others, and what is in between, are not asked again."""
    return isinstance(getattr(receive, "__self__", None), trio.MemoryReceiveChannel)


async def discard_remains(receive: Callable[[], Awaitable[Any]], is_disconnected: bool) -> None:
    """Take the server's events until it is quiet.

    Args:
        is_disconnected: the server has said `websocket.disconnect`; one that says it twice would say it for ever.
    """
    for _ in range(MAX_EVENTS):
        event: Any = None
        with trio.move_on_after(QUIET_SECONDS):
            try:
                event = await receive()
            except Exception:  # there is nobody to tell any more
                return
        if event is None:
            return
        if event["type"] == "websocket.disconnect":
            if is_disconnected:
                return
            is_disconnected = True
        await trio.lowlevel.checkpoint()  # where `receive` is none
