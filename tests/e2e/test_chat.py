"""The chat behind `hypercorn --worker-class trio`, used by trio-websocket and plain HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.e2e.support import Client, Server, connect, joined


async def users_in(server: Server, room: str) -> int | None:
    """What the rooms API says about a room; None if it does not list it."""
    _, _, body = await trio.to_thread.run_sync(server.get, "/api/chat/rooms")
    counts: dict[str, int] = {entry["room_id"]: entry["users"] for entry in json.loads(body)["rooms"]}
    return counts.get(room)


async def test_two_people_talk(chat: Server) -> None:
    async with joined(chat, "talk", "Ada") as (ada, _), joined(chat, "talk", "Grace") as (grace, welcome):
        assert welcome["users"] == 2
        assert [person["username"] for person in welcome["people"]] == ["Ada", "Grace"]
        notice = await ada.until(action="join", username="Grace")
        assert (notice["users"], notice["message"]) == (2, "Grace has joined the room")

        await ada.say("Hello, Grace — 你好")
        await grace.until(content="Hello, Grace — 你好", username="Ada", room_id="talk")
        await ada.until(content="Hello, Grace — 你好")  # the writer sees it too, in the same order as all
        await grace.say("Hello, Ada")
        heard = await ada.until(type="message", username="Grace")
        assert heard["content"] == "Hello, Ada"
        assert heard["user_id"] == welcome["user_id"]


async def test_order_is_the_same_for_everybody(chat: Server) -> None:
    lines = [f"line {number}" for number in range(100)]
    async with joined(chat, "order", "Ada") as (ada, _), joined(chat, "order", "Grace") as (grace, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_all, ada, lines)
            nursery.start_soon(say_all, grace, lines)
            heard = [[(await c.until(type="message"))["id"] for _ in range(200)] for c in (ada, grace)]
        assert heard[0] == heard[1]


async def say_all(client: Client, lines: list[str]) -> None:
    for line in lines:
        await client.say(line)


async def test_rooms_are_separate(chat: Server) -> None:
    async with joined(chat, "here", "Ada") as (ada, _), joined(chat, "there", "Grace") as (grace, _):
        await grace.say("only there")
        await grace.until(content="only there")
        await ada.say("only here")
        assert (await ada.until(type="message"))["content"] == "only here"


async def test_a_late_joiner_gets_the_history_without_typing(chat: Server) -> None:
    async with joined(chat, "history", "Ada") as (ada, _), joined(chat, "history", "Grace") as (grace, _):
        await ada.send({"type": "typing", "is_typing": True})
        await grace.until(type="typing", is_typing=True, username="Ada")
        await ada.say("first")
        await ada.say("second")
        live = [await grace.until(type="message") for _ in range(2)]
        async with joined(chat, "history", "Late") as (_, welcome):
            assert [entry for entry in welcome["history"] if entry["type"] == "message"] == live
            assert {entry["type"] for entry in welcome["history"]} == {"message", "system"}


async def test_the_history_outlives_its_room_and_is_bounded(chat: Server) -> None:
    async with joined(chat, "outlived", "Ada") as (ada, _):
        for number in range(60):
            await ada.say(str(number))
        await ada.until(content="59")
    async with connect(chat, "/ws/chat/outlived", username="Grace") as grace:
        history = (await grace.until(type="welcome"))["history"]
    said = [entry["content"] for entry in history if entry["type"] == "message"]
    assert len(history) == 50
    assert said == [str(number) for number in range(60)][-len(said) :]
    assert [entry["action"] for entry in history[-2:]] == ["leave", "join"]


async def test_who_comes_back_with_a_position_gets_what_was_missed_and_nothing_else(chat: Server) -> None:
    async def until(client: Client, kind: str) -> list[Any]:
        got = []
        while not got or got[-1]["data"]["type"] != kind:
            got.append(await client.next())
        return got

    async with joined(chat, "resume", "Ada") as (ada, _):
        async with connect(chat, "/ws/chat/resume", username="Grace", since="") as grace:
            [*_, welcome] = await until(grace, "welcome")
            assert (welcome["data"]["resumed"], len(welcome["data"]["history"])) == (False, 2)
            await ada.say("heard")
            position = (await until(grace, "message"))[-1]["position"]
        for number in range(100):  # more than a newcomer is shown
            await ada.say(str(number))
        await ada.until(content="99")
        async with connect(chat, "/ws/chat/resume", username="Grace", since=position) as grace:
            [*missed, welcome] = await until(grace, "welcome")
        assert (welcome["data"]["resumed"], welcome["data"]["history"]) == (True, [])
        said = [each["data"]["content"] for each in missed if each["data"]["type"] == "message"]
        assert said == [str(number) for number in range(100)]


async def test_typing_does_not_keep_anybody_from_coming_back(chat: Server) -> None:
    async with joined(chat, "resume-typing", "Ada") as (ada, _):
        async with connect(chat, "/ws/chat/resume-typing", username="Grace", since="") as grace:
            position = (await grace.next())["position"]
        for is_typing in (True, False):
            await ada.send({"type": "typing", "is_typing": is_typing})
            await ada.until(type="typing", is_typing=is_typing)
        async with connect(chat, "/ws/chat/resume-typing", username="Grace", since=position) as grace:
            while (message := (await grace.next())["data"])["type"] != "welcome":
                pass
        assert message["resumed"]


async def test_what_is_sent_again_is_said_once(chat: Server) -> None:
    message = {"type": "message", "content": "only once", "id": "of-this-test"}
    async with joined(chat, "again", "Ada") as (ada, _):
        await ada.send(message)
        assert (await ada.until(type="message"))["id"] == "of-this-test"
    async with joined(chat, "again", "Ada") as (ada, welcome):  # has lost its connection, and does not know
        await ada.send(message)
        await ada.say("something else")
        assert (await ada.until(type="message"))["content"] == "something else"
    assert [each["content"] for each in welcome["history"] if each["type"] == "message"] == ["only once"]


async def test_the_others_hear_of_a_leave(chat: Server) -> None:
    async with joined(chat, "leave", "Ada") as (ada, _):
        async with joined(chat, "leave", "Grace") as (_, welcome):
            pass
        notice = await ada.until(action="leave")
        assert notice["user_id"] == welcome["user_id"]
        assert (notice["users"], notice["message"]) == (1, "Grace has left the room")
        assert await users_in(chat, "leave") == 1


async def test_the_others_hear_of_a_client_that_vanishes(chat: Server) -> None:
    async with joined(chat, "vanish", "Ada") as (ada, _):
        async with joined(chat, "vanish", "Grace") as (grace, _):
            await grace.vanish()
        assert (await ada.until(action="leave", username="Grace"))["users"] == 1


async def test_the_lobby_is_told_about_rooms(chat: Server) -> None:
    async with connect(chat, "/ws/lobby") as lobby:
        assert (await lobby.next())["type"] == "rooms"
        async with joined(chat, "lobby-test", "Ada"):
            await until_listed(lobby, "lobby-test", 1)
            assert await users_in(chat, "lobby-test") == 1
            async with joined(chat, "lobby-test", "Grace"):
                await until_listed(lobby, "lobby-test", 2)
            await until_listed(lobby, "lobby-test", 1)
        await until_listed(lobby, "lobby-test", None)
        assert await users_in(chat, "lobby-test") is None


async def until_listed(lobby: Client, room: str, users: int | None) -> None:
    while True:
        listing = (await lobby.until(type="rooms"))["rooms"]
        if {entry["room_id"]: entry["users"] for entry in listing}.get(room) == users:
            return


async def test_text_that_is_not_json_is_said(chat: Server) -> None:
    async with joined(chat, "plain", "Ada") as (ada, _):
        await ada.send_raw("just {text}")
        assert (await ada.until(type="message"))["content"] == "just {text}"


WRONG: list[tuple[str, Any]] = [
    ("empty", {"type": "message", "content": ""}),
    ("blank", {"type": "message", "content": " \n"}),
    ("no content", {"type": "message"}),
    ("content of a wrong type", {"type": "message", "content": ["a"]}),
    ("too long", {"type": "message", "content": "x" * 2001}),
    ("id of a wrong type", {"type": "message", "content": "a", "id": 1}),
    ("id too long", {"type": "message", "content": "a", "id": "x" * 65}),
    ("no id", {"type": "message", "content": "a", "id": ""}),
    ("typing of a wrong type", {"type": "typing", "is_typing": "yes"}),
    ("unknown type", {"type": "shout", "content": "a"}),
    ("type of a wrong type", {"type": {}}),
    ("a number", 42),
    ("a list", []),
    ("null", None),
]


@pytest.mark.parametrize("message", [pytest.param(message, id=name) for name, message in WRONG])
async def test_only_the_sender_hears_of_a_wrong_message(chat: Server, message: Any) -> None:
    async with joined(chat, "wrong", "Ada") as (ada, _), joined(chat, "wrong", "Grace") as (grace, _):
        await ada.send(message)
        assert (await ada.until(type="error"))["message"]
        await ada.say("still here")
        while (heard := await grace.next())["type"] != "message":
            assert heard["type"] == "system"
        assert heard["content"] == "still here"


@pytest.mark.parametrize("frame", ["too long " * 300, b"\xff\xfe", "[" * 50_000], ids=["text", "bytes", "deep"])
async def test_a_wrong_frame_is_an_error_too(chat: Server, frame: str | bytes) -> None:
    async with joined(chat, "wrong-frame", "Ada") as (ada, _):
        await ada.send_raw(frame)
        await ada.until(type="error")
        await ada.say("still here")
        await ada.until(content="still here")


@pytest.mark.parametrize(
    ("path", "username", "reason"),
    [
        ("/ws/chat/Caf%C3%A9", "Ada", "The name of a room"),
        ("/ws/chat/" + "r" * 33, "Ada", "The name of a room"),
        ("/ws/chat/fine", "A" * 33, "A name has"),
        ("/ws/chat/fine", "A\u202eB", "A name has"),
    ],
)
async def test_bad_names_are_refused_with_a_reason(chat: Server, path: str, username: str, reason: str) -> None:
    async with connect(chat, path, username=username) as client:
        closed = await client.closed()
    assert closed.code == 4400
    assert (closed.reason or "").startswith(reason)


async def test_what_is_no_position_is_refused(chat: Server) -> None:
    async with connect(chat, "/ws/chat/fine", username="Ada", since="nowhere") as client:
        closed = await client.closed()
    assert closed.code == 4400
    assert "position" in (closed.reason or "")


async def test_nobody_has_to_have_a_name(chat: Server) -> None:
    async with connect(chat, "/ws/chat/anonymous") as client:
        [person] = (await client.until(type="welcome"))["people"]
    assert person["username"].startswith("Anonymous-")


PAGE = Path(__file__).resolve().parents[2] / "examples/chat/static"


@pytest.mark.parametrize("name", ["", *sorted(file.name for file in PAGE.iterdir())])
def test_the_page_may_load_nothing_from_elsewhere(chat: Server, name: str) -> None:
    status, headers, body = chat.get(f"/{name}")
    policy = headers["content-security-policy"]
    assert status == 200
    assert body == (PAGE / (name or "index.html")).read_bytes()
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/app.py", "/../app.py", "/%2e%2e/app.py", "/..%2fapp.py", "/nothing"])
def test_nothing_else_is_served(chat: Server, path: str) -> None:
    assert chat.get(path)[0] in (400, 404)
