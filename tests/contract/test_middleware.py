"""Middleware: its order, its refusals, and what comes with the package."""

import pytest

from tests.contract.peers import Refused


async def test_the_order(place):
    async with place.connect("/middleware/order") as peer:
        assert await peer.receive_json() == ["application", "router", "route 1", "route 2", "consumer"]


async def test_refusing_before_accept_is_http_403(place):
    with pytest.raises(Refused) as refused:
        async with place.connect("/middleware/refused"):
            pass
    assert refused.value.status == 403


async def test_a_cookie(place):
    async with place.connect("/middleware/cookie", headers={"cookie": "token=right"}) as peer:
        assert await peer.receive() == "hello ada"
    async with place.connect("/middleware/cookie", headers={"cookie": "token=wrong"}) as peer:
        assert (await peer.closed())[0] == 4001


async def test_a_subprotocol(place):
    async with place.connect("/middleware/subprotocol", subprotocols=["bearer", "right"]) as peer:
        assert peer.subprotocol == "bearer"
        assert await peer.receive() == "hello ada"
    async with place.connect("/middleware/subprotocol", subprotocols=["bearer", "wrong"]) as peer:
        assert (await peer.closed())[0] == 4001


@pytest.mark.parametrize("message", ['{"token":"wrong"}', "[]", "nonsense"])
async def test_the_first_message(place, message):
    async with place.connect("/middleware/message") as peer:
        await peer.send('{"token":"right"}')
        assert await peer.receive() == "hello ada"
    async with place.connect("/middleware/message") as peer:
        await peer.send(message)
        assert (await peer.closed())[0] == 4001


async def test_connections_in_a_window(place, key):
    path = f"/middleware/connections?who={key}"
    async with place.connect(path) as peer:
        await peer.send("hi")
        assert await peer.receive() == "hi"
        async with place.connect(path) as other:
            assert (await other.closed())[0] == 4002


async def test_messages_in_a_burst(place):
    async with place.connect("/middleware/messages") as peer:
        await peer.send("1", "2", "3", "4")
        assert [await peer.receive() for _ in range(3)] == ["1", "2", "3"]
        assert (await peer.closed())[0] == 1008
