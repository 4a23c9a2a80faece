"""`Realtime`: an endpoint for clients that speak the protocol, as an application makes it."""

import inspect
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any, TypeVar

from ..channels.events import Event
from ..connections.runtime import Runtime
from ..connections.websocket import WebSocket
from .calls import bind_call
from .conversation import Conversation
from .heartbeats import Heartbeats
from .protocol.codecs import choose_codec
from .protocol.codes import close_end
from .protocol.server_protocol import ServerProtocol
from .registrations import Registrations
from .rules import AuthorizeRealtime, GroupRules, Rule, Rules, check_rule

__all__ = ["Realtime", "use_close_codes"]

Function = TypeVar("Function", bound=Callable[..., Any])


class Realtime:
    """An endpoint for the official SDKs of the Centrifuge client protocol; made by `app.realtime(path)`.

    A group of the application is what these SDKs call a channel. Nobody may do anything with any group until a rule
    says so. What groups keep, and whether they know who is present, is the box's to say: `app.box.keep("room.*")`,
    `app.box.keep_presence("room.*")`.

    Args:
        runtime: the application's.
        authorize: a function, async or not, (client, group, action) -> bool, asked where `groups` has no rule; action
            is "subscribe", "publish", "presence" or "history". Anything but True is a no.
        ping_interval: seconds between two pings.
        pong_timeout: seconds that a client has to answer one; then it is closed with 3012.
        connect_timeout: seconds that a client has to connect; then it is closed with 3502.
    Raises: TypeError, ValueError.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        authorize: AuthorizeRealtime | None = None,
        ping_interval: float = 25.0,
        pong_timeout: float = 8.0,
        connect_timeout: float = 15.0,
    ) -> None:
        for name, seconds in (
            ("ping_interval", ping_interval),
            ("pong_timeout", pong_timeout),
            ("connect_timeout", connect_timeout),
        ):
            if not 0 < seconds <= 86400:
                raise ValueError(f"{name} is seconds above 0, up to a day, not {seconds!r}")
        if authorize is not None:
            _check_authorize(authorize)
        self._registered = Registrations(Rules(authorize), ceil(ping_interval))
        self._heartbeats = Heartbeats(runtime.timers, ping_interval, pong_timeout, connect_timeout)

    # What the application registers. Each function is returned unchanged.

    def on_connect(self, function: Function) -> Function:
        """Call `function(client)` when a client connects, before anything else it does.

        It returns the user, or a `Connected`. `client.token` is what the client shows, `client.data` what it says.
        AuthenticationError closes with 3500, so that the client stays away; RealtimeError is the client's error.
        """
        self._registered.connect = bind_call(function, "on_connect", "client")
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Call `function(client)` exactly once when its connection is over. See `Channel.on_disconnect`."""
        bind_call(function, "on_disconnect", "client")
        self._registered.disconnect.append(function)
        return function

    def on_message(self, function: Function) -> Function:
        """Call `function(client, data)` for what a client sends without wanting an answer."""
        self._registered.message = bind_call(function, "on_message", "client")
        return function

    def on_publish(self, pattern: str) -> Callable[[Function], Function]:
        """Call a function (client, group, data) for what clients publish to groups that match, before others get it.

        What it returns is published in place of the data; None: the data as they came. What it raises refuses.

        Args:
            pattern: as for `groups`. The first pattern that was registered and matches holds.
        Raises: TypeError, ValueError.
        """

        def register(function: Function) -> Function:
            self._registered.publish.add(pattern, bind_call(function, "on_publish", "client", "group"))
            return function

        return register

    def rpc(self, method: str) -> Callable[[Function], Function]:
        """Answer a client's call of this method by a function (client, data): what it returns is the answer.

        A class of pydantic, msgspec or attrs as the annotation of `data` refuses, with 107, what is not so.

        Raises: ValueError when the method has a function; TypeError.
        """
        if callable(method) or not method:
            raise TypeError(f'rpc takes the name of a method, as in @realtime.rpc("add"), not {method!r}')

        def register(function: Function) -> Function:
            if method in self._registered.rpcs:
                raise ValueError(f"the method {method!r} has a function already")
            self._registered.rpcs[method] = bind_call(function, "an rpc", "client")
            return function

        return register

    def groups(
        self,
        pattern: str,
        *,
        subscribe: Rule | None = None,
        publish: Rule | None = None,
        presence: Rule | None = None,
        history: Rule | None = None,
    ) -> None:
        """Say who may do what with the groups whose names match.

        Each rule is True for everybody, False for nobody, or a function, async or not, (client, group) -> bool; without
        one, `authorize` is asked. The box's own `authorize`, where there is one, has to say yes as well to who
        subscribes ("join") and publishes ("send").

        Args:
            pattern: a group name in which `*` stands for any characters: "room.*". The first that matches holds.
            presence, history: who may see who is there, and what was said.
        Raises: TypeError, ValueError.
        """
        rules = GroupRules(
            check_rule("subscribe", subscribe),
            check_rule("publish", publish),
            check_rule("presence", presence),
            check_rule("history", history),
        )
        self._registered.rules.add(pattern, rules)

    # The handler

    async def __call__(self, websocket: WebSocket) -> None:
        """Serve one connection. Checkpoint: always."""
        session = websocket._session
        codec, subprotocol = choose_codec(websocket.subprotocols, websocket.query_params.get("format"))
        await websocket.accept(subprotocol)
        session.transport.stop_heartbeat()
        conversation = Conversation(websocket, ServerProtocol(codec), self._registered, self._heartbeats)
        for function in self._registered.disconnect:
            conversation.client._events.add(Event.DISCONNECT, function)
        await conversation.run()


async def use_close_codes(websocket: WebSocket, following: Callable[[WebSocket], Awaitable[Any]]) -> None:
    """Write how the connection ends as the protocol has it, also where a middleware behind this one ends it.

    Checkpoint: as what follows.
    """
    websocket._session.transport.lifecycle.translate_ends(close_end)
    await following(websocket)


def _check_authorize(authorize: Any) -> None:
    try:
        inspect.signature(authorize).bind(None, "", "subscribe")
    except (TypeError, ValueError):
        raise TypeError(f"authorize is a function (client, group, action) -> bool, not {authorize!r}") from None
