"""`SecureChannel`: nobody gets anything before they are somebody."""

import hmac
import logging

import pytest
import trio
from trio.testing import assert_checkpoints

from nexios_trio.websockets import AuthenticationError, ChannelBox, SecureChannel, WebSocketConsumer
from tests.wire import house, settle

TOKENS = {"ann": b"red", "bob": b"blue"}


class Members(SecureChannel):
    async def verify_token(self, token):
        await trio.lowlevel.checkpoint()
        found = [user for user, secret in TOKENS.items() if hmac.compare_digest(token.encode(), secret)]
        return found[0] if found else None


class Lobby(WebSocketConsumer):
    """Authenticates by every message that has a token; answers every other."""

    encoding = "json"
    channel_class = Members

    async def on_receive(self, websocket, data):
        if "token" in data:
            await self.channel.authenticate(data["token"], lifetime=data.get("lifetime"))
            await self.join_group("lobby")
        elif "revoke" in data:
            self.channel.revoke()
        else:
            await self.channel.send({"user": self.channel.user, "same": websocket.user})


async def test_nothing_is_sent_before_authentication_and_everything_after_it():
    async with house() as inside:
        good, bad = await inside.connect(Lobby()), await inside.connect(Lobby())
        good.say('{"token":"red"}', "{}")
        bad.say("{}")
        await settle()
        assert good.json == [{"user": "ann", "same": "ann"}]
        assert (bad.messages, bad.closes) == (
            [],
            [(4001, "not authenticated: call authenticate() with the client's token before")],
        )


@pytest.mark.parametrize("token", ['"wrong"', '"reds"', '""', "7", "null", "[]"])
async def test_a_wrong_token_ends_the_connection(token):
    async with house() as inside:
        wire = await inside.connect(Lobby())
        wire.say(f'{{"token":{token}}}')
        await settle()
        assert wire.closes == [(4001, "authentication failed")]


@pytest.mark.parametrize("name", ["send", "_send", "send_json", "send_text", "send_bytes"])
async def test_every_way_of_sending_is_closed(name):
    refused = []

    async def handler(ws):
        channel = Members(ws)
        await ws.accept()
        with pytest.raises(AuthenticationError), assert_checkpoints():
            await getattr(channel, name)("x")
        refused.append(name)
        await channel.authenticate("red")
        await getattr(channel, name)(b"x" if name == "send_bytes" else "x")

    async with house() as inside:
        wire = await inside.connect(handler)
        assert len(wire.messages) == 1
    assert refused == [name]


async def test_groups_are_joined_by_the_authenticated_only():
    async def handler(ws):
        await ws.accept()
        await ChannelBox.add_channel_to_group(Members(ws), "lobby")

    async with house() as inside:
        wire = await inside.connect(handler)
        assert wire.closes[0][0] == 4001
        assert inside.box.size_of("lobby") == 0


async def test_group_messages_reach_the_authenticated_until_they_are_revoked():
    async with house() as inside:
        one, two = await inside.connect(Lobby()), await inside.connect(Lobby())
        one.say('{"token":"red"}')
        two.say('{"token":"blue"}')
        await settle()
        await inside.box.group_send("lobby", "first")
        await settle()
        one.say('{"revoke":1}')
        await settle()
        await inside.box.group_send("lobby", "second")
        await settle()
        assert (one.json, two.json) == (["first"], ["first", "second"])


async def test_what_is_sent_to_an_unauthenticated_channel_is_withheld_and_reported(caplog):
    async with house() as inside:
        wire = await inside.connect(Lobby())
        [channel] = inside.box.channels()
        with caplog.at_level(logging.ERROR):
            assert await inside.box.send_to(channel.uuid, "secret")
            await settle()
        assert (wire.messages, wire.closes) == ([], [])
        assert "not authenticated" in caplog.text


async def test_a_refreshed_token_keeps_the_groups_and_another_users_does_not():
    async with house() as inside:
        wire = await inside.connect(Lobby())
        [channel] = inside.box.channels()
        wire.say('{"token":"red"}')
        await settle()
        await inside.box.add_channel_to_group(channel, "annes")
        wire.say('{"token":"red"}')
        await settle()
        assert inside.box.size_of("annes") == 1
        wire.say('{"token":"blue"}')
        await settle()
        assert (inside.box.size_of("annes"), inside.box.size_of("lobby")) == (0, 1)


async def test_a_lifetime_ends_the_connection(autojump_clock):
    async with house() as inside:
        wire = await inside.connect(Lobby())
        wire.say('{"token":"red","lifetime":30}')
        await trio.sleep(20)
        wire.say('{"token":"red","lifetime":30}')
        await trio.sleep(29)
        assert wire.closes == []
        await trio.sleep(2)
        assert wire.closes == [(4001, "authentication has expired")]


async def test_without_a_verify_token_there_is_no_channel():
    async def handler(ws):
        with pytest.raises(TypeError, match="verify_token"):
            SecureChannel(ws)
        await ws.accept()

    async with house() as inside:
        assert (await inside.connect(handler)).is_accepted
