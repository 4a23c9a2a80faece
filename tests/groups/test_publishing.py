"""What is sent to a group: posts and their receipts, kept groups, transient messages, retries."""

import pytest
from trio.testing import assert_no_checkpoints

from nexios_trio.exceptions import EngineError, MessageTooBig, NotAuthorized
from nexios_trio.websockets import Channel, ChannelBox, GroupSendStatusEnum
from tests.groups.test_box import Members
from tests.wire import house, settle

SENT, NO_SUCH_GROUP = GroupSendStatusEnum


@pytest.fixture
async def members():
    async with house() as inside:
        yield Members(inside)


async def kept(box, group="room", since=None):
    """Everything that is kept, shown or not, and whether it is all since then."""
    page = await box.engine.history(group, since)
    return [message.payload for message in page.messages], page.complete


# ---------------------------------------------------------------- posts


async def test_a_post_is_synchronous_and_in_order(members):
    wire = await members.join()
    with assert_no_checkpoints():
        receipts = [members.box.post("room", number) for number in range(3)]
    assert [(await receipt).offset for receipt in receipts] == [1, 2, 3]
    assert receipts[0].is_watched
    await settle()
    assert wire.json == [0, 1, 2]
    assert members.box.statistics().published == 3


async def test_a_post_to_nobody_says_so(members):
    receipt = members.box.post("room", 1)
    assert (receipt.is_watched, receipt.position) == (False, None)
    assert members.box.post("room", 2, save_history=True).position.offset == 1


async def test_a_post_on_the_class_acts_on_the_current_box(members):
    wire = await members.join()
    with members.inside.runtime.activate():
        ChannelBox.post("room", "hi")
    await settle()
    assert wire.json == ["hi"]


async def test_what_cannot_be_sent_is_refused_before_anything_is(members):
    wire = await members.join()
    for wrong, error in (
        (lambda: members.box.post("bad name", 1), ValueError),
        (lambda: members.box.post("room", object()), ValueError),
        (lambda: members.box.post("room", "x" * 2_000_000), MessageTooBig),
        (lambda: members.box.post("room", 1, key=""), ValueError),
        (lambda: members.box.post("room", 1, key=b"a"), TypeError),
        (lambda: members.box.post("room", 1, True, transient=True), ValueError),
    ):
        with pytest.raises(error):
            wrong()
    await settle()
    assert wire.json == []


async def connected(inside, act):
    """Let a connection's handler call `act`; return what it returned or raised."""
    results = []

    async def endpoint(ws):
        await ws.accept()
        Channel(ws)
        try:
            results.append(act())
        except Exception as error:
            results.append(error)

    await inside.connect(endpoint)
    await settle()
    return results[0]


async def test_a_synchronous_authorize_is_asked():
    box = ChannelBox(authorize=lambda channel, group, action: group == "mine")
    async with house(box) as inside:
        assert (await connected(inside, lambda: box.post("mine", 1))).is_settled
        assert isinstance(await connected(inside, lambda: box.post("other", 1)), NotAuthorized)
        assert box.post("other", 1).is_settled  # the application acts for nobody


async def test_an_asynchronous_one_cannot_be():
    async def authorize(channel, group, action):
        return True

    box = ChannelBox(authorize=authorize)
    async with house(box) as inside:
        error = await connected(inside, lambda: box.post("room", 1))
        assert isinstance(error, TypeError)
        assert "group_send" in str(error)


# ---------------------------------------------------------------- kept groups


async def test_a_kept_group_keeps_everything_and_shows_what_was_saved(members):
    members.box.keep("room*", max_messages=3)
    assert await members.box.group_send("room", "nobody is here") is NO_SUCH_GROUP
    await members.join()
    for number in range(3):
        assert await members.box.group_send("room", number, save_history=number == 1) is SENT
    assert await kept(members.box) == ([0, 1, 2], True)
    assert [message.payload for message in await members.box.show_history("room")] == [1]
    await members.box.group_send("room-2", "not shown")
    assert list(await members.box.show_history()) == ["room"]
    assert await kept(members.box, "other") == ([], True)


async def test_a_kept_group_trims_and_never_clears():
    box = ChannelBox(history_overflow="clear")
    box.keep("room", max_bytes=3)
    for payload in (1, 2, 3, 4):
        await box.group_send("room", payload)
    assert (await kept(box))[0] == [2, 3, 4]
    for payload in (1, 2, 3, 4):
        await box.group_send("other", payload, save_history=True)
    assert (await kept(box, "other"))[0] == [1, 2, 3, 4]


async def test_limits_of_a_kept_group_are_checked():
    with pytest.raises(ValueError, match="ttl"):
        ChannelBox().keep("room", max_age=-1)
    with pytest.raises(ValueError, match="pattern"):
        ChannelBox().keep("")


async def test_who_was_left_out_is_kept_with_the_message(members):
    members.box.keep("room")

    async def endpoint(ws):
        ws.scope["user"] = {"id": "ann"}
        await ws.accept()
        channel = Channel(ws)
        await ChannelBox.add_channel_to_group(channel, "room")
        members.channels.append(channel)
        await ws.receive()
        await ws.receive()

    await members.inside.connect(endpoint)
    await members.join()
    await settle()
    await members.box.group_send("room", 1, exclude=members.channels)
    (message,) = (await members.box.engine.history("room")).messages
    assert message.excluded == {channel.uuid for channel in members.channels}
    assert message.excluded_users == {"ann"}


# ---------------------------------------------------------------- transient messages


async def test_a_transient_message_has_no_number_and_is_not_kept(members):
    members.box.keep("room")
    wire = await members.join()
    await members.box.group_send("room", 1)
    receipt = members.box.post("room", "typing", transient=True)
    assert await members.box.group_send("room", "typing", transient=True) is SENT
    assert (await receipt, (await members.box.post("room", 2)).offset) == (None, 2)
    await settle()
    assert wire.json == [1, "typing", "typing", 2]
    assert await kept(members.box) == ([1, 2], True)


# ---------------------------------------------------------------- retries


async def test_a_retry_is_not_sent_again(members, autojump_clock):
    wire = await members.join()
    first = members.box.post("room", 1, key="order 7")
    again = members.box.post("room", "whatever it says", key="order 7")
    assert await members.box.group_send("room", 1, key="order 7") is SENT
    other = members.box.post("room", 2, key="order 8")
    elsewhere = members.box.post("room2", 3, True, key="order 7")
    assert [(await each).offset for each in (first, again, other, elsewhere)] == [1, 1, 2, 1]
    await settle()
    assert wire.json == [1, 2]


def test_a_failure_says_whether_it_may_have_been_sent():
    assert str(EngineError("no answer", maybe_published=True)) == "no answer (perhaps it was published)"
    assert not EngineError("full").maybe_published
