"""What a WebSocket, its channels and its box share about one connection."""

import pytest
import trio
from trio.testing import assert_no_checkpoints

from nexios_trio.config.settings import Settings
from nexios_trio.connections.runtime import Runtime
from nexios_trio.connections.session import DROPPED, Session
from nexios_trio.core.lifecycle import Cause, End
from nexios_trio.exceptions import LifecycleError, WebSocketDisconnect
from nexios_trio.transports.asgi import AsgiTransport
from nexios_trio.websockets import Channel
from tests.wire import Wire, house, settle


@pytest.fixture
def session():
    wire = Wire("/chat")
    runtime = Runtime(Settings())
    return Session(AsgiTransport(wire.scope, wire.receive, wire.send, runtime.settings), runtime, "app")


async def test_tasks_can_be_started_while_the_handler_runs(session):
    seen = []

    async def work(argument):
        seen.append(argument)

    with pytest.raises(LifecycleError, match="connection is over"):
        session.start_soon(work, 1)
    async with trio.open_nursery() as nursery:
        session.open_tasks(nursery)
        assert not session.is_over
        with assert_no_checkpoints():
            session.start_soon(work, 2)
        session.close_tasks()
        assert session.is_over
        with pytest.raises(LifecycleError):
            session.start_soon(work, 3)
    assert seen == [2]


async def test_what_its_log_records_carry(session):
    fields = session.log_fields(code=1000)
    assert fields == {"connection": session.id, "client": "192.0.2.7", "path": "/chat", "user": None, "code": 1000}
    session.transport.scope["client"] = None
    assert session.log_fields()["client"] == "unix"


def test_one_is_dropped_by_us_only():
    assert Cause.PEER_CLOSED not in DROPPED
    assert Cause.LOCAL_CLOSE not in DROPPED


@pytest.mark.parametrize("cause", sorted(DROPPED))
async def test_whoever_is_dropped_leaves_every_group_at_once(cause):
    kept = []

    async def endpoint(ws):
        await ws.accept()
        for kind in ("json", "text"):
            kept.append(Channel(ws, kind))
            for group in ("a", "b"):
                inside.box.join_nowait(kept[-1], group)
        await ws.receive()

    async with house() as inside:
        await inside.connect(endpoint)
        assert inside.box.statistics().groups == 2
        with assert_no_checkpoints():
            kept[0]._session.transport.evict(End.of(cause))
            assert inside.box.statistics().groups == 0
        with pytest.raises(WebSocketDisconnect):
            inside.box.join_nowait(kept[0], "a")
        assert inside.box.statistics().channels == 2  # until the handler has run out


async def test_a_release_lets_go_of_everything(session):
    session.release()
    assert (session.channels, session.override_queues, session.is_released) == ([], (), True)
    session.transport.kill(End.of(Cause.ABORTED))  # nobody has to be told any more


async def test_settling_without_a_busy_relay_takes_no_time(session):
    async with trio.open_nursery() as nursery:
        session.open_tasks(nursery)
        with assert_no_checkpoints():
            await session.settle()
        session.close_tasks()
    await settle()
