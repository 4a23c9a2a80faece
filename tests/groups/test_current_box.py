"""Which application's box `ChannelBox.group_send` and its like act on, called on the class."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from nexios_trio import ChannelBox, NexiosApp, WebSocket
from nexios_trio.exceptions import LifecycleError
from nexios_trio.websockets import Channel, GroupSendStatusEnum
from tests.asgi import connect, lifespan

SENT, NOBODY = GroupSendStatusEnum.GROUP_SEND, GroupSendStatusEnum.NO_SUCH_GROUP


def room_app() -> NexiosApp:
    app = NexiosApp()

    @app.ws_route("/")
    async def room(ws: WebSocket) -> None:
        await ws.accept()
        await ChannelBox.add_channel_to_group(Channel(ws), "room")
        await ws.send_text("joined")
        await ws.receive()

    return app


async def send() -> Any:
    return await ChannelBox.group_send("room", "news")


async def in_a_thread(function: Callable[[trio.lowlevel.TrioToken], Any]) -> Any:
    """What comes back from a thread that trio knows nothing of; what it raises is raised here."""
    token = trio.lowlevel.current_trio_token()
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function(token))
        except BaseException as error:
            outcome.append(error)
        token.run_sync_soon(done.set)

    done = trio.Event()
    threading.Thread(target=run).start()
    await done.wait()
    [result] = outcome
    if isinstance(result, BaseException):
        raise result
    return result


async def test_none_runs() -> None:
    """As the documents have it: there is a box for the whole process."""
    assert await send() is NOBODY
    assert await ChannelBox.show_groups() == {}


@pytest.mark.parametrize("start", ["lifespan", "connection"])
async def test_one_runs(start: str) -> None:
    app = room_app()

    async def from_outside() -> None:
        async with connect(app) as client:
            await client.accepted()
            assert await client.text() == "joined"
            assert await send() is SENT
            assert await client.text() == '"news"'

    if start == "lifespan":
        async with lifespan(app):
            await from_outside()
    else:
        await from_outside()
    assert await send() is NOBODY


async def test_several_run() -> None:
    first, second = room_app(), room_app()
    async with lifespan(first):
        async with lifespan(second):
            with pytest.raises(LifecycleError, match=r"2 applications.*app\.box"):
                await send()
            async with connect(second) as client:  # its handler's tasks know theirs
                await client.accepted()
                assert await client.text() == "joined"
            assert await first.box.group_send("room", "news") is NOBODY
        assert await send() is NOBODY


async def test_two_applications_with_one_box() -> None:
    box = ChannelBox()
    async with lifespan(NexiosApp(box=box)), lifespan(NexiosApp(box=box)):
        assert await ChannelBox.group_send("room", "news", save_history=True) is NOBODY
        assert [message.payload for message in await box.show_history("room")] == ["news"]


async def test_a_thread_with_a_token() -> None:
    app = room_app()
    async with lifespan(app), connect(app) as client:
        await client.accepted()
        assert await client.text() == "joined"

        def publish(token: trio.lowlevel.TrioToken) -> Any:
            return trio.from_thread.run(ChannelBox.group_send, "room", "news", trio_token=token)

        assert await in_a_thread(publish) is SENT
        assert await client.text() == '"news"'


@pytest.mark.parametrize(
    "call",
    [
        ChannelBox.show_groups,
        ChannelBox.statistics,
        lambda: _drive(ChannelBox.group_send("room", "news")),
        lambda: _drive(ChannelBox.show_history("room")),
        lambda: _drive(ChannelBox.close_all_connections()),
        lambda: ChannelBox.member(None),  # type: ignore[arg-type]
    ],
)
async def test_a_thread_without_one(call: Callable[[], Any]) -> None:
    async with lifespan(room_app()):
        with pytest.raises(LifecycleError, match=r"trio\.from_thread\.run\(.*trio_token=token"):
            await in_a_thread(lambda token: call())


def _drive(awaitable: Awaitable[Any]) -> Any:
    return awaitable.__await__().send(None)


def test_without_any_run_there_is_the_process_s() -> None:
    assert ChannelBox.statistics().groups == 0


async def test_another_thread_s_run_has_its_own_applications() -> None:
    """Two runs in two threads, one application each."""
    inner, outer = room_app(), room_app()

    async def other_run() -> Any:
        async with lifespan(inner):
            return await ChannelBox.group_send("room", "inner", save_history=True)

    async with lifespan(outer):
        await in_a_thread(lambda token: trio.run(other_run))
        assert await outer.box.show_history("room") == []
        assert [m.payload for m in await inner.box.show_history("room")] == ["inner"]


async def test_a_method_is_looked_up_when_it_is_called() -> None:
    """Taken from the class before the application runs, as a default argument or for another thread."""
    publish = ChannelBox.group_send
    app = room_app()
    async with lifespan(app):
        await publish("room", "news", save_history=True)
        assert len(await app.box.show_history("room")) == 1


def test_it_looks_like_the_method() -> None:
    assert ChannelBox.group_send.__name__ == "group_send"
    assert ChannelBox.group_send.__doc__
