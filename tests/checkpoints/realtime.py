"""How to call what deals with clients of the realtime protocol."""

from collections.abc import Callable
from typing import Any

from trio.testing import wait_all_tasks_blocked

from nexios_trio.realtime import Realtime, RealtimeClient
from nexios_trio.realtime.protocol.codecs import JSON
from nexios_trio.realtime.protocol.server_protocol import ServerProtocol
from tests.checkpoints.stage import Recipe, Stage


def client(s: Stage) -> RealtimeClient:
    return RealtimeClient(s.ws, ServerProtocol(JSON))


def of_client(call: Callable[[RealtimeClient], Any]) -> Recipe:
    """Call something of a client, which is made before."""

    async def prepare(s: Stage) -> Callable[[], Any]:
        made = client(s)
        await wait_all_tasks_blocked()
        return lambda: call(made)

    return prepare


def realtime(s: Stage) -> Realtime:
    return Realtime(s.app.runtime)


def nothing(*_: Any) -> None:
    pass


def serve(s: Stage) -> Any:
    s.wire.leave()
    return realtime(s)(s.fresh)


RECIPES: dict[str, Recipe] = {
    "Publishing.keeps": lambda s: s.box.keeps("room"),
    "RealtimeRoutes.realtime": lambda s: s.app.realtime("/realtime"),
    "Realtime.__init__": realtime,
    "Realtime.__call__": serve,
    "Realtime.groups": lambda s: realtime(s).groups("*", subscribe=True),
    "Realtime.on_connect": lambda s: realtime(s).on_connect(lambda client: None),
    "Realtime.on_disconnect": lambda s: realtime(s).on_disconnect(lambda client: None),
    "Realtime.on_message": lambda s: realtime(s).on_message(lambda client, data: None),
    "Realtime.on_publish": lambda s: realtime(s).on_publish("*")(lambda client, group, data: None),
    "Realtime.rpc": lambda s: realtime(s).rpc("add")(lambda client, data: None),
    "RealtimeClient.__init__": client,
    "RealtimeClient.close": of_client(lambda c: c.close()),
    "RealtimeClient.disconnect": of_client(lambda c: c.disconnect()),
    "RealtimeClient.send": of_client(lambda c: c.send("x")),
    "RealtimeClient.send_nowait": of_client(lambda c: c.send_nowait("x")),
    "RealtimeClient.subscribe": of_client(lambda c: c.subscribe("room")),
    "RealtimeClient.unsubscribe": of_client(lambda c: c.unsubscribe("room")),
}
