"""The example of "Users and presence"."""

import json
from contextlib import AsyncExitStack

import httpx
from hypothesis.stateful import run_state_machine_as_test

from nexios_trio.testing import connect, run_app
from tests.examples.support import load

ANN = {"id": "ann", "name": "Ann", "busy": False}
BOB = {"id": "bob", "name": "Bob", "busy": False}


async def test_who_is_in_the_room(autojump_clock):
    app = load("people").app
    room = "/ws/rooms/lobby"
    async with run_app(app), AsyncExitStack() as stack:
        ann = await stack.enter_async_context(connect(app, f"{room}?token=ann"))
        assert await ann.receive_json() == {"people": [ANN]}
        async with connect(app, f"{room}?token=bob") as bob, connect(app, f"{room}?token=bob") as other:
            assert await bob.receive_json() == await other.receive_json() == {"people": [ANN, BOB]}
            assert await ann.receive_json() == {"joined": BOB}
            await other.send_json({"busy": True})
            assert await ann.receive_json() == {"updated": {**BOB, "busy": True}}
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                assert json.loads((await http.get("/api/rooms/lobby")).text) == [ANN, {**BOB, "busy": True}]
        # The other device, which was busy, is gone first; then all of Bob, after five seconds.
        assert await ann.receive_json() == {"updated": BOB}
        assert await ann.receive_json(timeout=6) == {"left": BOB}


def test_everybody_knows_who_is_there_on_three_servers_that_fail():
    module = load("people_machine")
    run_state_machine_as_test(module.People, settings=module.TestPeople.settings)
