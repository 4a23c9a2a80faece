"""`ChannelBox`: groups, group messages and their history, on an instance and on the class."""

import logging
import math
import time
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints

from nexios_trio.core.message import Message
from nexios_trio.engines.base import Engine
from nexios_trio.engines.memory import MemoryEngine
from nexios_trio.exceptions import InvalidName, LifecycleError, SettingsError
from nexios_trio.groups.box import current_box
from nexios_trio.groups.current_box import use_box
from nexios_trio.groups.history_size import HISTORY_SIZE_VARIABLE
from nexios_trio.websockets import (
    Channel,
    ChannelAddStatusEnum,
    ChannelBox,
    ChannelRemoveStatusEnum,
    GroupSendStatusEnum,
)
from tests.wire import house, settle

ADDED, EXIST, _ = ChannelAddStatusEnum
REMOVED, GROUP_REMOVED, NO_CHANNEL, NO_GROUP = ChannelRemoveStatusEnum
SENT, NO_SUCH_GROUP = GroupSendStatusEnum


class Overriding(Channel):
    async def send(self, payload):
        await super().send(payload)


class Members:
    """Connections that are in a room, with their channels."""

    def __init__(self, inside):
        self.inside = inside
        self.box = inside.box
        self.channels = []

    async def join(self, *groups, kind="json", cls=Channel, **options):
        async def endpoint(ws):
            await ws.accept()
            channel = cls(ws, kind, **options)
            self.channels.append(channel)
            for group in groups or ("room",):
                await ChannelBox.add_channel_to_group(channel, group)
            await ws.receive()
            while True:
                await ws.receive()

        return await self.inside.connect(endpoint)


@pytest.fixture
async def inside():
    async with house() as inside:
        yield inside


@pytest.fixture
async def members(inside):
    return Members(inside)


# ---------------------------------------------------------------- joining and leaving


async def test_statuses_of_joining(members):
    await members.join("other")
    await members.join("other")
    first, second = members.channels
    box = members.box
    with assert_checkpoints():
        assert await box.add_channel_to_group(first, "room") is ADDED
    assert await box.add_channel_to_group(second, group_name="room") is EXIST
    assert await box.add_channel_to_group(first, "room") is EXIST  # joining twice is joining once
    assert await box.add_channel_to_group(channel=first) is ADDED
    assert set(await box.show_groups()) == {"other", "room", "default"}
    await box.group_send("room", 1)


async def test_regression_removing_raised_unbound_local_error(members):
    await members.join()
    await members.join()
    first, second = members.channels
    box = members.box
    with assert_checkpoints():
        assert await box.remove_channel_from_group(first, "nowhere") is NO_GROUP
    assert await box.remove_channel_from_group(first, group_name="room") is REMOVED
    assert await box.remove_channel_from_group(first, "room") is NO_CHANNEL
    assert await box.remove_channel_from_group(second, "room") is GROUP_REMOVED
    assert await box.remove_channel_from_group(second, "room") is NO_GROUP
    assert await box.remove_channel_from_group(second, "not a name\n") is NO_GROUP


@pytest.mark.parametrize("name", ["", "with space", "x" * 101, "new\nline", "trailing\n", "ä", "a/b", None, 7])
async def test_bad_names_are_refused_everywhere(members, name):
    await members.join()
    with pytest.raises(InvalidName):  # a ValueError
        await members.box.add_channel_to_group(members.channels[0], name)
    with pytest.raises(ValueError, match="group name"):
        await members.box.group_send(name, {})


async def test_leaving_happens_in_a_cancelled_finally(members):
    await members.join()
    with trio.CancelScope() as scope:
        try:
            scope.cancel()
            await trio.lowlevel.checkpoint()
        finally:
            await members.box.remove_channel_from_group(members.channels[0], "room")
    assert await members.box.show_groups() == {}


async def test_a_cancelled_join_did_not_join(members):
    await members.join("other")
    with trio.CancelScope() as scope:
        scope.cancel()
        await members.box.add_channel_to_group(members.channels[0], "room")
    assert set(await members.box.show_groups()) == {"other"}


@pytest.mark.parametrize("error", [None, ZeroDivisionError, trio.Cancelled])
async def test_a_member_for_the_length_of_a_block(members, error):
    await members.join("other")
    channel = members.channels[0]
    with trio.CancelScope() as scope:
        try:
            async with members.box.member(channel, "room") as status:
                assert status is ADDED
                assert members.box.size_of("room") == 1
                if error is ZeroDivisionError:
                    raise error
                if error is trio.Cancelled:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        except ZeroDivisionError:
            pass
    assert members.box.size_of("room") == 0
    assert members.box.size_of("other") == 1


async def test_groups_of_one_channel_are_bounded():
    async with house(max_groups_per_channel=3) as inside:
        members = Members(inside)
        await members.join("a", "b", "c")
        (channel,) = members.channels
        with pytest.raises(ValueError, match="may be in 3 groups"):
            await inside.box.add_channel_to_group(channel, "d")
        assert await inside.box.add_channel_to_group(channel, "c") is EXIST  # it is in it already
        await inside.box.remove_channel_from_group(channel, "a")
        assert await inside.box.add_channel_to_group(channel, "d") is ADDED


async def test_regression_members_leaked(members):
    wires = [await members.join("a", "b") for _ in range(3)]
    wires[0].leave(1006)
    await settle()
    assert {group: len(channels) for group, channels in (await members.box.show_groups()).items()} == {"a": 2, "b": 2}
    assert len(members.box.channels()) == 2


# ---------------------------------------------------------------- sending


async def test_every_member_gets_the_message_as_its_payload_type_says(members):
    wires = [await members.join(kind=kind) for kind in ("json", "text", "bytes")]
    outside = await members.join("other")
    with assert_checkpoints():
        assert await members.box.group_send("room", {"a": 1}) is SENT
    assert await members.box.group_send(group_name="room", payload="hi", save_history=False) is SENT
    assert await members.box.group_send("room", b"\xff") is SENT
    await settle()
    assert [wire.messages for wire in wires] == [
        ['{"a":1}', '"hi"', b"\xff"],
        ['{"a":1}', "hi", b"\xff"],
        [b'{"a":1}', b"hi", b"\xff"],
    ]
    assert outside.messages == []


async def test_who_adds_a_websocket_is_told_to_make_a_channel(members):
    async def handler(ws):
        await ws.accept()
        with pytest.raises(TypeError) as caught:
            await ChannelBox.add_channel_to_group(ws, "room")
        await ws.send_text(str(caught.value))

    wire = await members.inside.connect(handler)
    assert wire.messages == ["only a Channel joins a group, as in Channel(websocket), not WebSocket"]


async def test_defaults_of_group_send(members):
    wire = await members.join("default")
    assert await members.box.group_send() is SENT
    assert await members.box.group_send(payload=None) is SENT
    await settle()
    assert wire.json == [{}, None]


async def test_there_is_no_such_group(members):
    with assert_checkpoints():
        assert await members.box.group_send("room", {}) is NO_SUCH_GROUP
    assert await members.box.show_history("room") == []
    wire = await members.join()
    wire.leave()
    await settle()
    assert await members.box.group_send("room", {}) is NO_SUCH_GROUP


async def test_history_is_kept_before_anybody_is_there_and_after_the_last_has_left(members):
    with assert_checkpoints():
        assert await members.box.group_send("room", 1, save_history=True) is NO_SUCH_GROUP
    wire = await members.join()
    assert await members.box.group_send("room", 2, save_history=True) is SENT
    wire.leave()
    await settle()
    assert await members.box.group_send("room", 3, save_history=True) is NO_SUCH_GROUP
    assert [message.payload for message in await members.box.show_history("room")] == [1, 2, 3]


@pytest.mark.parametrize("payload", [object(), {"n": math.nan}, "\ud800", {"a": {1, 2}}])
async def test_a_payload_that_cannot_be_encoded_is_sent_to_nobody(members, payload):
    wire = await members.join()
    with pytest.raises(ValueError, match="JSON|surrogate"):
        await members.box.group_send("room", payload, save_history=True)
    await settle()
    assert wire.messages == []
    assert await members.box.show_history("room") == []


async def test_a_cancelled_group_send_sent_nothing(members):
    wire = await members.join()
    with trio.CancelScope() as scope:
        scope.cancel()
        await members.box.group_send("room", {}, save_history=True)
    assert scope.cancelled_caught
    await settle()
    assert wire.messages == []
    assert await members.box.show_history("room") == []


async def test_changing_a_payload_after_sending_changes_nothing(members):
    wire = await members.join()
    payload = {"list": [1]}
    await members.box.group_send("room", payload, save_history=True)
    payload["list"].append(2)
    await settle()
    assert wire.json == [{"list": [1]}]
    assert [message.payload for message in await members.box.show_history("room")] == [{"list": [1]}]


async def test_exclude_one_or_several(members):
    wires = [await members.join() for _ in range(4)]
    one, two, three, _ = members.channels
    for exclude, payload in (
        (one, "without one"),
        (two.uuid, "without two"),
        (str(three.uuid), "without three"),
        ([one, two.uuid], "without one and two"),
        ({one, three}, "without one and three"),
        (iter([two]), "without two"),
        ([], "with all"),
        (uuid4(), "with all"),
    ):
        await members.box.group_send("room", payload, exclude=exclude)
    await settle()
    everybody = ["one", "two", "three", "four"]
    for name, wire in zip(everybody, wires, strict=True):
        assert wire.json == [
            payload
            for payload in (
                "without one",
                "without two",
                "without three",
                "without one and two",
                "without one and three",
                "without two",
                "with all",
                "with all",
            )
            if name not in payload
        ]


async def test_exclude_is_not_ignored_when_it_is_wrong(members):
    await members.join()
    for wrong in ("not an id", [None], 7, members.channels[0].websocket):
        with pytest.raises(ValueError, match="exclude takes channels and their ids"):
            await members.box.group_send("room", {}, exclude=wrong)


async def test_regression_one_slow_member_stalled_all(members):
    slow, fast = await members.join(), await members.join()
    slow.stall()
    with assert_checkpoints():
        for number in range(10):
            await members.box.group_send("room", number)
    await settle()
    assert fast.json == list(range(10))


async def test_regression_a_dead_peer_raised_into_the_sender(members):
    dead, alive = await members.join(), await members.join()
    dead.fault = OSError("connection reset")
    for number in range(3):
        assert await members.box.group_send("room", number) is SENT
        await settle()
    assert alive.json == [0, 1, 2]
    assert members.box.size_of("room") == 1


async def test_regression_the_members_changed_size_during_a_send(members):
    """A member joins and another leaves while a message is written."""
    wires = [await members.join() for _ in range(40)]
    await members.box.group_send("room", 1)
    wires[0].leave()
    late = await members.join()
    await settle()
    assert late.messages == []
    assert all(wire.json == [1] for wire in wires[1:])


async def test_a_member_that_cannot_be_written_to_is_logged_and_alone(members, caplog):
    class Broken(Channel):
        def receiver(self):
            receiver = Mock()
            receiver.offer_batch.side_effect = ZeroDivisionError
            return receiver, 0

    await members.join(cls=Broken)
    wire = await members.join()
    assert await members.box.group_send("room", 1) is SENT
    await settle()
    assert wire.json == [1]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


async def test_messages_of_one_group_arrive_in_order_in_groups_of_any_size(members):
    wires = [await members.join() for _ in range(40)] + [await members.join("small") for _ in range(3)]
    for number in range(50):
        for group in ("room", "small"):
            await members.box.group_send(group, number)
    await settle()
    assert all(wire.json == list(range(50)) for wire in wires)


async def test_a_member_gets_what_was_sent_between_its_joining_and_its_leaving(members):
    for _ in range(40):
        await members.join()
    wire = await members.join("other")
    channel, box = members.channels[-1], members.box
    await box.group_send("room", "too early")
    await box.add_channel_to_group(channel, "room")
    await box.group_send("room", "in time")
    await box.remove_channel_from_group(channel, "room")
    await box.group_send("room", "too late")
    await settle()
    assert wire.json == ["in time"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 40])
@pytest.mark.parametrize("cls", [Channel, Overriding])
async def test_regression_a_burst_disconnected_members_that_kept_up(members, size, cls):
    """A loop of sends was faster than any server's writer, so healthy peers were dropped with 1013."""
    wires = [await members.join(cls=cls) for _ in range(size)]
    for number in range(700):
        await members.box.group_send("room", number)
    await settle()
    assert all(wire.json == list(range(700)) for wire in wires)


async def test_a_burst_does_not_wait_for_a_member_that_stands_still(members):
    stuck, well = await members.join(), await members.join()
    stuck.stall()
    for number in range(700):
        await members.box.group_send("room", number)
    await settle()
    assert well.json == list(range(700))
    assert members.box.size_of("room") == 1


async def test_a_group_send_that_is_cancelled_sent_nothing_even_while_writers_catch_up(members, nursery):
    wire = await members.join()
    returned = 0

    async def publish():
        nonlocal returned
        while True:
            await members.box.group_send("room", returned)
            returned += 1

    async with trio.open_nursery() as publishing:
        publishing.start_soon(publish)
        while members.channels[0].statistics().queued_messages < 129:
            await trio.lowlevel.checkpoint()
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        publishing.cancel_scope.cancel()
    await settle()
    assert wire.json == list(range(returned))


# ---------------------------------------------------------------- one channel


async def test_regression_send_to_never_matched_a_str(members):
    wire = await members.join()
    await members.join()
    channel = members.channels[0]
    with assert_checkpoints():
        assert await members.box.send_to(channel.uuid, {"private": 1}) is True
    assert await members.box.send_to(str(channel.uuid), {"private": 2}) is True
    await members.box.remove_channel_from_group(channel, "room")
    assert await members.box.send_to(channel_id=channel.uuid, payload={"private": 3}) is True
    await settle()
    assert [message["private"] for message in wire.json] == [1, 2, 3]


@pytest.mark.parametrize(
    "unknown", [UUID(int=7), str(UUID(int=7)), "uuid-of-channel", "", None, 7, UUID(int=0), "x" * 1000]
)
async def test_send_to_nobody_is_false_and_a_log_line(members, caplog, unknown):
    caplog.set_level(logging.INFO, "nexios_trio")
    with assert_checkpoints():
        assert await members.box.send_to(unknown, {}) is False
    (record,) = [record for record in caplog.records if "send_to" in record.getMessage()]
    assert len(record.getMessage()) < 200


async def test_send_to_one_whose_connection_is_over(members):
    wire = await members.join()
    wire.leave()
    await settle()
    assert await members.box.send_to(members.channels[0].uuid, {}) is False


async def test_send_to_raises_for_what_cannot_be_encoded(members):
    await members.join()
    with pytest.raises(ValueError, match="JSON"):
        await members.box.send_to(members.channels[0].uuid, object())


async def test_send_to_comes_behind_group_messages_on_their_way(members):
    wires = [await members.join() for _ in range(40)]
    await members.box.group_send("room", "group")
    await members.box.send_to(members.channels[0].uuid, "private")
    await settle()
    assert wires[0].json == ["group", "private"]


# ---------------------------------------------------------------- looking


async def test_regression_show_groups_was_a_live_dict(members):
    await members.join()
    with assert_no_checkpoints():
        view = members.box.show_groups()
    with assert_checkpoints():
        groups = await view
    assert groups == {"room": {members.channels[0]: members.channels[0].uuid}}
    groups["room"].clear()
    groups["new"] = {}
    assert set(await members.box.show_groups()) == {"room"}
    assert members.box.size_of("room") == 1


async def test_show_groups_get_is_awaitable(members):
    await members.join()
    with assert_checkpoints():
        assert list(await members.box.show_groups().get("room", {})) == members.channels
    assert await members.box.show_groups().get("nowhere", {}) == {}
    assert await members.box.show_groups().get("nowhere") is None


async def test_statistics(members):
    await members.join("a", "b")
    wire = await members.join("a")
    await members.box.group_send("a", 1)
    statistics = members.box.statistics()
    assert (statistics.channels, statistics.groups, statistics.published) == (2, 2, 1)
    assert (statistics.deliveries, statistics.undelivered) == (2, 0)
    wire.leave()


async def test_deliveries_count_each_message_and_member(members):
    for _ in range(40):
        await members.join()
    await members.box.group_send("room", 1)
    await members.box.group_send("room", 2, exclude=members.channels[0])
    await members.box.send_to(members.channels[1].uuid, "catches up")
    await settle()
    assert members.box.statistics().deliveries == 40 + 39


# ---------------------------------------------------------------- history


async def test_history_keeps_what_it_was_told_to(members):
    await members.join()
    before = time.time()
    for number in range(3):
        await members.box.group_send("room", {"n": number}, save_history=number != 1)
    with assert_checkpoints():
        history = await members.box.show_history("room")
    assert [message.payload for message in history] == [{"n": 0}, {"n": 2}]
    assert [message.position.offset for message in history] == [1, 3]
    assert all(before <= message.created <= time.time() for message in history)
    assert [message.payload for message in history[-1:]] == [{"n": 2}]  # as document 002 takes the last ones


async def test_regression_history_messages_shared_uuid_and_timestamp(members, monkeypatch):
    await members.join()
    clock = iter([100.0, 200.0])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    for number in range(2):
        await members.box.group_send("room", number, save_history=True)
    first, second = await members.box.show_history("room")
    assert (first.created, second.created) == (100.0, 200.0)
    assert first.uuid != second.uuid
    again, _ = await members.box.show_history("room")
    assert again.uuid == first.uuid  # it is the message's


async def test_regression_history_payloads_were_aliased(members):
    await members.join()
    await members.box.group_send("room", {"list": []}, save_history=True)
    (message,) = await members.box.show_history("room")
    message.payload["list"].append(1)
    assert (await members.box.show_history("room"))[0].payload == {"list": []}


async def test_history_of_all_groups_and_after_the_last_member(members):
    wire = await members.join("a", "b", "c")
    for group in ("a", "b"):
        await members.box.group_send(group, group, save_history=True)
    wire.leave()
    await settle()
    with assert_checkpoints():
        history = await members.box.show_history()
    assert {group: [message.payload for message in messages] for group, messages in history.items()} == {
        "a": ["a"],
        "b": ["b"],
    }
    assert await members.box.show_history("nowhere") == []


@pytest.mark.parametrize("name", ["", None, [], {}, 0, "a b", "a" * 101])
async def test_what_a_peer_may_give_for_a_name_is_not_everything(members, name):
    """A handler that asks for the history of whatever it was sent must not be made to show all of them."""
    await members.join("a")
    await members.box.group_send("a", "secret", save_history=True)
    with pytest.raises(InvalidName, match="a group name is|invalid group name"):
        await members.box.show_history(name)


async def test_flush_history(members):
    await members.join("a", "b")
    for group in ("a", "b"):
        await members.box.group_send(group, group, save_history=True)
    with assert_checkpoints():
        await members.box.flush_history("a")
    assert set(await members.box.show_history()) == {"b"}
    await members.box.flush_history()
    assert await members.box.show_history() == {}


async def history_after(box, sizes, **options):
    """The sizes of the kept messages, after messages of these sizes (two quotes included)."""
    async with house(box) as inside:
        members = Members(inside)
        await members.join()
        for size in sizes:
            await box.group_send("room", "x" * (size - 2), save_history=True)
        return [len(message.payload) + 2 for message in await box.show_history("room")]


async def test_regression_history_size_was_read_at_import(monkeypatch):
    monkeypatch.setenv(HISTORY_SIZE_VARIABLE, "100")
    box = ChannelBox()
    monkeypatch.setenv(HISTORY_SIZE_VARIABLE, "50")
    assert await history_after(box, [20, 20]) == [20, 20]
    assert await history_after(box, [20]) == [20]  # over: cleared, the newest kept
    monkeypatch.setenv(HISTORY_SIZE_VARIABLE, "10")
    assert await history_after(box, [20]) == []  # it does not fit


@pytest.mark.parametrize("text", ["", "5MB", "-1", "1.5"])
async def test_a_history_size_that_is_none_says_so(members, monkeypatch, text):
    wire = await members.join()
    monkeypatch.setenv(HISTORY_SIZE_VARIABLE, text)
    with pytest.raises(SettingsError, match="number of bytes"):
        await members.box.group_send("room", 1, save_history=True)
    await members.box.group_send("room", 2)
    await settle()
    assert wire.json == [2]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [30, 30, 30, 30]),
        ({"history_bytes": 60}, [30, 30]),  # cleared at the third
        ({"history_bytes": 100, "history_overflow": "trim"}, [30, 30, 30]),
        ({"history_limit": 2}, [30, 30]),
        ({"history_bytes": 0}, []),
    ],
)
async def test_limits_of_the_history(options, kept):
    assert await history_after(ChannelBox(**options), [30] * 4) == kept


async def test_regression_history_was_measured_by_its_list(monkeypatch):
    """By default, 1 MiB of serialized messages."""
    monkeypatch.delenv(HISTORY_SIZE_VARIABLE, raising=False)
    assert await history_after(ChannelBox(), [300_000] * 3) == [300_000] * 3
    assert await history_after(ChannelBox(), [300_000] * 4) == [300_000]


async def test_history_forgets_with_time(autojump_clock):
    box = ChannelBox(history_ttl=10)
    async with house(box) as inside:
        await Members(inside).join()
        await box.group_send("room", "old", save_history=True)
        await trio.sleep(6)
        await box.group_send("room", "young", save_history=True)
        await trio.sleep(6)
        assert [message.payload for message in await box.show_history("room")] == ["young"]


@pytest.mark.parametrize(
    "options",
    [{"history_overflow": "drop"}, {"history_ttl": 0}, {"history_limit": 0}, {"history_bytes": -1}],
)
def test_wrong_limits_are_refused_when_the_box_is_made(options):
    with pytest.raises(ValueError, match="history"):
        ChannelBox(**options)


# ---------------------------------------------------------------- everybody


async def test_flush_groups_empties_groups_and_keeps_connections(members):
    wires = [await members.join("a", "b") for _ in range(2)]
    with assert_checkpoints():
        await members.box.flush_groups()
    assert await members.box.show_groups() == {}
    assert await members.box.send_to(members.channels[0].uuid, "still here") is True
    await settle()
    assert wires[0].json == ["still here"]


async def test_regression_close_all_hung_on_one_peer(autojump_clock):
    async with house(write_timeout=5, close_timeout=3) as inside:
        members = Members(inside)
        wires = [await members.join() for _ in range(3)]
        wires[0].stall()
        await inside.box.group_send("room", 1)
        await settle()
        start = trio.current_time()
        with assert_checkpoints():
            await inside.box.close_all_connections(4000, "bye")
        assert trio.current_time() - start == 3  # its handler has run out
        assert [wire.closes for wire in wires[1:]] == [[(4000, "bye")]] * 2
        assert [wire.json for wire in wires[1:]] == [[1]] * 2  # what was queued went out first
        wires[0].flow()


async def test_close_all_by_default_says_going_away(members):
    wire = await members.join()
    await members.box.close_all_connections()
    assert wire.closes == [(1001, "")]
    await settle()
    assert members.box.channels() == []


async def test_close_all_whatever_a_subclass_makes_of_close(autojump_clock, caplog):
    class Raising(Channel):
        async def close(self, code=1000, reason=None):
            raise ZeroDivisionError

    class Hanging(Channel):
        async def close(self, code=1000, reason=None):
            await trio.sleep_forever()

    async with house(write_timeout=5, close_timeout=3) as inside:
        members = Members(inside)
        for cls in (Raising, Hanging, Channel):
            wire = await members.join(cls=cls)
        start = trio.current_time()
        await inside.box.close_all_connections()
        assert trio.current_time() - start == 8
        assert wire.closes == [(1001, "")]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_close_all_refuses_a_code_that_may_not_be_sent(members):
    wire = await members.join()
    with pytest.raises(ValueError, match="1006"):
        await members.box.close_all_connections(1006)
    with pytest.raises(ValueError, match="reason"):
        await members.box.close_all_connections(1001, "x" * 124)
    assert wire.closes == []


# ---------------------------------------------------------------- expiry


async def test_an_expired_member_never_receives(autojump_clock):
    """Also where no timers run."""
    async with house(running=False) as inside:
        members = Members(inside)
        wire = await members.join(expires=5)
        await members.join()
        await inside.box.group_send("room", "in time")
        await trio.sleep(5)
        await inside.box.group_send("room", "too late")
        await settle()
        assert wire.json == ["in time"]
        assert inside.box.size_of("room") == 1


async def test_the_timers_remove_an_expired_member(autojump_clock):
    async with house() as inside:
        members = Members(inside)
        await members.join(expires=5)
        await trio.sleep(4.9)
        assert inside.box.size_of("room") == 1
        await trio.sleep(0.2)
        assert inside.box.size_of("room") == 0
        assert await inside.box.group_send("room", 1) is NO_SUCH_GROUP


async def test_regression_clean_expired_raised_as_soon_as_one_had_expired(autojump_clock):
    async with house(running=False) as inside:
        members = Members(inside)
        for expires in (5, 5, 50, None):
            await members.join("a", "b", expires=expires)
        with assert_checkpoints():
            assert await inside.box._clean_expired() == 0
        await trio.sleep(6)
        assert await inside.box._clean_expired() == 2
        assert await inside.box._clean_expired() == 0
        assert (inside.box.size_of("a"), inside.box.size_of("b")) == (2, 2)


async def test_what_was_sent_before_the_expiry_is_delivered(autojump_clock):
    async with house() as inside:
        members = Members(inside)
        for _ in range(40):
            await members.join()
        wire = await members.join(expires=5)
        await trio.sleep(4.5)
        await inside.box.group_send("room", "in time")
        await trio.sleep(5)
        assert wire.json == ["in time"]


async def test_an_expired_channel_cannot_join(autojump_clock):
    async with house() as inside:
        members = Members(inside)
        await members.join(expires=5)
        await trio.sleep(6)
        with pytest.raises(LifecycleError, match="has expired"):
            await inside.box.add_channel_to_group(members.channels[0], "room")


# ---------------------------------------------------------------- which box


async def test_the_class_acts_on_the_box_of_the_calling_task():
    seen = []

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        ws.start_soon(look)
        await ws.receive()

    async def look():
        seen.append(current_box())

    async with house() as one, house() as other:
        wires = [await one.connect(endpoint), await other.connect(endpoint)]
        assert seen == [one.box, other.box]
        assert (one.box.size_of("room"), other.box.size_of("room")) == (1, 1)
        await one.box.group_send("room", "one")
        with use_box(other.box):
            await ChannelBox.group_send("room", "other")
        await settle()
        assert [wire.json for wire in wires] == [["one"], ["other"]]
        with pytest.raises(LifecycleError, match="2 applications run here"):
            ChannelBox.statistics()
    assert ChannelBox.statistics().channels == 0  # where none runs, there is one of the process


async def test_outside_an_application_there_is_one_box_for_the_process():
    assert current_box() is current_box()
    assert await ChannelBox.show_groups() == {}
    assert await ChannelBox.group_send("room", {}) is NO_SUCH_GROUP
    box = ChannelBox()
    with use_box(box):
        assert current_box() is box
    assert current_box() is not box


async def test_every_method_of_the_documents_may_be_called_on_the_class(members):
    await members.join("other")
    (channel,) = members.channels
    with use_box(members.box):
        assert await ChannelBox.add_channel_to_group(channel, group_name="room") is ADDED
        assert await ChannelBox.group_send(group_name="room", payload={"a": 1}, save_history=True) is SENT
        assert len(await ChannelBox.show_history(group_name="room")) == 1
        assert set(await ChannelBox.show_groups()) == {"other", "room"}
        assert await ChannelBox.show_groups().get("room", {}) == {channel: channel.uuid}
        assert await ChannelBox.send_to(str(channel.uuid), {}) is True
        assert await ChannelBox._clean_expired() == 0
        async with ChannelBox.member(channel, "third"):
            assert ChannelBox.statistics().groups == 3
        assert await ChannelBox.remove_channel_from_group(channel, group_name="room") is GROUP_REMOVED
        await ChannelBox.flush_history()
        await ChannelBox.flush_groups()
        await ChannelBox.close_all_connections()
    assert ChannelBox.group_send.__doc__.startswith("Send to every member")


async def test_a_channel_may_be_in_groups_of_another_box():
    other = ChannelBox()

    async def endpoint(ws):
        await ws.accept()
        channel = Channel(ws, expires=50)
        await other.add_channel_to_group(channel, "room")
        await other.group_send("room", "other")
        await ws.receive()

    async with house() as inside:
        wire = await inside.connect(endpoint)
        assert wire.json == ["other"]
        assert (other.statistics().channels, inside.box.statistics().channels) == (1, 1)
    assert (other.statistics().channels, other.statistics().groups) == (0, 0)


# ---------------------------------------------------------------- engines


class Remote(MemoryEngine):
    """An engine that reaches other nodes."""

    is_local = False


async def test_a_group_without_members_here_may_have_some_on_other_nodes():
    box = ChannelBox(Remote())
    assert await box.group_send("room", 1, save_history=True) is NO_SUCH_GROUP
    box.engine.watch("room")  # as another node would
    assert await box.group_send("room", 2, save_history=True) is SENT
    assert len(await box.show_history("room")) == 2


async def test_a_message_of_another_node_leaves_out_whom_it_says_and_who_has_expired(autojump_clock):
    box = ChannelBox(Remote())
    async with house(box, running=False) as inside:
        members = Members(inside)
        wires = [await members.join(), await members.join(), await members.join(expires=5)]
        await trio.sleep(6)
        message = Message("hi", 0.0, excluded=frozenset({members.channels[1].uuid, uuid4()}))
        await box.engine.publish("room", message, keep=None)
        await box.engine.publish("nowhere", message, keep=None)
        await settle()
        assert [wire.json for wire in wires] == [["hi"], [], []]


def test_an_engine_is_a_contract():
    with pytest.raises(TypeError, match="abstract"):
        Engine()
