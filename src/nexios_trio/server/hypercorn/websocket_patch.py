"""hypercorn's WebSockets, patched: when they ping, and how they end after a message that is too big.

Hypercorn's first ping goes out with the answer to the handshake. A client that is greeted and sent away at once answers
it when the server has closed already; the reset that this brings takes the greeting away. Here the first ping comes
after one interval.

After a message beyond `websocket_max_message_size` hypercorn sends 1009 and stops looking at what follows it, the
client's close frame too: the connection stays open for good. Here the closing handshake goes on, and is bounded.
"""

from importlib.metadata import version
from typing import Any

from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.ws_stream import FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

from .patch import SUPPORTED

__all__ = ["patch_websocket_stream"]

_TOO_BIG = "nexios_trio_too_big"  # our attribute of a stream


def patch_websocket_stream(close_timeout: float) -> None:
    """Patch hypercorn's WebSocket streams in this process; however often called. Another version is left alone.

    Args:
        close_timeout: seconds that a client has to answer 1009.
    """
    if not version("hypercorn").startswith(SUPPORTED):
        return

    async def handle_events(stream: Any) -> None:
        await _handle_events(stream, close_timeout)

    setattr(WSStream, "_send_pings", _send_pings)  # noqa: B010  # nothing else may be assigned to a method
    setattr(WSStream, "_handle_events", handle_events)  # noqa: B010


async def _send_pings(stream: Any) -> None:
    while True:
        await stream.context.sleep(stream.config.websocket_ping_interval)
        if stream.closed:
            return
        await stream._send_wsproto_event(Ping())


async def _handle_events(stream: Any, close_timeout: float) -> None:
    """Do what hypercorn's own does, but for messages that are too big."""
    for event in stream.connection.events():
        if isinstance(event, Message):
            await _handle_message(stream, event, close_timeout)
        elif isinstance(event, Ping):
            await stream._send_wsproto_event(event.response())
        elif isinstance(event, CloseConnection):
            if stream.connection.state is ConnectionState.REMOTE_CLOSING:
                await stream._send_wsproto_event(event.response())
            await stream.send(StreamClosed(stream_id=stream.stream_id))


async def _handle_message(stream: Any, message: Message[Any], close_timeout: float) -> None:
    if _TOO_BIG in vars(stream):  # 1009 was sent
        stream.buffer.clear()
        return
    try:
        stream.buffer.extend(message)
    except FrameTooLargeError:
        setattr(stream, _TOO_BIG, True)
        await stream._send_wsproto_event(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
        stream.task_group.spawn(_end_later, stream, close_timeout)
        return
    if message.message_finished:
        await stream.app_put(stream.buffer.to_message())
        stream.buffer.clear()


async def _end_later(stream: Any, seconds: float) -> None:
    await stream.context.sleep(seconds)
    if not stream.closed:
        await stream.send(StreamClosed(stream_id=stream.stream_id))
