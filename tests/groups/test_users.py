"""All connections of a user are reached, each once, on whatever node they are."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from trio.testing import wait_all_tasks_blocked

from nexios_trio import OLDEST, NexiosApp
from nexios_trio.core.names import check_group_name, personal_group
from nexios_trio.exceptions import InvalidName, LifecycleError, MessageTooBig, NotAuthorized
from nexios_trio.middleware import AuthenticationMiddleware, token_in_first_message
from nexios_trio.testing import Broker, connect, run_app
from nexios_trio.websockets import Channel, ChannelBox, SecureChannel, WebSocket, open_channel


def who(ws: WebSocket) -> str | None:
    return ws.query_params.get("user")


def make_app(box: ChannelBox, **options: Any) -> NexiosApp:
    app = NexiosApp(box=box, middleware=[AuthenticationMiddleware(who)], **options)

    @app.ws_route("/plain")
    async def plain(ws: WebSocket) -> None:
        await ws.accept()
        await ws.receive()

    @app.ws_route("/channel")
    async def with_channel(ws: WebSocket) -> None:
        async with open_channel(ws) as channel, channel.member("room"):
            async for _ in channel:
                pass

    @app.ws_route("/resume")
    async def resume(ws: WebSocket) -> None:
        ws.resume_user(ws.query_params.get("since", OLDEST))
        async with open_channel(ws, positions=True) as channel:
            assert ws.user_resumed is not None
            await channel.send({"recovered": ws.user_resumed.recovered})
            async for _ in channel:
                pass

    return app


class Nodes:
    """Applications that share their groups."""

    def __init__(self, apps: list[NexiosApp], stack: AsyncExitStack) -> None:
        self.apps = apps
        self._stack = stack

    async def come(self, node: int, user: str, path: str = "/plain", **query: str) -> Any:
        client = await self._stack.enter_async_context(connect(self.apps[node], path, query={"user": user, **query}))
        await wait_all_tasks_blocked()
        return client


@asynccontextmanager
async def nodes(count: int, prepare: Callable[[ChannelBox], None] = lambda box: None) -> AsyncIterator[Nodes]:
    broker = Broker()
    async with AsyncExitStack() as stack:
        boxes = [ChannelBox(broker.engine()) if count > 1 else ChannelBox() for _ in range(count)]
        for box in boxes:
            prepare(box)
        apps = [make_app(box) for box in boxes]
        for app in apps:
            await stack.enter_async_context(run_app(app))
        yield Nodes(apps, stack)


both = pytest.mark.parametrize("count", [1, 2])


@both
@pytest.mark.parametrize("path", ["/plain", "/channel"])
async def test_each_connection_of_the_user_gets_a_message_once(count, path):
    async with nodes(count) as there:
        devices = [await there.come(node, "ann", path) for node in (0, 0, count - 1)]
        bob = await there.come(0, "bob", path)
        for number in range(5):
            assert await there.apps[number % count].user("ann").send({"number": number})
        await there.apps[0].user("ann").post("posted")
        for device in devices:
            assert [await device.receive_json() for _ in range(6)] == [*({"number": n} for n in range(5)), "posted"]
            await device.expect_nothing()
        await bob.expect_nothing()


@both
async def test_nobody_is_there(count):
    async with nodes(count) as there:
        assert not await there.apps[0].user("ann").send("hello")
        receipt = there.apps[0].user("ann").post("hello")
        await receipt
        assert not receipt.is_watched
        assert await there.apps[0].user("ann").disconnect() == 0
        assert await there.apps[0].user("ann").connections() == []


@both
async def test_who_has_left_is_not_there(count):
    async with nodes(count) as there:
        device = await there.come(count - 1, "ann")
        assert await there.apps[0].user("ann").send("hello")
        await device.close()
        await device.app_finished()
        await wait_all_tasks_blocked()
        assert not await there.apps[0].user("ann").send("hello")
        assert all(not app.box._users for app in there.apps)
        assert all(not app.box._index.groups for app in there.apps)


@both
async def test_disconnecting_tells_the_reason(count):
    async with nodes(count) as there:
        devices = [await there.come(node, "ann", path) for node, path in ((0, "/plain"), (count - 1, "/channel"))]
        bob = await there.come(0, "bob")
        await there.apps[0].user("ann").send("last")
        assert await there.apps[0].user("ann").disconnect("you are banned", 4003) == 2
        for device in devices:
            assert await device.receive_json() == "last"
            assert await device.receive_close() == (4003, "you are banned")
        await bob.expect_nothing()


async def test_disconnecting_here_alone():
    async with nodes(2) as there:
        here, elsewhere = await there.come(0, "ann"), await there.come(1, "ann")
        assert await there.apps[0].user("ann").disconnect("go", scope="node") == 1
        assert await here.receive_close() == (1000, "go")
        await elsewhere.expect_nothing()


async def test_what_disconnect_takes():
    async with nodes(1) as there:
        user = there.apps[0].user("ann")
        with pytest.raises(ValueError, match="close code 1006"):
            await user.disconnect(code=1006)
        with pytest.raises(ValueError, match="123"):
            await user.disconnect("x" * 124)
        with pytest.raises(ValueError, match="scope"):
            await user.disconnect(scope="everywhere")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="scope"):
            await user.unsubscribe("room", scope="everywhere")  # type: ignore[arg-type]


@both
async def test_connections(count):
    async with nodes(count) as there:
        await there.come(0, "ann")
        await there.come(count - 1, "ann", "/channel")
        found = await there.apps[0].user("ann").connections()
        assert [(one.path, one.client, one.groups, one.is_here) for one in found] == [
            ("/plain", "127.0.0.1", (), True),
            ("/channel", "127.0.0.1", ("room",), count == 1),
        ]
        assert len({one.id for one in found}) == 2
        assert len(await there.apps[0].user("ann").connections(scope="node")) == (2 if count == 1 else 1)


@both
async def test_unsubscribing(count):
    async with nodes(count) as there:
        ann, other, bob = [
            await there.come(node, user, "/channel") for node, user in ((0, "ann"), (count - 1, "ann"), (0, "bob"))
        ]
        assert await there.apps[0].user("ann").unsubscribe("room") == 2
        assert await there.apps[0].user("ann").unsubscribe("room") == 0
        await there.apps[0].box.group_send("room", "hello")
        assert await bob.receive_json() == "hello"
        for device in (ann, other):
            await device.expect_nothing()
        assert await there.apps[0].user("ann").send("still there")
        assert await other.receive_json() == "still there"


@both
async def test_what_a_device_has_missed_it_gets_when_it_is_back(count):
    async with nodes(count, lambda box: box.keep_user_messages(max_messages=100)) as there:
        user = there.apps[0].user("ann")
        stays = await there.come(0, "ann", "/resume")
        leaves = await there.come(count - 1, "ann", "/resume")
        for device in (stays, leaves):
            assert await device.receive_json() == {"data": {"recovered": True}}
        await user.send(0)
        first = await leaves.receive_json()
        assert first["data"] == 0
        await leaves.close()
        await leaves.app_finished()
        for number in range(1, 21):
            await user.send(number)
        back = await there.come(0, "ann", "/resume", since=first["position"])
        assert [(await back.receive_json())["data"] for _ in range(21)] == [*range(1, 21), {"recovered": True}]
        await user.send(21)
        assert (await back.receive_json())["data"] == 21
        assert [(await stays.receive_json())["data"] for _ in range(22)] == list(range(22))
        for device in (stays, back):
            await device.expect_nothing()


async def test_what_nobody_keeps_is_not_recovered():
    async with nodes(1, lambda box: box.keep_user_messages(max_messages=2)) as there:
        device = await there.come(0, "ann", "/resume")
        await device.receive_json()
        user = there.apps[0].user("ann")
        await user.send(0)
        position = (await device.receive_json())["position"]
        await device.close()
        for number in range(3):
            await user.send(number)
        back = await there.come(0, "ann", "/resume", since=position)
        assert await back.receive_json() == {"data": {"recovered": False}}


async def test_transient_messages_are_for_who_is_there():
    async with nodes(1, lambda box: box.keep_user_messages()) as there:
        await there.apps[0].user("ann").send("typing", transient=True)
        await there.apps[0].user("ann").send("kept")
        device = await there.come(0, "ann", "/resume")
        assert (await device.receive_json())["data"] == "kept"
        assert await device.receive_json() == {"data": {"recovered": True}}


@both
async def test_personal_groups_are_nobody_elses(count):
    async with nodes(count, lambda box: box.keep_user_messages()) as there:
        await there.come(0, "ann", "/channel")
        box = there.apps[0].box
        await there.apps[0].user("ann").send("hello")
        name = personal_group("ann")
        assert set(await box.show_groups()) == {"room"} == set(await box.show_groups(scope="all"))
        assert await box.show_groups().get(name) is None
        assert await box.show_history() == {}
        for call in (box.group_send, box.show_history, box.flush_history, box.group_size):
            with pytest.raises(InvalidName, match=r"begin with \$ are reserved.*app\.user\("):
                await call(name)
        with pytest.raises(InvalidName, match="reserved"):
            box.post(name)
        [channel] = box.channels()
        for join in (box.add_channel_to_group(channel, name), box.resume(channel, name, OLDEST)):
            with pytest.raises(InvalidName, match="reserved"):
                await join
        with pytest.raises(InvalidName, match="reserved"):
            box.join_nowait(channel, name)
        await box.flush_groups()
        assert await there.apps[0].user("ann").send("hello")


async def test_authorize_is_not_asked_about_users():
    asked = []

    def authorize(channel: Any, group: str, action: str) -> bool:
        asked.append((channel is not None and type(channel), group, action))
        return action == "join"

    app = NexiosApp(authorize=authorize, middleware=[AuthenticationMiddleware(who)])

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await app.user("ann").send(1)
        channel = Channel(ws)
        async with channel.member("room"):
            with pytest.raises(NotAuthorized):
                await app.box.group_send("room", 2)

    async with run_app(app), connect(app, query={"user": "ann"}) as client:
        assert await client.receive_json() == 1
        await client.receive_close()
    assert asked == [(Channel, "room", "join"), (Channel, "room", "send")]


class Loud(Channel):
    async def send(self, payload: Any) -> None:
        await super().send(f"{payload}!")


async def test_messages_are_written_as_the_first_channel_writes_them():
    app = NexiosApp(middleware=[AuthenticationMiddleware(who)])

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        await app.user("ann").send("json")
        text = Channel(ws, "text")
        await app.user("ann").send("text")
        text.release()
        await app.user("ann").send("json again")
        Loud(ws, "text")
        await app.user("ann").send("loud")
        await ws.receive()

    async with run_app(app), connect(app, query={"user": "ann"}) as client:
        assert [await client.receive_text() for _ in range(4)] == ['"json"', "text", '"json again"', "loud!"]


async def test_a_user_who_authenticates_late_or_again():
    class Tokens(SecureChannel):
        async def verify_token(self, token: str) -> Any:
            return {"a": "ann", "b": SimpleNamespace(id=7), "c": object()}.get(token)

    app = NexiosApp()
    steps: list[Any] = []

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        channel = Tokens(ws)
        for token in ("a", "b"):
            await channel.authenticate(token)
            steps.append([await app.user(user).send("hello") for user in ("ann", 7)])
        with pytest.raises(TypeError, match="user_id="):
            await channel.authenticate("c")
        assert ws.user.id == 7
        channel.revoke()
        steps.append([await app.user(user).send("hello") for user in ("ann", 7)])
        ws.user = "bob"
        with pytest.raises(TypeError, match="user_id="):
            ws.user = object()
        steps.append(await app.user("bob").connections() != [])
        ws.user = None
        steps.append(await app.user("bob").connections())

    async with run_app(app), connect(app) as client:
        assert [await client.receive_json() for _ in range(2)] == ["hello", "hello"]
        await client.receive_close()
    assert steps == [[True, False], [False, True], [False, False], True, []]


async def test_a_token_in_the_first_message():
    app = NexiosApp(middleware=[AuthenticationMiddleware(token_in_first_message({"secret": "ann"}.get))])

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        assert await app.user("ann").connections() == []
        await ws.accept()
        assert await app.user("ann").send("hello")
        await ws.receive()

    async with run_app(app), connect(app) as client:
        await client.send_json({"token": "secret"})
        assert await client.receive_json() == "hello"


async def test_a_user_whom_other_middleware_has_put_into_the_scope():
    app = NexiosApp()

    async def middleware(ws: WebSocket, call_next: Any) -> None:
        ws.scope["user"] = SimpleNamespace(id=UUID(int=7))
        await call_next(ws)

    @app.ws_route("/", middleware=[middleware])
    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        assert await app.user(UUID(int=7)).send("hello")
        await ws.receive()

    async with run_app(app), connect(app) as client:
        assert await client.receive_json() == "hello"


async def test_users_are_named_by_a_function():
    def users(ws: WebSocket) -> Any:
        return {"mail": "Ann@Example.org"}

    def by_mail(user: Any) -> str:
        return user["mail"].lower()

    of_app = NexiosApp(middleware=[AuthenticationMiddleware(users)], user_id=by_mail)
    of_middleware = NexiosApp(middleware=[AuthenticationMiddleware(users, user_id=by_mail)])
    for app in (of_app, of_middleware):

        @app.ws_route("/")
        async def handler(ws: WebSocket) -> None:
            await ws.accept()
            await ws.receive()

        async with run_app(app), connect(app) as client:
            assert await app.user("ann@example.org").send("hello")
            assert await client.receive_json() == "hello"
    assert of_app.user({"mail": "Ann@Example.org"}).id == "ann@example.org"


async def test_a_user_whom_nobody_can_name_is_refused():
    app = NexiosApp(middleware=[AuthenticationMiddleware(lambda ws: {"name": "Ann"})], debug=True)

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        raise AssertionError

    async with run_app(app):
        with pytest.raises(Exception, match="500"):
            async with connect(app):
                pass
    for wrong in (None, object(), True, "", 1.5, {"name": "Ann"}):
        with pytest.raises(TypeError, match="user_id="):
            app.user(wrong)
    with pytest.raises(TypeError, match="user_id is a function"):
        NexiosApp(user_id="mail")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="user_id has to give"):
        NexiosApp(user_id=lambda user: 1.5).user(object())  # type: ignore[arg-type,return-value]


def test_names_of_personal_groups():
    long = "x" * 65
    names = [personal_group(user) for user in ("ann", "Ann", "ä" * 32, long, long + "x", "7")]
    assert names[0] == "$user:YW5u"
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) <= 100
        with pytest.raises(InvalidName, match="reserved"):
            check_group_name(name)


async def test_what_can_be_sent():
    async with nodes(1) as there:
        device = await there.come(0, "ann")
        user = there.apps[0].user("ann")
        with pytest.raises(ValueError, match="set"):
            await user.send({1})
        with pytest.raises(MessageTooBig):
            await user.send("x" * 2_000_000)
        await user.send("once", key="k")
        await user.send("once", key="k")
        assert await device.receive_json() == "once"
        await device.expect_nothing()


async def test_resume_is_asked_for_before_accept():
    app = NexiosApp(middleware=[AuthenticationMiddleware(who)])

    @app.ws_route("/")
    async def handler(ws: WebSocket) -> None:
        with pytest.raises(ValueError, match="position"):
            ws.resume_user("nonsense")
        await ws.accept()
        assert ws.user_resumed is None
        with pytest.raises(LifecycleError, match="before accept"):
            ws.resume_user(OLDEST)

    async with run_app(app), connect(app, query={"user": "ann"}) as client:
        await client.receive_close()


async def test_patterns_of_all_groups_are_not_about_personal_ones():
    def keep_all(box: ChannelBox) -> None:
        box.keep("*")
        box.keep_presence("*")

    async with nodes(2, keep_all) as there:
        await there.come(0, "ann", "/channel")
        await there.apps[1].user("ann").send("hello")
        assert await there.apps[0].box.engine.groups_with_history() == []
        assert [present.user for present in await there.apps[1].box.presence("room")] == ["ann"]
