"""`OfflineQueue` with several connections of one client: tabs, that come and go in any order, and devices."""

import pytest
import trio

from nexios_trio.channels.channel import Channel
from nexios_trio.channels.offline import OfflineQueue
from nexios_trio.channels.open_channel import open_channel
from nexios_trio.channels.secure import SecureChannel
from nexios_trio.exceptions import LifecycleError
from tests.wire import house, settle


def here(queue, name="ann", **options):
    async def handler(ws):
        async with open_channel(ws) as channel, queue.connected(name, channel, **options):
            async for _ in channel:
                pass

    return handler


async def leave(wire):
    wire.leave()
    await wire.done.wait()


async def test_the_older_tab_goes_on_when_the_newest_is_closed():
    queue = OfflineQueue()
    async with house() as inside:
        tabs = [await inside.connect(here(queue)) for _ in range(3)]
        sent = 0
        for newest in (2, 1, 0):
            for _ in range(2):
                sent += 1
                assert await queue.send("ann", sent) is True
            await settle()
            assert [tab.json for tab in tabs] == [[] if tab is not tabs[newest] else [sent - 1, sent] for tab in tabs]
            assert (queue.statistics().here, queue.statistics().away) == (1, 0)
            await leave(tabs[newest])
        assert (queue.statistics().here, queue.statistics().away) == (0, 1)


async def test_an_older_tab_that_closes_changes_nothing():
    queue = OfflineQueue()
    async with house() as inside:
        tabs = [await inside.connect(here(queue)) for _ in range(3)]
        await leave(tabs[1])
        await leave(tabs[0])
        await queue.send("ann", 1)
        await settle()
        assert tabs[2].json == [1]
        assert (queue.statistics().here, queue.statistics().away) == (1, 0)


async def test_a_client_with_an_open_tab_is_never_forgotten(autojump_clock):
    queue = OfflineQueue(max_age=10)
    async with house() as inside:
        old = await inside.connect(here(queue))
        await leave(await inside.connect(here(queue)))
        await trio.sleep(20)
        assert await queue.send("ann", 1) is True
        await settle()
        assert old.json == [1]


async def test_a_newer_tab_takes_over_in_the_middle_of_a_message_and_gives_it_back():
    queue = OfflineQueue()
    async with house(outbox_messages=1) as inside:
        old = await inside.connect(here(queue))
        old.stall()
        for number in range(6):
            await queue.send("ann", number)
            await settle()
        new = await inside.connect(here(queue))
        await settle()
        got = new.json
        assert got == list(range(got[0], 6))
        await leave(new)
        await queue.send("ann", 6)
        old.flow()
        await settle()
        assert old.json == [*range(got[0]), 6]


async def test_a_tab_whose_connection_is_lost_gives_way_before_its_handler_has_ended():
    queue = OfflineQueue()
    hold = trio.Event()

    async def lingering(ws):
        async with open_channel(ws) as channel, queue.connected("ann", channel):
            await hold.wait()

    async with house() as inside:
        old = await inside.connect(here(queue))
        lost = await inside.connect(lingering)
        lost.leave()
        await settle()
        assert await queue.send("ann", 1) is True
        await queue.send("ann", 2)
        await settle()
        assert old.json == [1, 2]
        hold.set()


async def test_who_comes_on_a_connection_that_is_over_is_not_here():
    queue = OfflineQueue(max_age=1)
    errors = []

    async def handler(ws):
        await ws.accept()
        channel = Channel(ws)

        @channel.on_disconnect
        async def come_too_late(channel):
            try:
                async with queue.connected("ann", channel):
                    pass
            except LifecycleError as error:
                errors.append(error)

    async with house() as inside:
        await inside.connect(handler)
        await settle()
    assert len(errors) == 1
    assert await queue.send("ann", 1) is False
    assert (queue.statistics().here, queue.statistics().away) == (0, 0)


async def test_every_device_gets_every_message():
    queue = OfflineQueue()
    async with house() as inside:
        phone = await inside.connect(here(queue, device="phone"))
        desk = await inside.connect(here(queue, device="desk"))
        await queue.send("ann", 1)
        await settle()
        await leave(phone)
        await queue.send("ann", 2)
        await settle()
        assert (phone.json, desk.json) == ([1], [1, 2])
        phone = await inside.connect(here(queue, device="phone"))
        await queue.send("ann", 3)
        await settle()
        assert (phone.json, desk.json) == ([2, 3], [3])
        assert queue.statistics().here == 2


async def test_a_device_that_is_away_for_too_long_is_forgotten_alone(autojump_clock):
    queue = OfflineQueue(max_age=10)
    async with house() as inside:
        await leave(await inside.connect(here(queue, device="phone")))
        desk = await inside.connect(here(queue, device="desk"))
        await trio.sleep(20)
        assert await queue.send("ann", 1) is True
        assert queue.statistics().away == 0
        phone = await inside.connect(here(queue, device="phone"))
        await settle()
        assert (desk.json, phone.json) == ([1], [])


@pytest.mark.parametrize("device", [None, 7, b"phone", ""])
async def test_a_device_is_a_name(device):
    queue = OfflineQueue()
    errors = []

    async def handler(ws):
        await ws.accept()
        try:
            async with queue.connected("ann", Channel(ws), device=device):
                pass
        except (TypeError, ValueError) as error:
            errors.append(str(error))

    async with house() as inside:
        await inside.connect(handler)
    assert ["device" in error for error in errors] == [True]


def test_a_clients_absence_is_what_has_passed_also_in_another_run():
    queue = OfflineQueue(max_age=60.0)

    async def come_and_go():
        async with house() as inside:
            await leave(await inside.connect(here(queue)))

    async def send():
        return await queue.send("ann", 1)

    for _ in range(10):  # trio.run begins at a time of its own choosing
        trio.run(come_and_go)
        assert trio.run(send) is True


async def test_who_leaves_at_once_was_here():
    queue = OfflineQueue()

    async def passing(ws):
        async with open_channel(ws) as channel:
            async with queue.connected("ann", channel):
                pass
            await channel.receive()

    async with house() as inside:
        wire = await inside.connect(passing)
        assert (queue.statistics().here, queue.statistics().away) == (0, 1)
        assert wire.closes == []


async def test_a_client_that_is_revoked_gets_nothing_of_what_is_kept():
    queue = OfflineQueue()
    channels = []

    class Members(SecureChannel):
        async def verify_token(self, token):
            return token

    async def handler(ws):
        await ws.accept()
        channels.append(Members(ws))
        await channels[0].authenticate("ann")
        async with queue.connected("ann", channels[0]):
            await ws.receive()

    async with house() as inside:
        wire = await inside.connect(handler)
        await queue.send("ann", 1)
        await settle()
        await channels[0].authenticate("bob")
        await queue.send("ann", 2)
        await settle()
        assert wire.json == [1]
        assert (queue.statistics().away, queue.statistics().messages) == (1, 1)
