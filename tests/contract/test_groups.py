"""Channels, groups, history and registries, as their peers see them."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from tests.contract.peers import DEADLINE

NOBODY = "00000000-0000-0000-0000-000000000001"


@asynccontextmanager
async def channels(place, *kinds):
    """Peers whose channels are of these payload types; each with its channel's id."""
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(place.connect(f"/groups/channel/{kind}")) for kind in kinds]
        for peer in peers:
            peer.id = await peer.receive_json()
        yield peers


async def until(peer, answer, *command):
    """Ask until that is the answer: what happens in another connection is not ordered with what happens in this."""
    with trio.fail_after(DEADLINE):
        while await peer.ask(*command) != answer:
            pass


async def test_joining_and_leaving(place, key):
    async with channels(place, "json", "json") as (one, other):
        assert await one.ask("leave", key) == "GROUP_DOES_NOT_EXIST"
        assert await one.ask("join", key) == "CHANNEL_ADDED"
        assert await one.ask("join", key) == "CHANNEL_EXIST"
        assert await other.ask("leave", key) == "CHANNEL_DOES_NOT_EXIST"
        assert await other.ask("join", key) == "CHANNEL_EXIST"
        assert await one.ask("size", key) == [2] * 5
        assert await one.ask("leave", key) == "CHANNEL_REMOVED"
        assert await other.ask("leave", key) == "GROUP_REMOVED"
        assert await other.ask("size", key) == [0] * 5


async def test_bad_names_are_refused(place):
    async with channels(place, "json") as [one]:
        for name in ("", "a b", "x" * 1000):
            assert await one.ask("join", name) == "ValueError"
            assert await one.ask("send", name, 1) == "ValueError"


async def test_sending_reaches_members_only(place, key):
    async with channels(place, "json", "json", "json") as (one, other, outsider):
        assert await outsider.ask("send", key, "too early") == "NO_SUCH_GROUP"
        for peer in (one, other):
            await peer.ask("join", key)
        assert await outsider.ask("send", key, {"n": 1}) == "GROUP_SEND"
        for peer in (one, other):
            assert await peer.receive_json() == {"n": 1}
        assert await one.ask("send_to_others", key, "not to me") == "GROUP_SEND"
        assert await other.receive_json() == "not to me"
        assert await one.ask("send_nan", key) == "ValueError"
        assert await other.ask("size", key) == [2] * 5


async def test_each_member_gets_it_by_its_payload_type(place, key):
    async with channels(place, "json", "text", "bytes", "shouting") as peers:
        for peer in peers:
            await peer.ask("join", key)
        sender = peers[0]
        await sender.send_json(["send", key, {"a": "é"}])
        await sender.send_json(["send", key, "str"])
        await sender.send_json(["send_bytes", key])
        done = '["done","GROUP_SEND"]'
        got = [[await peer.receive() for _ in range(3 + 3 * (peer is sender))] for peer in peers]
    assert [item for item in got[0] if item != done] == ['{"a":"é"}', '"str"', b"\x00\xff"]
    assert got[1:] == [
        ['{"a":"é"}', "str", b"\x00\xff"],
        ['{"a":"é"}'.encode(), b"str", b"\x00\xff"],
        ["{'A': 'É'}", "STR", "B'\\X00\\XFF'"],
    ]


async def test_direct_and_group_messages_keep_one_order(place, key):
    async with channels(place, "json") as [one]:
        await one.ask("join", key)
        for number in range(50):
            await one.send_json(["send", key, number])
        received = [await one.receive_json() for _ in range(100)]
    assert received == [item for number in range(50) for item in (number, ["done", "GROUP_SEND"])]


async def test_whoever_leaves_is_in_no_group_and_no_registry(place, key):
    async with channels(place, "json") as [one]:
        for leave in ("close", "vanish"):
            async with channels(place, "json") as [other]:
                await other.ask("join", key)
                assert await other.ask("register") is True
                assert await one.ask("is_registered", other.id) is True
                await getattr(other, leave)()
                await until(one, [0] * 5, "size", key)
                await until(one, False, "is_registered", other.id)
                assert await one.ask("send_to", other.id, "anybody there?") is False


async def test_sending_to_one(place):
    async with channels(place, "json", "text") as (one, other):
        assert await one.ask("send_to", other.id, {"private": 1}) is True
        assert await one.ask("send_to_uuid", other.id, "again") is True
        assert [await other.receive() for _ in range(2)] == ['{"private":1}', "again"]
        for unknown in (NOBODY, "no id", ""):
            assert await one.ask("send_to", unknown, 1) is False


async def test_history(place, key):
    async with channels(place, "json", "json") as (one, other):
        await one.ask("join", key)
        for number in range(3):
            await other.ask("send", key, number, number != 1)
        assert await other.ask("history", key) == [0, 2]
        assert await other.ask("ids_in_history", key) == [2, True]
        assert await other.ask("histories", key, "no-such-group") == [[0, 2], []]
        await other.ask("flush_history", key)
        assert await other.ask("history", key) == []
        await other.ask("send", key, "kept", True)
        await other.ask("flush_history")
        assert await other.ask("histories", key) == [[]]


async def test_flush_groups_leaves_connections_alone(place, key):
    async with channels(place, "json") as [one]:
        await one.ask("join", key)
        await one.ask("flush_groups")
        assert await one.ask("size", key) == [0] * 5
        assert await one.ask("join", key) == "CHANNEL_ADDED"


async def test_a_handle_sends_in_every_way(place, key):
    async with channels(place, "json", "text") as (one, other):
        await other.ask("join", key)
        await one.send_json(["by_handle", key, {"a": 1}])
        assert [await other.receive() for _ in range(4)] == ['{"a":1}', '[{"a":1}]', "text", b"bytes"]
        own = [await one.receive() for _ in range(5)]
        assert own == ['{"a":1}', '[{"a":1}]', '"text"', b"bytes", '["done",["CHANNEL_EXIST","CHANNEL_REMOVED"]]']


async def test_closing_all(place):
    async with channels(place, "json", "text") as (one, other):
        await one.send_json(["close_all"])
        for peer in (one, other):
            assert await peer.closed() == (1001, "")


async def test_an_expired_channel_is_in_no_group_and_still_connected(place, key):
    async with place.connect(f"/groups/expiring/{key}") as peer:
        assert await peer.receive_json() is False
        assert await peer.receive_json() == [True, "NO_SUCH_GROUP", True]


async def test_expiry_may_close(place):
    async with place.connect("/groups/expiring-closed") as peer:
        assert (await peer.closed())[0] == 1001


@pytest.mark.parametrize("how", ["close", "vanish"])
async def test_the_events_of_a_channel(place, key, how):
    async with place.connect(f"/groups/observed/{key}") as peer:
        assert await peer.receive_json() == "connected"
        await peer.send("{", '{"a":1}')
        # An error in an event's handler is one too.
        assert await place.notes(key, 3) == [["error", False], ["error", True], ["message", {"a": 1}]]
        await getattr(peer, how)()
        assert await place.notes(key, 1) == [["disconnect", False]]


async def test_a_payload_type_that_is_none(place):
    async with place.connect("/groups/channel/xml") as peer:
        assert (await peer.closed())[0] == 1011
