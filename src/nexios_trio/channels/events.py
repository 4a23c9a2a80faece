"""Functions that a user has registered with a channel, called when something happens to it."""

import inspect
import logging
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from ..exceptions import WebSocketDisconnect

logger = logging.getLogger("nexios_trio.channel")

Handler = Callable[..., Any]  # sync or async; gets the channel, then what has happened


class Event(Enum):
    """What can happen; the value is what the log calls its handlers."""

    CONNECT = "on_connect"
    DISCONNECT = "on_disconnect"
    MESSAGE = "on_message"
    ERROR = "on_error"
    EXPIRE = "on_expire"
    GAP = "on_gap"


class Events:
    """One channel's handlers. An error in one is reported, and goes no further.

    The channel is an argument everywhere: a channel that its events refer to would be freed by the collector only.
    """

    __slots__ = ("handlers",)

    def __init__(self) -> None:
        self.handlers: dict[Event, list[Handler]] = {}  # read from outside, for speed; changed here alone

    def add(self, event: Event, handler: Handler) -> None:
        self.handlers.setdefault(event, []).append(handler)

    def of(self, event: Event) -> Sequence[Handler]:
        return self.handlers.get(event, ())

    async def fire(self, event: Event, channel: Any, *args: Any) -> None:
        """Call each handler, in the order of registration."""
        for handler in self.of(event):
            await self.call(event, handler, channel, *args)

    async def call(self, event: Event, handler: Handler, channel: Any, *args: Any) -> None:
        try:
            result = handler(channel, *args)
            if inspect.isawaitable(result):
                await result
        except WebSocketDisconnect as error:  # it sent to a peer that has left, which is no mistake
            logger.debug("%s of channel %s ended early: %s", event.value, channel.uuid, error)
        except Exception as error:
            await self.failed(event.value, channel, error, is_told=event is not Event.ERROR)

    def fire_nowait(self, event: Event, start_soon: Callable[..., None], channel: Any, *args: Any) -> None:
        """Call each handler; what one of them gives to be awaited goes on in a task that `start_soon` starts."""
        for handler in self.of(event):
            try:
                result = handler(channel, *args)
            except Exception as error:
                start_soon(self.call, event, _raising(error), channel)
            else:
                if inspect.isawaitable(result):
                    start_soon(self.call, event, lambda _, result=result: result, channel)

    async def failed(self, what: str, channel: Any, error: Exception, *, is_told: bool = True) -> None:
        """Report an error; `is_told`: to the handlers for errors as well."""
        uuid = channel.uuid
        logger.error("%s of channel %s failed", what, uuid, exc_info=error, extra={"channel": uuid})
        if is_told:
            await self.fire(Event.ERROR, channel, error)


def _raising(error: Exception) -> Handler:
    """Return a handler that has failed before it was awaited."""

    def fail(channel: Any) -> None:
        raise error

    return fail
