"""An overflow policy for a route, in place of the application's; a group's, and a channel's."""

import pytest
from trio.testing import wait_all_tasks_blocked

from nexios_trio import NexiosApp, WebSocket
from nexios_trio.core.overflow import drop_latest, drop_oldest
from nexios_trio.websockets import Channel, ChannelBox
from nexios_trio.websockets.middleware import OverflowMiddleware
from tests.wire import house


async def test_it_is_the_policy_of_the_connection():
    seen = []

    async def endpoint(ws: WebSocket) -> None:
        await OverflowMiddleware("drop_latest")(ws, handler)

    async def handler(ws: WebSocket) -> None:
        await ws.accept()
        seen.append(ws._session.transport.policy)

    async with house() as inside:
        await inside.connect(endpoint)
        await wait_all_tasks_blocked()
    assert seen == [drop_latest]


@pytest.mark.parametrize("wrong", ["drop", 5, lambda: None])
def test_what_is_no_policy_is_refused(wrong):
    with pytest.raises((TypeError, ValueError), match="overflow policy"):
        OverflowMiddleware(wrong)


def test_it_goes_where_middleware_goes():
    async def handler(ws: WebSocket) -> None: ...

    NexiosApp().ws_route("/ws", handler, middleware=[OverflowMiddleware(drop_oldest)])


@pytest.mark.parametrize(
    ("overflow", "of_group", "expected"),
    [
        (None, None, "disconnect"),
        ("drop_oldest", None, "drop_oldest"),
        ("drop_oldest", "drop_latest", "drop_latest"),
        (None, "drop_latest", "drop_latest"),
    ],
)
async def test_a_group_s_policy_goes_before_a_channel_s_and_that_before_the_connection_s(overflow, of_group, expected):
    async def endpoint(ws: WebSocket) -> None:
        await ws.accept()
        async with Channel(ws, "text", overflow=overflow).member("room"):
            async for _ in ws:
                pass

    async with house(outbox_messages=2) as inside:
        inside.box.set_overflow("room", of_group)
        wire = await inside.connect(endpoint)
        wire.stall()
        for number in range(6):
            await inside.box.group_send("room", f"{number}")
        await wait_all_tasks_blocked()
        wire.flow()
        await wait_all_tasks_blocked()
        closes, messages = wire.closes, wire.messages
        assert closes == ([(1013, "too slow")] if expected == "disconnect" else [])
        if expected == "drop_oldest":
            assert messages[-1] == "5"
        elif expected == "drop_latest":
            assert messages == ["0", "1", "2"][: len(messages)]


async def test_a_group_s_policy_may_change_while_it_has_members():
    async def endpoint(ws: WebSocket) -> None:
        await ws.accept()
        async with Channel(ws, "text").member("room"):
            async for _ in ws:
                pass

    async with house(outbox_messages=2) as inside:
        wire = await inside.connect(endpoint)
        await wait_all_tasks_blocked()
        inside.box.set_overflow("room", "drop_latest")
        wire.stall()
        for number in range(6):
            await inside.box.group_send("room", f"{number}")
        await wait_all_tasks_blocked()
        assert wire.closes == []
        inside.box.set_overflow("room", None)
        for number in range(6):
            await inside.box.group_send("room", f"{number}")
        wire.flow()
        await wait_all_tasks_blocked()
        assert wire.closes == [(1013, "too slow")]


def test_a_group_s_policy_is_checked():
    with pytest.raises(ValueError, match="overflow policy"):
        ChannelBox().set_overflow("room", "drop")
    with pytest.raises(ValueError, match="group name"):
        ChannelBox().set_overflow("", "drop_oldest")
