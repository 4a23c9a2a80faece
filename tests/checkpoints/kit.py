"""How to call the testing kit."""

from typing import Any

import pytest
from trio.lowlevel import checkpoint
from trio.testing import wait_all_tasks_blocked

from nexios_trio import OLDEST, WebSocket, open_channel
from nexios_trio.testing import Broker, Client, Denied, World, cancel_everywhere, check_resume, run, run_app
from nexios_trio.testing.client import connect
from nexios_trio.testing.client.link import Link
from tests.checkpoints.stage import Recipe, Stage


def answered(message: str, receive: Any) -> Recipe:
    """Receive an echo that is there already."""

    async def prepare(s: Stage) -> Any:
        await s.client.send_text(message)
        await wait_all_tasks_blocked()
        return lambda: receive(s.client)

    return prepare


async def bytes_answered(s: Stage) -> Any:
    s.client._inbox.append(b"x")
    await checkpoint()
    return s.client.receive_bytes


async def hung_up(s: Stage) -> Any:
    await s.client.close()
    return s.client.receive_close


async def left(s: Stage) -> Any:
    await s.client.close()
    return s.client.app_finished


async def brief(*_: Any) -> None:
    """An ASGI application that has nothing to say."""


async def resuming(s: Stage) -> Any:
    async def join(ws: WebSocket) -> None:
        async with open_channel(ws, positions=True) as channel:
            async with channel.member("room", since=ws.query_params.get("since", OLDEST)):
                async for _ in channel:
                    pass

    s.app.box.keep("room")
    s.app.add_ws_route("/resume", join)
    return lambda: check_resume(s.world, "/resume", "room", breaks=1)


def refused_inside(function: Any, *args: Any) -> None:
    """It makes a run of its own, so it is not for async functions."""
    with pytest.raises(RuntimeError, match="Attempted to call run"):
        function(*args)


def with_node(call: Any) -> Recipe:
    broker = Broker()
    engine = broker.engine()
    return lambda s: call(broker, engine)


def refused_alone(fault: Any, *args: Any) -> Recipe:
    """It is for servers that share an engine."""

    def refused(s: Stage) -> None:
        with pytest.raises(TypeError, match="which shares nothing"):
            fault(s.world, *args)

    return refused


CLIENT: dict[str, Recipe] = {
    "ClientEndpoint.__init__": lambda s: Client(Link(), brief, s.client.scope, "direct", 1.0),
    "Client.app_finished": left,
    "ClientEndpoint.abandon": lambda s: s.client.abandon(),
    "ClientEndpoint.must_have_received": lambda s: s.client.must_have_received(0),
    "Client.close": lambda s: s.client.close(),
    "ClientEndpoint.cut_server": lambda s: s.client.cut_server(),
    "Client.expect_nothing": lambda s: s.client.expect_nothing(),
    "ClientEndpoint.close_as_tab": lambda s: s.client.close_as_tab(),
    "Client.half_open": lambda s: s.client.half_open(),
    "Client.heal": lambda s: s.client.heal(),
    "Client.leave": lambda s: s.client.leave(),
    "Client.lose": lambda s: s.client.lose(),
    "Client.receive": answered("x", Client.receive),
    "Client.receive_bytes": bytes_answered,
    "Client.receive_close": hung_up,
    "Client.receive_json": answered("1", Client.receive_json),
    "Client.receive_text": answered("x", Client.receive_text),
    "Client.resume": lambda s: s.client.resume(),
    "ClientEndpoint.run": lambda s: Client(Link(), brief, s.client.scope, "direct", 1.0).run(),
    "Client.send_bytes": lambda s: s.client.send_bytes(b"x"),
    "Client.send_json": lambda s: s.client.send_json(1),
    "Client.send_text": lambda s: s.client.send_text("x"),
    "ClientEndpoint.wait_for_handshake": lambda s: s.client.wait_for_handshake(),
    "Client.stall": lambda s: s.client.stall(),
    "Client.unread": lambda s: s.client.unread(),
}

WORLD: dict[str, Recipe] = {
    "World.__init__": lambda s: World(s.app),
    "World.__aenter__": lambda s: World(make=type(s.app), check=False),
    "World.assert_gap_free": lambda s: s.world.assert_gap_free(),
    "World.assert_no_leaks": lambda s: s.world.assert_no_leaks(),
    "World.at": lambda s: s.world.at(5, s.client.lose),
    "World.connect": lambda s: s.world.connect("/"),
    "Faults.cut": lambda s: s.world.cut(),
    "Faults.heal": lambda s: s.world.heal(),
    "World.restart": lambda s: s.world.restart(),
    "World.settle": lambda s: s.world.settle(),
    "World.story": lambda s: s.world.story(),
    "World.until": lambda s: s.world.until(5),
    "World.until, then already": lambda s: s.world.until(0),
    "Faults.cut_engine": refused_alone(World.cut_engine, 0, 5),
    "Faults.stall_node": refused_alone(World.stall_node, 0, 5),
    "Faults.lose_tail": refused_alone(World.lose_tail, 1),
    "Broker.__init__": lambda s: Broker(),
    "Broker.engine": lambda s: Broker().engine(),
    "Broker.cut_off": with_node(lambda broker, engine: broker.cut_off(engine)),
    "Broker.stalled": with_node(lambda broker, engine: broker.stalled(engine)),
    "Broker.losing_answers": with_node(lambda broker, engine: broker.losing_answers(engine)),
    "Broker.deaf": with_node(lambda broker, engine: broker.deaf(engine)),
    "Broker.restart": lambda s: Broker().restart(),
}

FUNCTIONS: dict[str, Recipe] = {
    "Denied.json": lambda s: Denied(403, [], b"1").json(),
    "cancel_everywhere": lambda s: refused_inside(cancel_everywhere, checkpoint),
    "check_resume": resuming,
    "connect": lambda s: connect(s.app),
    "run": lambda s: refused_inside(run, checkpoint),
    "run_app": lambda s: run_app(type(s.app)()),
}

RECIPES = {**CLIENT, **WORLD, **FUNCTIONS}
