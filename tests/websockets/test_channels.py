"""The names of the documents, where the documents import them from, with their values."""

import pytest

from nexios_trio import websockets
from nexios_trio.core.messages import Position
from nexios_trio.websockets import base, channels, consumers


@pytest.mark.parametrize("name", channels.__all__)
def test_the_package_has_what_the_module_has(name):
    assert getattr(websockets, name) is getattr(channels, name)


@pytest.mark.parametrize("name", ["WebSocket", "WebSocketDisconnect", "WebSocketException", "WebSocketState"])
def test_the_base_module_has_the_connection(name):
    assert getattr(base, name) is getattr(websockets, name)


def test_the_consumer_has_two_names():
    assert consumers.WebSocketEndpoint is consumers.WebSocketConsumer is websockets.WebSocketEndpoint


@pytest.mark.parametrize(
    ("enum", "members"),
    [
        (channels.ChannelAddStatusEnum, {"CHANNEL_ADDED", "CHANNEL_EXIST"}),
        (
            channels.ChannelRemoveStatusEnum,
            {"CHANNEL_REMOVED", "GROUP_REMOVED", "CHANNEL_DOES_NOT_EXIST", "GROUP_DOES_NOT_EXIST"},
        ),
        (channels.GroupSendStatusEnum, {"GROUP_SEND", "NO_SUCH_GROUP"}),
        (channels.PayloadTypeEnum, {"JSON", "TEXT", "BYTES"}),
    ],
)
def test_the_members_of_the_enums(enum, members):
    assert set(enum.__members__) == members


def test_payload_types_have_the_values_of_the_documents():
    assert [kind.value for kind in channels.PayloadTypeEnum] == ["json", "text", "bytes"]


def test_two_messages_of_a_history_are_two():
    one, two = channels.ChannelMessageDC({"a": 1}), channels.ChannelMessageDC({"a": 1})
    assert one.uuid != two.uuid
    full = channels.ChannelMessageDC({"a": 1}, one.uuid, 5.0, Position(1, "e"))
    assert (full.payload, full.uuid, full.created, full.position.offset) == ({"a": 1}, one.uuid, 5.0, 1)
