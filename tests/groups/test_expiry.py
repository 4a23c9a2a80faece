"""An authentication that expires: a deadline on the connection, which a refresh moves."""

import logging
from math import inf

import pytest
import trio

from nexios_trio.middleware import AuthenticationMiddleware
from nexios_trio.websockets import open_channel
from tests.wire import house


async def test_the_connection_ends_at_its_deadline_and_leaves_its_groups_before_it_knows(autojump_clock, caplog):
    ended = []

    async def handler(ws):
        async with open_channel(ws) as channel, channel.member("a"):
            ws.expire_after(10)
            assert ws.expires_at == trio.current_time() + 10
            try:
                await ws.receive_text()
            finally:
                ended.append(trio.current_time())

    async with house() as here:
        start = trio.current_time()
        with caplog.at_level(logging.INFO):
            wire = await here.connect(handler)
            await trio.sleep(20)
        assert wire.closes == [(4001, "authentication has expired")]
        assert here.box.statistics().groups == 0
    assert ended == [pytest.approx(start + 10, abs=0.1)]
    [record] = [one for one in caplog.records if one.name == "nexios_trio.connection"]
    assert (record.cause, record.code, record.levelname) == ("expired", 4001, "INFO")


async def test_a_refresh_moves_it_and_none_takes_it_away(autojump_clock):
    async def handler(ws):
        await ws.accept()
        ws.expire_after(10)
        async for message in ws.iter_json():
            ws.expire_after(message, 4003, "later")

    async with house() as here:
        moved = await here.connect(handler)
        freed = await here.connect(handler)
        endless = await here.connect(handler)
        await trio.sleep(9)
        moved.say("10")
        freed.say("null")
        endless.say("1e300")
        await trio.sleep(9)
        assert not moved.closes
        await trio.sleep(9)
        assert moved.closes == [(4003, "later")]
        await trio.sleep(1000)
        assert not freed.closes
        assert not endless.closes


async def test_before_accept_the_handshake_is_refused(autojump_clock):
    async def handler(ws):
        ws.expire_after(1)
        await trio.sleep_forever()

    async with house() as here:
        wire = await here.connect(handler)
        await trio.sleep(2)
        assert wire.status == 403
        assert not wire.is_accepted


@pytest.mark.parametrize("wrong", [0, -1, float("nan")])
async def test_what_it_takes(autojump_clock, wrong):
    async def handler(ws):
        await ws.accept()
        with pytest.raises(ValueError, match="above 0"):
            ws.expire_after(wrong)
        with pytest.raises(ValueError, match="close code"):
            ws.expire_after(1, 1006)
        ws.expire_after(inf)
        assert ws.expires_at is None
        await ws.close()
        ws.expire_after(1)
        assert ws.expires_at is None

    async with house() as here:
        wire = await here.connect(handler)
        await trio.sleep(1)
        assert wire.closes == [(1000, "")]


def guarded(lifetime, handler):
    middleware = AuthenticationMiddleware(lambda ws: {"id": "ann", "seconds": 5}, lifetime=lifetime)

    async def endpoint(ws):
        await middleware(ws, handler)

    return endpoint


@pytest.mark.parametrize("lifetime", [5, lambda user: user["seconds"]])
async def test_the_lifetime_of_an_authentication(autojump_clock, lifetime):
    async def handler(ws):
        await ws.accept()
        await ws.receive()

    async with house() as here:
        wire = await here.connect(guarded(lifetime, handler))
        await trio.sleep(4)
        assert not wire.closes
        await trio.sleep(2)
        assert wire.closes == [(4001, "authentication has expired")]


async def test_an_authentication_that_has_expired_already_lets_nobody_in(autojump_clock):
    async def handler(ws):
        raise AssertionError

    async with house() as here:
        wire = await here.connect(guarded(lambda user: -3, handler))
        assert wire.closes == [(4001, "authentication has expired")]


async def test_without_a_lifetime_what_authenticate_set_stands(autojump_clock):
    async def handler(ws):
        await ws.accept()
        await ws.receive()

    def authenticate(ws):
        ws.expire_after(3, 4003, "mine")
        return "alice"

    async def endpoint(ws):
        await AuthenticationMiddleware(authenticate)(ws, handler)

    async with house() as here:
        wire = await here.connect(endpoint)
        await trio.sleep(4)
        assert wire.closes == [(4003, "mine")]


@pytest.mark.parametrize("wrong", [0, -1])
def test_what_a_lifetime_is(wrong):
    with pytest.raises(ValueError, match="lifetime must be seconds above 0"):
        AuthenticationMiddleware(lambda ws: None, lifetime=wrong)
