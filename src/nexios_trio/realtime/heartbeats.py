"""The pings of the protocol, by the timers that all connections share. They take the place of a WebSocket's own."""

from collections.abc import Hashable
from typing import Protocol

from ..transports.timers import Timeouts, Timers

__all__ = ["Heartbeats", "TimedConversation"]


class TimedConversation(Hashable, Protocol):
    """A conversation, as its deadlines know it."""

    def ping(self) -> None:
        """Say a ping, if the client can take one, and begin anew."""

    def miss_pong(self) -> None:
        """The client has not answered in time."""

    def miss_connect(self) -> None:
        """It has not been connected in time."""


class Heartbeats:
    """Those of one endpoint's conversations.

    Args:
        ping_interval, pong_timeout, connect_timeout: seconds.
    """

    def __init__(self, timers: Timers, ping_interval: float, pong_timeout: float, connect_timeout: float) -> None:
        self.ping: Timeouts[TimedConversation] = Timeouts(timers, ping_interval, lambda one: one.ping())
        self.pong: Timeouts[TimedConversation] = Timeouts(timers, pong_timeout, lambda one: one.miss_pong())
        self.connect: Timeouts[TimedConversation] = Timeouts(timers, connect_timeout, lambda one: one.miss_connect())

    def end(self, conversation: TimedConversation) -> None:
        """Wait for nothing of it any more."""
        for timeouts in (self.ping, self.pong, self.connect):
            timeouts.end(conversation)
