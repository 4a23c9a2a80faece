"""What the box answers, with the members and values of the documents."""

import pytest

from nexios_trio.core.message import Position
from nexios_trio.groups.results import (
    ChannelAddStatusEnum,
    ChannelMessageDC,
    ChannelRemoveStatusEnum,
    GroupSendStatusEnum,
)


@pytest.mark.parametrize(
    ("enum", "members"),
    [
        (ChannelAddStatusEnum, {"CHANNEL_ADDED", "CHANNEL_EXIST", "CHANNEL_PENDING"}),
        (
            ChannelRemoveStatusEnum,
            {"CHANNEL_REMOVED", "GROUP_REMOVED", "CHANNEL_DOES_NOT_EXIST", "GROUP_DOES_NOT_EXIST"},
        ),
        (GroupSendStatusEnum, {"GROUP_SEND", "NO_SUCH_GROUP"}),
    ],
)
def test_the_members_of_the_enums(enum, members):
    assert set(enum.__members__) == members


def test_two_messages_of_a_history_are_two():
    one, two = ChannelMessageDC({"a": 1}), ChannelMessageDC({"a": 1})
    assert one.uuid != two.uuid
    full = ChannelMessageDC({"a": 1}, one.uuid, 5.0, Position(1, "e"))
    assert (full.payload, full.uuid, full.created, full.position.offset) == ({"a": 1}, one.uuid, 5.0, 1)
