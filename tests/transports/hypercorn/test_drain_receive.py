"""Plain ASGI: what the server still says when the application has gone, in a queue as short as hypercorn's."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio.config.settings import Settings
from nexios_trio.transports.asgi import AsgiTransport
from nexios_trio.transports.hypercorn.drain_receive import discard_remains
from nexios_trio.transports.timers import Timers
from tests.server.support import DEADLINE

MESSAGE = {"type": "websocket.receive", "text": "x"}
DISCONNECT = {"type": "websocket.disconnect", "code": 1006}


class Server:
    """Puts events into a queue of ten, and waits until there is room."""

    def __init__(self, nursery) -> None:
        self.nursery = nursery
        self.put, self._queue = trio.open_memory_channel(10)
        self.fault: Exception | None = None
        self.endless: dict | None = None  # what `receive` gives for ever, at once
        self.given = 0

    async def receive(self):
        self.given += 1
        if self.fault is not None:
            raise self.fault
        return self.endless or await self._queue.receive()

    async def send(self, event) -> None:
        await trio.lowlevel.checkpoint()

    async def says(self, *events) -> None:
        for event in events:
            await self.put.send(event)

    async def serves(self, receive=None) -> None:
        """One connection, whose handler accepts and returns."""
        receive = receive or self._queue.receive
        transport = AsgiTransport({}, receive, self.send, Settings(), leave_behind=self.nursery.start_soon)
        async with trio.open_nursery() as nursery:
            timers = Timers()
            nursery.start_soon(timers.run)
            async with transport.open(timers):
                await transport.accept(None, [])
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "events",
    [[MESSAGE] * 500, [DISCONNECT, *[MESSAGE] * 500], [*[MESSAGE] * 250, DISCONNECT, *[MESSAGE] * 250]],
    ids=["none", "first", "between"],
)
async def test_a_server_gets_rid_of_what_it_has_read(events):
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            server = Server(nursery)
            nursery.start_soon(server.says, *events)
            await server.serves()


async def test_a_pause_of_the_server_s_is_waited_for(autojump_clock, nursery):
    server = Server(nursery)
    await server.serves()
    with trio.fail_after(DEADLINE):
        for _ in range(3):
            await server.says(*[MESSAGE] * 50)
            await trio.sleep(0.9)


async def test_it_ends_when_the_server_is_quiet(autojump_clock, nursery):
    before = trio.lowlevel.current_statistics().tasks_living
    await Server(nursery).serves()
    assert trio.lowlevel.current_statistics().tasks_living == before + 1
    await trio.sleep(1.5)
    assert trio.lowlevel.current_statistics().tasks_living == before


@pytest.mark.parametrize("endless", [DISCONNECT, MESSAGE], ids=["disconnect", "messages"])
async def test_a_server_that_never_stops_is_not_listened_to_for_ever(endless, nursery, monkeypatch):
    monkeypatch.setattr("nexios_trio.transports.hypercorn.drain_receive.MAX_EVENTS", 500)
    server = Server(nursery)
    server.endless = endless
    nursery.start_soon(discard_remains, server.receive, False)
    given = -1
    while given != server.given:
        given = server.given
        await wait_all_tasks_blocked()
    assert given < 600


async def test_a_second_disconnect_is_the_last_event(nursery):
    server = Server(nursery)
    await server.says(DISCONNECT)
    await server.serves()
    await server.says(DISCONNECT, MESSAGE)
    await wait_all_tasks_blocked()
    assert server.put.statistics().current_buffer_used == 1


async def test_a_failure_of_the_server_s_is_the_end(nursery):
    server = Server(nursery)
    nursery.start_soon(discard_remains, server.receive, False)
    await wait_all_tasks_blocked()
    server.fault = OSError("gone")
    await server.says(MESSAGE, MESSAGE)
    await wait_all_tasks_blocked()
    assert server.put.statistics().current_buffer_used == 1


async def test_what_stands_in_between_hears_nothing_after_the_end(nursery):
    server = Server(nursery)
    await server.serves(server.receive)
    given = server.given
    await server.says(MESSAGE)
    await wait_all_tasks_blocked()
    assert server.given == given
