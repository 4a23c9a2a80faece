"""What backends may ask and do about users through `mount_api`, on one node and on two."""

import re
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from trio.testing import wait_all_tasks_blocked

from nexios_trio import ChannelBox, NexiosApp
from nexios_trio.exceptions import EngineError
from nexios_trio.middleware import AuthenticationMiddleware
from nexios_trio.testing import Broker, connect, run_app
from nexios_trio.websockets import WebSocket, open_channel
from tests.asgi import Answer, request

KEY = "correct-horse-battery-staple"
GUIDE = Path(__file__).parents[2] / "docs/guides/publish.md"


def who(ws: WebSocket) -> str | None:
    return ws.query_params.get("user")


def make_app(box: ChannelBox) -> NexiosApp:
    app = NexiosApp(box=box, middleware=[AuthenticationMiddleware(who)])
    app.mount_api("/api", key=KEY)
    app.box.keep_presence("room.*", grace=0, info=lambda channel: {"name": channel.websocket.user.title()})

    @app.ws_route("/room")
    async def room(ws: WebSocket) -> None:
        async with open_channel(ws) as channel, channel.member("room.1"), channel.member("orders"):
            async for _ in channel:
                pass

    return app


class Nodes:
    """Applications that share their groups."""

    def __init__(self, apps: list[NexiosApp], stack: AsyncExitStack) -> None:
        self.apps = apps
        self._stack = stack

    async def come(self, node: int, user: str) -> Any:
        client = await self._stack.enter_async_context(connect(self.apps[node], "/room", query={"user": user}))
        await wait_all_tasks_blocked()
        return client

    async def ask(self, name: str, body: Any, key: str = KEY, headers: Any = ()) -> Answer:
        data = orjson.dumps(body)
        authorization = (b"authorization", f"Bearer {key}".encode())
        return await request(self.apps[0], f"/api/{name}", "POST", body=data, headers=[authorization, *headers])


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[Nodes]:
    broker = Broker()
    async with AsyncExitStack() as stack:
        apps = [make_app(ChannelBox(broker.engine()) if count > 1 else ChannelBox()) for _ in range(count)]
        for app in apps:
            await stack.enter_async_context(run_app(app))
        yield Nodes(apps, stack)


both = pytest.mark.parametrize("count", [1, 2])


@both
async def test_presence(count: int) -> None:
    async with nodes(count) as there:
        assert (await there.ask("presence", {"group": "room.1"})).json() == {"users": []}
        await there.come(0, "ann")
        await there.come(count - 1, "ann")
        await there.come(count - 1, "bob")
        answer = await there.ask("presence", {"group": "room.1"})
        assert answer.status == 200
        users = answer.json()["users"]
        assert [(user["id"], user["user"], user["info"]) for user in users] == [
            ("ann", "ann", {"name": "Ann"}),
            ("bob", "bob", {"name": "Bob"}),
        ]
        assert [len(user["connections"]) for user in users] == [2, 1]
        told = await there.apps[0].box.presence("room.1")
        assert [one["id"] for one in users[0]["connections"]] == [str(one.id) for one in told[0].connections]


@both
async def test_disconnecting_a_user_tells_each_device_the_reason(count: int) -> None:
    async with nodes(count) as there:
        devices = [await there.come(node, "ann") for node in (0, 0, count - 1)]
        bob = await there.come(0, "bob")
        asked = {"user": "ann", "reason": "signed out", "code": 4003}
        assert (await there.ask("disconnect", asked)).json() == {"connections": 3}
        for device in devices:
            assert await device.receive_close() == (4003, "signed out")
        await wait_all_tasks_blocked()
        again = await there.ask("disconnect", asked, headers=[(b"idempotency-key", b"it does no harm")])
        assert again.json() == {"connections": 0}
        await bob.expect_nothing()


@both
async def test_unsubscribing_a_user(count: int) -> None:
    async with nodes(count) as there:
        devices = [await there.come(node, "7") for node in (0, count - 1)]
        bob = await there.come(0, "bob")
        assert (await there.ask("unsubscribe", {"user": 7, "group": "room.1"})).json() == {"channels": 2}
        await there.ask("publish", {"group": "room.1", "payload": "tea"})
        assert await bob.receive_json() == "tea"
        for device in devices:
            await device.expect_nothing()


@pytest.mark.parametrize("name", ["presence", "disconnect", "unsubscribe"])
async def test_without_the_key_nothing_is_done(name: str) -> None:
    async with nodes(1) as there:
        ann = await there.come(0, "ann")
        answer = await there.ask(name, {"user": "ann", "group": "room.1"}, key="another-key-than-that")
        assert (answer.status, answer.json()["error"]) == (401, "the key is not one of mount_api")
        await ann.expect_nothing()


USER = "accepted is the user's id: a string that is not empty, or a whole number"


@pytest.mark.parametrize(
    ("name", "body", "field", "problem"),
    [
        ("presence", {}, "group", "a group name is a str of 1 to 100 characters"),
        ("presence", {"group": "hall"}, "group", "nobody keeps the presence of group 'hall': name it with box.keep_"),
        ("presence", {"group": "room.1", "user": 1}, "user", "there is no such field; accepted are group"),
        ("disconnect", [], "", "accepted is an object with user, reason, code, not a list"),
        ("disconnect", {}, "user", USER),
        ("disconnect", {"user": ""}, "user", USER),
        ("disconnect", {"user": True}, "user", USER),
        ("disconnect", {"user": 1.5}, "user", USER),
        ("disconnect", {"user": "ann", "code": 1006}, "code", "close code 1006 may not be sent; accepted: 1000"),
        ("disconnect", {"user": "ann", "code": "1000"}, "code", "a close code is an int"),
        ("disconnect", {"user": "ann", "reason": "x" * 124}, "reason", "close reason of 124 bytes; accepted: up to"),
        ("disconnect", {"user": "ann", "reason": 7}, "reason", "a close reason is a str or None, not int"),
        ("unsubscribe", {"user": "ann"}, "group", "a group name is a str"),
        ("unsubscribe", {"group": "room.1"}, "user", USER),
        ("unsubscribe", {"user": "ann", "group": "$user:YW5u"}, "group", "group names that begin with $ are reserved"),
    ],
    ids=range(15),
)
async def test_a_field_that_is_not_accepted_is_named(name: str, body: Any, field: str, problem: str) -> None:
    async with nodes(1) as there:
        answer = await there.ask(name, body)
        told = answer.json()
        assert (answer.status, told["field"]) == (400, field)
        assert told["error"].startswith(f"{field}: {problem}" if field else problem)


@pytest.mark.parametrize("name", ["presence", "disconnect", "unsubscribe"])
async def test_the_others_cannot_be_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with nodes(2) as there:
        ann = await there.come(0, "ann")

        async def fail(*_: Any) -> Any:
            raise EngineError("the link is down")

        monkeypatch.setattr(there.apps[0].box.engine, "presence" if name == "presence" else "ask", fail)
        fields = {"presence": ("group",), "disconnect": ("user",), "unsubscribe": ("user", "group")}[name]
        body = {key: value for key, value in {"user": "ann", "group": "room.1"}.items() if key in fields}
        answer = await there.ask(name, body)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"] == "the link is down"
        assert answer.json()["maybe_published"] is (name != "presence")
        if name == "disconnect":
            assert (await ann.receive_close())[0] == 1000


async def test_the_curl_lines_of_the_guide_are_answered_as_it_says() -> None:
    page = GUIDE.read_text()
    lines = re.findall(r"^\$ curl (https:(?:[^\n]|\\\n)*?)(?<!\\)\n(\{.*\})$", page, re.MULTILINE)
    assert [line.split("/api/")[1].split()[0] for line, _ in lines] == [
        "publish",
        "presence",
        "unsubscribe",
        "disconnect",
    ]
    async with nodes(1) as there:
        await there.come(0, "ann")
        for line, shown in lines:
            url, *words = shlex.split(line.replace("\\\n", " ").replace("$NEXIOS_API_KEY", KEY))
            options = list(zip(words[::2], words[1::2], strict=True))
            assert {option for option, _ in options} == {"-H", "-d"}
            headers = [value.split(": ") for option, value in options if option == "-H"]
            sent = [(name.lower().encode(), value.encode()) for name, value in headers]
            [body] = [value.encode() for option, value in options if option == "-d"]
            path = url.removeprefix("https://example.com")
            answer = await request(there.apps[0], path, "POST", body=body, headers=sent)
            assert answer.status == 200, answer.json()
            assert shape(answer.json()) == shape(orjson.loads(shown))


def shape(found: Any) -> Any:
    """Names, counts and texts, without what is another at each time."""
    if isinstance(found, dict):
        return {name: None if name in ("id", "position") else shape(value) for name, value in found.items()}
    if isinstance(found, list):
        return [shape(value) for value in found]
    return found
