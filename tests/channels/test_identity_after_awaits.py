"""What a channel was allowed as one user, it does not do as another: identity is read again after every await."""

import pytest
import trio

from nexios_trio.channels.channel import Channel
from nexios_trio.channels.secure import SecureChannel
from nexios_trio.exceptions import AuthenticationError, NotAuthorized
from nexios_trio.groups.box import ChannelBox
from tests.wire import house, settle


class Members(SecureChannel):
    """Everybody's token is their name; whose it is takes a while where `gates` says so."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.gates = {}

    async def verify_token(self, token):
        if token in self.gates:
            await self.gates[token].wait()
        return token if token.isalpha() else None


class Desk:
    """Decides who may, when `answer` is set."""

    def __init__(self):
        self.answer = trio.Event()
        self.asked = []

    async def __call__(self, channel, group, action):
        self.asked.append((channel and getattr(channel, "user", None), group, action))
        await self.answer.wait()
        return True


class Story:
    """One connection with its channel, and what its tasks ended with."""

    def __init__(self, inside, cls=Members):
        self.inside = inside
        self.cls = cls
        self.ends = []

    async def begin(self):
        async def endpoint(ws):
            await ws.accept()
            self.channel = self.cls(ws)
            await ws.receive()

        self.wire = await self.inside.connect(endpoint)
        return self

    def do(self, function, *args):
        async def doing():
            try:
                self.ends.append(await function(*args))
            except (AuthenticationError, NotAuthorized) as error:
                self.ends.append(type(error))

        self.channel.websocket.start_soon(doing)


def box_that_asks():
    desk = Desk()
    return desk, ChannelBox(authorize=desk)


@pytest.fixture
async def asking():
    desk, box = box_that_asks()
    async with house(box) as inside:
        yield await Story(inside).begin(), desk, box


async def test_a_join_that_was_allowed_to_a_former_user_does_not_happen(asking):
    story, desk, box = asking
    await story.channel.authenticate("ann")
    story.do(box.add_channel_to_group, story.channel, "private-ann")
    await settle()
    await story.channel.authenticate("bob")
    await settle()
    desk.answer.set()
    await settle()
    assert story.ends == [NotAuthorized]
    assert box.size_of("private-ann") == 0


async def test_not_even_when_the_former_user_is_back(asking):
    story, desk, box = asking
    await story.channel.authenticate("ann")
    story.do(box.add_channel_to_group, story.channel, "private-ann")
    await settle()
    await story.channel.authenticate("bob")
    await story.channel.authenticate("ann")
    desk.answer.set()
    await settle()
    assert story.ends == [NotAuthorized]
    assert box.size_of("private-ann") == 0


async def test_revoking_cancels_a_join_that_waits_for_its_answer(asking):
    story, _, box = asking
    await story.channel.authenticate("ann")
    story.do(box.add_channel_to_group, story.channel, "private-ann")
    await settle()
    story.channel.revoke()
    await settle()
    assert story.ends == [NotAuthorized]


async def test_a_refreshed_token_of_the_same_user_cancels_nothing(asking):
    story, desk, box = asking
    await story.channel.authenticate("ann")
    story.do(box.add_channel_to_group, story.channel, "private-ann")
    await settle()
    await story.channel.authenticate("ann")
    desk.answer.set()
    await settle()
    assert story.ends == [box_status("CHANNEL_ADDED")]
    assert box.size_of("private-ann") == 1


def box_status(name):
    from nexios_trio.groups.results import ChannelAddStatusEnum

    return ChannelAddStatusEnum[name]


async def test_a_group_send_that_was_allowed_to_a_former_user_does_not_happen(asking):
    story, desk, box = asking
    await story.channel.authenticate("ann")
    story.do(box.group_send, "room", "from ann", True)
    await settle()
    await story.channel.authenticate("bob")
    desk.answer.set()
    await settle()
    assert story.ends == [NotAuthorized]
    assert await box.show_history("room") == []


async def test_revoking_cancels_a_group_send_that_waits_for_its_answer(asking):
    story, _, box = asking
    await story.channel.authenticate("ann")
    story.do(box.group_send, "room", "from ann", True)
    await settle()
    story.channel.revoke()
    await settle()
    assert story.ends == [NotAuthorized]
    assert await box.show_history("room") == []


@pytest.mark.parametrize("action", ["join", "send"])
async def test_so_it_is_where_the_application_says_who_the_user_is(action):
    """A plain channel is its connection's user, `scope["user"]`, whoever sets it."""
    desk, box = box_that_asks()
    async with house(box) as inside:
        story = await Story(inside, Channel).begin()
        scope = story.channel.websocket.scope
        scope["user"] = "ann"
        if action == "join":
            story.do(box.add_channel_to_group, story.channel, "private-ann")
        else:
            story.do(box.group_send, "private-ann", 1, True)
        await settle()
        scope["user"] = "bob"
        desk.answer.set()
        await settle()
        assert story.ends == [NotAuthorized]
        assert box.size_of("private-ann") == 0
        assert await box.show_history("private-ann") == []


async def test_revoking_cancels_an_authentication_that_is_under_way():
    async with house() as inside:
        story = await Story(inside).begin()
        story.channel.gates["ann"] = trio.Event()
        story.do(story.channel.authenticate, "ann")
        await settle()
        story.channel.revoke()
        await settle()
        assert story.ends == [AuthenticationError]
        story.channel.gates["ann"].set()
        await settle()
        assert story.channel.user is None


async def test_a_wrong_token_cancels_an_authentication_that_is_under_way():
    async with house() as inside:
        story = await Story(inside).begin()
        story.channel.gates["ann"] = trio.Event()
        story.do(story.channel.authenticate, "ann")
        await settle()
        with pytest.raises(AuthenticationError):
            await story.channel.authenticate("!")
        story.channel.gates["ann"].set()
        await settle()
        assert story.ends == [AuthenticationError]
        assert story.channel.user is None


async def test_of_two_authentications_the_later_one_holds():
    async with house() as inside:
        story = await Story(inside).begin()
        gate = story.channel.gates["ann"] = trio.Event()
        story.do(story.channel.authenticate, "ann")
        await settle()
        assert await story.channel.authenticate("bob") == "bob"
        gate.set()
        await settle()
        assert story.ends == [AuthenticationError]
        assert story.channel.user == "bob"


async def test_two_authentications_of_one_user_both_hold():
    async with house() as inside:
        story = await Story(inside).begin()
        gate = story.channel.gates["ann"] = trio.Event()
        story.do(story.channel.authenticate, "ann")
        story.do(story.channel.authenticate, "ann")
        await settle()
        gate.set()
        await settle()
        assert story.ends == ["ann", "ann"]
        assert story.channel.user == "ann"


async def test_revoking_cancels_a_send_that_waits_for_room():
    async with house(outbox_messages=1) as inside:
        story = await Story(inside).begin()
        await story.channel.authenticate("ann")
        story.wire.stall()
        await story.channel.send(0)
        await settle()
        await story.channel.send(1)  # the outbox is full
        story.do(story.channel.send, "for ann alone")
        story.do(story.channel.send_text, "for ann alone")
        await settle()
        await story.channel.authenticate("bob")
        await settle()
        assert story.ends == [AuthenticationError] * 2
        story.wire.flow()
        await settle()
        assert story.wire.json == [0, 1]


async def test_what_a_former_user_was_sent_by_groups_does_not_reach_the_next_one():
    """Nor what waits for an override of `send`."""
    gate = trio.Event()

    class Slow(Members):
        async def send(self, payload):
            await gate.wait()
            await super().send(payload)

    async with house() as inside:
        story = await Story(inside, Slow).begin()
        await story.channel.authenticate("ann")
        await inside.box.add_channel_to_group(story.channel, "private-ann")
        for number in range(3):
            await inside.box.group_send("private-ann", number)
        await settle()
        await story.channel.authenticate("bob")
        await inside.box.add_channel_to_group(story.channel, "private-bob")
        await inside.box.group_send("private-bob", "for bob")
        gate.set()
        await settle()
        assert story.wire.json == ["for bob"]
    assert inside.box.statistics().undelivered == 3


async def test_groups_reach_a_secure_channel_in_the_order_of_direct_sends():
    async with house() as inside:
        story = await Story(inside).begin()
        await story.channel.authenticate("ann")
        await inside.box.add_channel_to_group(story.channel, "room")
        for number in range(0, 9, 3):
            await inside.box.group_send("room", number)
            await inside.box.send_to(story.channel.uuid, number + 1)
            await story.channel.send(number + 2)
        await settle()
        assert story.wire.json == list(range(9))


async def test_nothing_is_sent_to_a_secure_channel_whose_user_is_gone():
    async with house() as inside:
        story = await Story(inside).begin()
        await story.channel.authenticate("ann")
        story.channel.revoke()
        assert await inside.box.send_to(story.channel.uuid, 1) is True
        await settle()
        assert story.wire.json == []
        assert inside.box.statistics().undelivered == 1
