"""A conflation key or an overflow policy that raises: the message is queued all the same, the batch goes on, it is told."""

import logging

import pytest

from nexios_trio.channels.channel import Channel
from nexios_trio.core.overflow import Policy, conflate
from nexios_trio.groups.box import ChannelBox
from tests.wire import house, settle


def symbol(payload):
    if payload["n"] == 2:
        raise KeyError("symbol")
    return payload["symbol"]


def unhashable(payload):
    return [payload["n"]] if payload["n"] == 2 else payload["symbol"]


class Awkward:
    def __hash__(self):
        raise ZeroDivisionError


def awkward(payload):
    return Awkward() if payload["n"] == 2 else payload["symbol"]


def member(*groups, kept=None, count=1):
    async def endpoint(ws):
        await ws.accept()
        for _ in range(count):
            channel = Channel(ws)
            if kept is not None:
                kept.append(channel)
            for group in groups:
                await ChannelBox.add_channel_to_group(channel, group)
        await ws.receive()

    return endpoint


async def stalled(inside, wire):
    """The peer does not read, and its writer is busy."""
    wire.stall()
    await inside.box.group_send("room", {"n": -1, "symbol": None})
    await settle()


@pytest.mark.parametrize("key", [symbol, unhashable, awkward])
async def test_a_key_that_raises_loses_nothing(key, caplog):
    kept = []
    async with house(overflow=conflate(key)) as inside:
        wire = await inside.connect(member("room", kept=kept))
        await stalled(inside, wire)
        for number in range(5):
            await inside.box.group_send("room", {"n": number, "symbol": number % 2})
        await settle()
        wire.flow()
        await settle()
        assert [message["n"] for message in wire.json] == [-1, 4, 3, 2]  # in the places of 0 and 1
        assert kept[0].statistics().policy_errors == 1
        assert inside.box.statistics().policy_errors == 1
        assert inside.box.statistics().undelivered == 2  # replaced
    assert inside.box.statistics().policy_errors == 1
    [record] = [record for record in caplog.records if record.name == "nexios_trio.fanout"]
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert "'room'" in record.getMessage()


async def test_the_rest_of_a_batch_goes_on():
    """Messages that wait for one flush, for a large group."""
    async with house(overflow=conflate(symbol)) as inside:
        wires = [await inside.connect(member("room")) for _ in range(40)]
        for wire in wires:
            wire.stall()
        for _ in range(2):
            await inside.box.group_send("room", {"n": -1, "symbol": None})
            await settle()
        for number in range(5):
            await inside.box.group_send("room", {"n": number, "symbol": number})
        await settle()
        for wire in wires:
            wire.flow()
        await settle()
        assert {tuple(message["n"] for message in wire.json) for wire in wires} == {(-1, -1, 0, 1, 2, 3, 4)}


async def test_an_error_is_logged_once_for_each_group(caplog):
    def broken(payload):
        raise ZeroDivisionError

    async with house(overflow=conflate(broken)) as inside:
        wires = [await inside.connect(member("room", "hall")) for _ in range(3)]
        for wire in wires:
            wire.stall()
        for _ in range(10):
            await inside.box.group_send("room", 1)
            await inside.box.group_send("hall", 1)
        await settle()
        counted = inside.box.statistics().policy_errors
        for wire in wires:
            wire.flow()
    assert counted == 3 * 20
    told = [record.getMessage() for record in caplog.records if record.name == "nexios_trio.fanout"]
    assert len(told) == 2
    assert "'room'" in told[0]
    assert "'hall'" in told[1]


async def test_a_direct_message_to_a_channel_survives_a_broken_key_too(caplog):
    kept = []
    async with house(overflow=conflate(symbol)) as inside:
        wire = await inside.connect(member("room", kept=kept))
        await stalled(inside, wire)
        for number in (2, 1, 2):
            assert await inside.box.send_to(kept[0].uuid, {"n": number, "symbol": 0}) is True
        wire.flow()
        await settle()
        assert [message["n"] for message in wire.json] == [-1, 2, 1, 2]
    assert inside.box.statistics().policy_errors == 2
    assert len([record for record in caplog.records if record.name == "nexios_trio.fanout"]) == 1


@pytest.mark.parametrize("answer", ["raise", "no verdict"])
async def test_a_policy_that_fails_takes_what_there_is_room_for_and_disconnects_otherwise(answer, caplog):
    def decide(statistics, size):
        if answer == "raise":
            raise ZeroDivisionError
        return "anything"

    policy = Policy("broken", decide, max_lag=1e-9)  # so that it is asked although there is room
    async with house(overflow=policy, outbox_messages=4) as inside:
        slow = await inside.connect(member("room"))
        other = await inside.connect(member("room"))
        await stalled(inside, slow)
        for number in range(4):
            await inside.box.group_send("room", {"n": number})
            await settle()
        assert slow.closes == []
        await inside.box.group_send("room", {"n": 4})
        await settle()
        assert inside.box.size_of("room") == 1
        assert [message["n"] for message in other.json] == [-1, 0, 1, 2, 3, 4]
        slow.flow()
        await settle()
        assert slow.closes == [(1013, "too slow")]
    assert inside.box.statistics().policy_errors > 0
    assert len([record for record in caplog.records if record.name == "nexios_trio.fanout"]) == 1


# ---------------------------------------------------------------- whose key it is


async def test_groups_do_not_replace_each_others_messages():
    kept = []
    async with house(overflow=conflate(lambda payload: payload["symbol"])) as inside:
        wire = await inside.connect(member("room", "bids", "asks", kept=kept))
        await stalled(inside, wire)
        for number in range(2):
            await inside.box.group_send("bids", {"symbol": "A", "bid": number})
            await inside.box.group_send("asks", {"symbol": "A", "ask": number})
            await inside.box.send_to(kept[0].uuid, {"symbol": "A", "you": number})
        wire.flow()
        await settle()
        assert wire.json[1:] == [{"symbol": "A", "bid": 1}, {"symbol": "A", "ask": 1}, {"symbol": "A", "you": 1}]


async def test_channels_of_one_connection_do_not_replace_each_others_messages():
    async with house(overflow=conflate(lambda payload: payload["symbol"])) as inside:
        wire = await inside.connect(member("room", count=2))
        await stalled(inside, wire)
        for number in range(2):
            await inside.box.group_send("room", {"symbol": "A", "n": number})
        wire.flow()
        await settle()
        assert [message["n"] for message in wire.json][2:] == [1, 1]


async def test_a_key_of_none_is_never_replaced():
    async with house(overflow=conflate(lambda payload: None)) as inside:
        wire = await inside.connect(member("room"))
        await stalled(inside, wire)
        for number in range(3):
            await inside.box.group_send("room", {"n": number})
        wire.flow()
        await settle()
        assert [message["n"] for message in wire.json] == [-1, 0, 1, 2]
