"""The names of the documents, where the documents import them from, with their values."""

import pytest

from nexios_trio import consumer as consumers
from nexios_trio import websockets
from nexios_trio.connections import websocket as base
from nexios_trio.websockets import channels


@pytest.mark.parametrize("name", channels.__all__)
def test_the_package_has_what_the_module_has(name):
    assert getattr(websockets, name) is getattr(channels, name)


@pytest.mark.parametrize("name", ["WebSocket", "WebSocketDisconnect", "WebSocketException", "WebSocketState"])
def test_the_base_module_has_the_connection(name):
    assert getattr(base, name) is getattr(websockets, name)


def test_the_consumer_has_two_names():
    assert consumers.WebSocketEndpoint is consumers.WebSocketConsumer is websockets.WebSocketEndpoint


def test_payload_types_have_the_values_of_the_documents():
    assert [kind.value for kind in channels.PayloadTypeEnum] == ["json", "text", "bytes"]
