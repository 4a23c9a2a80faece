"""How connections end: who closed, with what, and what is left to say."""

import pytest


async def test_a_handler_that_returns_closes_with_1000(place):
    async with place.connect("/connection/return") as peer:
        assert await peer.closed() == (1000, "")


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1013, 3000, 4999])
async def test_close_codes_and_what_was_queued_before(place, code):
    async with place.connect(f"/connection/close/{code}?reason=because") as peer:
        assert await peer.receive() == "last words"
        assert await peer.closed() == (code, "because")


async def test_a_reason_may_have_123_bytes(place):
    reason = "x" * 123
    async with place.connect(f"/connection/close/4000?reason={reason}") as peer:
        assert await peer.receive() == "last words"
        assert await peer.closed() == (4000, reason)


async def test_codes_and_reasons_that_may_not_be_sent(place):
    async with place.connect("/connection/close-wrongly") as peer:
        assert await peer.receive_json() == [*["ValueError"] * 10, True]


async def test_closing_twice_and_sending_after_it(place, key):
    async with place.connect(f"/connection/close-twice/{key}") as peer:
        assert await peer.closed() == (4005, "once")
    assert await place.notes(key, 1) == [[None, False, *["WebSocketDisconnect"] * 3]]


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("error", (1011, "")),
        ("exception", (4009, "é" * 61)),  # cut on a character
        ("disconnect", (1000, "")),
        ("one-in-a-group", (4010, "inner")),
        ("several-in-a-group", (1011, "")),
    ],
)
async def test_an_exception_ends_the_connection_and_tells_no_secret(place, how, end):
    async with place.connect(f"/connection/fail/{how}") as peer:
        assert await peer.closed() == end


@pytest.mark.parametrize("how", ["close", "vanish"])
async def test_a_peer_that_leaves(place, key, how):
    async with place.connect(f"/connection/watch/{key}") as peer:
        await peer.send("here")
        assert await peer.receive() == "here"
        await (peer.close(4321, "enough") if how == "close" else peer.vanish())
        first, then = await place.notes(key, 2)
    code = 4321 if how == "close" and place.tells_codes else 1006
    assert first[:3] == ["websocket.disconnect", code, code]
    if code == 4321:
        assert first[3] == "enough"
    assert first[4] is True
    assert then == ["WebSocketDisconnect", "WebSocketDisconnect", None, False, "DISCONNECTED"]


async def test_a_task_of_the_connection_ends_with_it(place, key):
    async with place.connect(f"/connection/background/{key}") as peer:
        assert await peer.receive() == "from a task"
        async with place.connect(f"/connection/go/{key}"):
            assert await peer.closed() == (1000, "")
    assert await place.notes(key, 1) == ["the task has ended"]
