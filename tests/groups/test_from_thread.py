"""What threads may do with a box: ask for it in the application's own thread, and nothing else."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nexios_trio import ChannelBox, NexiosApp
from nexios_trio.exceptions import LifecycleError
from nexios_trio.testing import connect, run_app
from nexios_trio.websockets import GroupSendStatusEnum, WebSocket, open_channel


def make_app(**options: Any) -> NexiosApp:
    app = NexiosApp(**options)
    app.box.keep_presence("room")

    @app.ws_route("/")
    async def room(ws: WebSocket) -> None:
        ws.user = "ann"
        async with open_channel(ws) as channel, channel.member("room"):
            async for text in channel:
                await channel.send(await trio.to_thread.run_sync(in_the_handlers_thread, text))

    def in_the_handlers_thread(text: str) -> str:
        return str(app.box.from_thread(ChannelBox.group_send, "room", text).value)

    return app


async def in_thread(function: Callable[[], Any]) -> Any:
    """What comes back from a thread that trio knows nothing of; what it raises is raised here."""
    outcome: list[Any] = []
    token, done = trio.lowlevel.current_trio_token(), trio.Event()

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)
        token.run_sync_soon(done.set)

    threading.Thread(target=run).start()
    await done.wait()
    [result] = outcome
    if isinstance(result, BaseException):
        raise result
    return result


both = pytest.mark.parametrize("run", [in_thread, trio.to_thread.run_sync], ids=["a foreign thread", "a worker thread"])


@both
async def test_a_thread_sends_to_groups_and_users_and_asks(run: Any) -> None:
    app = make_app()
    async with run_app(app), connect(app) as client:
        await wait_all_tasks_blocked()

        def use() -> list[Any]:
            call = app.box.from_thread
            return [
                call(app.box.group_send, "room", {"number": 1}),
                call(ChannelBox.group_send, "room", 2, transient=True),
                call(app.user("ann").send, 3),
                call(app.box.post, "room", 4),
                call(app.box.group_size, "room"),
                [user.id for user in call(app.box.presence, "room")],
                call(app.box.statistics).groups,
            ]

        sent, again, to_user, posted, *found = await run(use)
        assert (sent, again, to_user) == (GroupSendStatusEnum.GROUP_SEND, GroupSendStatusEnum.GROUP_SEND, True)
        assert (posted.offset, found) == (2, [1, ["ann"], 2])
        assert [await client.receive_json() for _ in range(4)] == [{"number": 1}, 2, 3, 4]


async def test_a_thread_of_a_handler_does_it_for_the_application() -> None:
    asked: list[str] = []

    def authorize(channel: Any, group: str, action: str) -> bool:
        asked.append(action)
        return action == "join"

    app = make_app(authorize=authorize)
    async with run_app(app), connect(app) as client:
        await client.send_json("tea")
        assert sorted([await client.receive_json(), await client.receive_json()]) == ["group_send", "tea"]
    assert asked == ["join"]


@both
async def test_without_it_nothing_is_touched_and_the_error_says_how(run: Any) -> None:
    app = make_app()
    async with run_app(app), connect(app) as client:
        await wait_all_tasks_blocked()
        [channel] = app.box.channels()
        for call in (
            lambda: app.box.post("room", 1),
            lambda: app.box.group_send_nowait("room", 1),
            lambda: app.user("ann").post(1),
            lambda: app.box.join_nowait(channel, "other"),
            lambda: app.box.leave_nowait(channel, "room"),
            lambda: app.box.update_presence(channel, "room", {}),
        ):
            with pytest.raises(LifecycleError, match=r"call app\.box\.from_thread\(.*trio\.from_thread\.run\("):
                await run(call)
        await client.expect_nothing()
        assert list(await app.box.show_groups()) == ["room"]


@both
async def test_what_is_raised_is_raised_in_the_thread(run: Any) -> None:
    app = make_app()
    async with run_app(app):
        with pytest.raises(ValueError, match="invalid group name"):
            await run(lambda: app.box.from_thread(app.box.group_send, "tea time"))


async def test_where_it_cannot_be_done() -> None:
    app = make_app()
    with pytest.raises(LifecycleError, match="the application of this box does not run"):
        await in_thread(lambda: app.box.from_thread(app.box.group_send, "room", 1))
    async with run_app(app):
        with pytest.raises(LifecycleError, match="await group_send here, without from_thread"):
            app.box.from_thread(app.box.group_send, "room", 1)
    with pytest.raises(LifecycleError, match="the application of this box does not run"):
        await in_thread(lambda: app.box.from_thread(app.box.group_send, "room", 1))


def test_a_box_that_no_application_runs_is_anybodys() -> None:
    box = ChannelBox()
    assert not box.post("room", 1).is_watched


async def test_a_call_that_the_end_of_the_run_overtakes() -> None:
    """The application runs in another thread, which ends while the call waits."""
    app, entered, results = make_app(), threading.Event(), []

    async def serve() -> None:
        async with run_app(app):
            entered.set()
            await trio.sleep_forever()

    def in_its_own_run() -> None:
        async def main() -> None:
            with trio.move_on_after(30) as scope:
                holder.append((trio.lowlevel.current_trio_token(), scope))
                await serve()

        trio.run(main)

    holder: list[Any] = []
    server = threading.Thread(target=in_its_own_run)
    server.start()
    await trio.to_thread.run_sync(entered.wait)

    def call() -> None:
        try:
            app.box.from_thread(trio.sleep_forever)
        except BaseException as error:
            results.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    token, scope = holder[0]
    token.run_sync_soon(scope.cancel)
    await trio.to_thread.run_sync(server.join)
    await trio.to_thread.run_sync(caller.join)
    assert isinstance(results[0], LifecycleError | trio.Cancelled)
