"""A connection's tasks act for that connection, in its own box, whoever starts them."""

import gc
from contextvars import ContextVar

import pytest
import trio

from nexios_trio.connections.session import Session
from nexios_trio.groups.box import current_box
from nexios_trio.transports.base import Transport
from nexios_trio.websockets import Channel, ChannelBox
from tests.wire import house, settle


class Questions:
    """An `authorize` that notes about whom it was asked, and allows everything."""

    def __init__(self):
        self.asked = []

    def __call__(self, channel, group, action):
        if group == "audit":
            self.asked.append(channel.websocket.url.path if channel is not None else None)
        return True


class Mirror(Channel):
    """What its peer gets also goes to another group."""

    async def send(self, payload):
        await ChannelBox.group_send("audit", payload)
        await super().send(payload)


def member(cls, channels=None):
    async def endpoint(ws):
        await ws.accept()
        channel = cls(ws)
        if channels is not None:
            channels[ws.url.path] = channel
        async with channel.member("room"):
            async for message in ws:
                await ChannelBox.group_send("room", message, exclude=channel)

    return endpoint


@pytest.fixture
def questions():
    return Questions()


@pytest.mark.parametrize("others", [0, 40], ids=["small group: the publisher", "large group: the flusher"])
async def test_an_override_of_send_acts_for_its_own_connection(questions, others):
    async with house(ChannelBox(authorize=questions)) as inside:
        await inside.connect(member(Mirror), "/guest")
        for number in range(others):
            await inside.connect(member(Channel), f"/other{number}")
        admin = await inside.connect(member(Channel), "/admin")
        admin.say("one", "two")
        await settle()
    assert questions.asked == ["/guest"] * 2


async def test_so_it_does_when_the_application_publishes_or_sends_to_it(questions):
    channels = {}
    async with house(ChannelBox(authorize=questions)) as inside:
        await inside.connect(member(Mirror, channels), "/guest")
        await inside.box.send_to(channels["/guest"].uuid, "one")
        inside.runtime.start_soon(inside.box.group_send, "room", "two")
        await settle()
    assert questions.asked == ["/guest"] * 2


@pytest.mark.parametrize("starter", ["another connection", "the application", "nobody"])
async def test_start_soon_acts_for_the_connection_that_it_belongs_to(questions, starter):
    channels = {}

    async def task():
        await ChannelBox.group_send("audit", "x")

    async def start():
        channels["/bob"].websocket.start_soon(task)

    async def alice(ws):
        await ws.accept()
        await start()
        await ws.receive()

    async with house(ChannelBox(authorize=questions)) as inside:
        await inside.connect(member(Channel, channels), "/bob")
        match starter:
            case "another connection":
                await inside.connect(alice, "/alice")
            case "the application":
                inside.runtime.start_soon(start)
            case _:
                await start()
        await settle()
    assert questions.asked == ["/bob"]


async def test_handlers_that_a_stranger_registers_act_for_the_channels_connection(questions):
    channels = {}

    async def greet(channel):
        await ChannelBox.group_send("audit", "x")

    async def alice(ws):
        await ws.accept()
        channels["/bob"].on_connect(greet)
        await ws.receive()

    async with house(ChannelBox(authorize=questions)) as inside:
        await inside.connect(member(Channel, channels), "/bob")
        await inside.connect(alice, "/alice")
        await settle()
    assert questions.asked == ["/bob"]


async def test_the_box_is_the_connections_own_too():
    channels, boxes = {}, []

    async def task():
        boxes.append(current_box())

    async def stranger(ws):
        channels["/bob"].websocket.start_soon(task)
        await ws.accept()
        await ws.receive()

    async with house() as inside, house() as elsewhere:
        await inside.connect(member(Channel, channels), "/bob")
        await elsewhere.connect(stranger, "/stranger")
        channels["/bob"].websocket.start_soon(task)  # no application at all
        await settle()
        assert boxes == [inside.box] * 2


async def test_within_a_connection_context_is_inherited_as_everywhere_in_trio():
    request = ContextVar("request", default="none")
    channels, seen = {}, []

    async def task():
        seen.append(request.get())

    async def bob(ws):
        await ws.accept()
        request.set("bob's")
        channels["/bob"] = Channel(ws)
        ws.start_soon(task)
        await ws.receive()

    async def alice(ws):
        request.set("alice's")
        channels["/bob"].websocket.start_soon(task)
        await ws.accept()
        await ws.receive()

    async with house() as inside:
        await inside.connect(bob, "/bob")
        await inside.connect(alice, "/alice")
        await settle()
    assert seen == ["bob's"] * 2


def alive():
    """Sessions and transports, with the names of their tasks."""
    return sorted(type(each).__name__ for each in gc.get_objects() if isinstance(each, Session | Transport))


@pytest.fixture
def no_collections():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_publisher_that_has_left_is_not_kept_alive_by_those_who_heard_it(no_collections):
    async def alice(ws):
        await ws.accept()
        await ChannelBox.group_send("room", "x")

    async with house() as inside:
        await inside.connect(member(Mirror), "/bob")
        before = alive()
        inside.wires.remove(await inside.connect(alice, "/alice"))
        assert alive() == before


async def test_nor_by_the_tasks_of_the_application_that_it_started(no_collections):
    async with house() as inside:

        async def alice(ws):
            await ws.accept()
            inside.runtime.start_soon(trio.sleep_forever)

        before = alive()
        inside.wires.remove(await inside.connect(alice, "/alice"))
        assert alive() == before
