"""Five mistakes in copies of the example chat: the kit finds each, and its message leads to the line."""

import json
from contextlib import asynccontextmanager

import pytest

from nexios_trio.testing import CancelledAt, Unmet, World, cancel_everywhere, run, run_app
from nexios_trio.testing.client import connect
from tests.testing.planted import copy_of_chat

pytestmark = pytest.mark.slow


def line_of(folder, plant, text):
    """`file:line` of what was planted."""
    path = folder / f"chat_{plant}.py"
    lines = path.read_text().splitlines()
    return f"{path}:{1 + next(number for number, line in enumerate(lines) if text in line)}"


# A visit, cancelled everywhere


def check_leaving(plant, folder):
    @asynccontextmanager
    async def visiting():
        chat = copy_of_chat(plant, folder)

        async def visit():
            async with connect(chat.app, "/ws/chat/red?username=ann") as ws:
                await ws.send_json({"type": "message", "content": "hello"})
                while (await ws.receive_json())["type"] != "message":
                    pass

        async with run_app(chat.app):
            yield visit
            listed = chat.presence.listing()
            if listed:
                raise AssertionError(f"still listed: {listed}")

    return cancel_everywhere(visiting)


def test_a_leave_forgotten_on_cancellation(tmp_path):
    assert check_leaving("nothing", tmp_path).steps > 20
    plant = "leave_forgotten_on_cancellation"
    with pytest.raises(CancelledAt) as caught:
        check_leaving(plant, tmp_path)
    text = str(caught.value)
    assert "still listed: [{'room_id': 'red', 'users': 1}]" in text
    assert f"{line_of(tmp_path, plant, 'await user.tell')} in Presence.of: await user.tell" in text


def test_an_await_in_a_plain_finally(tmp_path):
    plant = "await_in_a_finally"
    with pytest.raises(CancelledAt) as caught:
        check_leaving(plant, tmp_path)
    text = str(caught.value)
    assert "there was another, so what follows that line was not done" in text
    assert f"{line_of(tmp_path, plant, '# planted')} in Presence.of: await user.tell" in text


# A virtual world


async def two_arrive(chat):
    async with World(chat.app) as w, w.connect("/ws/lobby", name="visitor") as lobby:
        async with w.connect("/ws/chat/red?username=ann", name="ann"):
            await w.until(0.05)
            async with w.connect("/ws/chat/red?username=bob", name="bob"):
                while (await lobby.receive_json())["rooms"] != [{"room_id": "red", "users": 2}]:
                    pass


def test_a_lost_wake_up(tmp_path):
    run(two_arrive, copy_of_chat("nothing", tmp_path))
    plant = "lost_wake_up"
    with pytest.raises(Unmet, match="expected a JSON message within 60 s, but nothing came") as caught:
        run(two_arrive, copy_of_chat(plant, tmp_path))
    waits = line_of(tmp_path, plant, "await presence.changed.wait()")
    assert f"{waits} in publish_rooms: await presence.changed.wait()" in str(caught.value)
    assert "visitor  got" in caught.value.__notes__[0]


async def one_comes_later(chat):
    async with World(chat.app) as w, w.connect("/ws/chat/red?username=ann", name="ann") as ann:
        for number in range(3):
            await ann.send_json({"type": "message", "content": f"message {number}"})
        await w.settle()
        async with w.connect("/ws/chat/red?username=bob", name="bob") as bob:
            while (welcome := await bob.receive_json())["type"] != "welcome":
                pass
            got = [event["id"] for event in map(json.loads, ann.unread()) if "id" in event]
            shown = [event["id"] for event in welcome["history"]]
            missing = [event for event in got if event not in shown]
            assert not missing, f"bob is not shown {len(missing)} of the {len(got)} messages of group 'chat.red'"


def test_a_history_off_by_one(tmp_path):
    run(one_comes_later, copy_of_chat("nothing", tmp_path))
    with pytest.raises(AssertionError, match="bob is not shown 1 of the 5 messages of group 'chat.red'") as caught:
        run(one_comes_later, copy_of_chat("history_off_by_one", tmp_path))
    assert "bob     got" in caught.value.__notes__[0]


async def one_vanishes(chat, seed):
    async with World(chat.app, seed=seed) as w, w.connect("/ws/chat/red", name="ann") as ann:
        async with w.connect("/ws/chat/red", name="bob") as bob, w.connect("/ws/chat/red", name="cat") as cat:
            await w.settle()
            bob.lose()
            await ann.send_json({"type": "message", "content": "hello"})
            while (await cat.receive_json())["type"] != "message":
                pass


def check_broadcast(plant, folder):
    for seed in range(10):
        run(one_vanishes, copy_of_chat(plant, folder), seed, seed=seed)


def test_a_broadcast_that_stops_at_the_first_dead_peer(tmp_path):
    check_broadcast("nothing", tmp_path)
    with pytest.raises(Unmet, match="but nothing came to cat on /ws/chat/red") as caught:
        check_broadcast("broadcast_stops_at_a_dead_peer", tmp_path)
    story = caught.value.__notes__[0]
    assert "ann     sends" in story.partition("bob     vanishes")[2]
