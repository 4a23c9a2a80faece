"""The strategies make what they promise: what is good is taken, what is bad is refused, and clients behave."""

import json

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from nexios_trio.application import NexiosApp
from nexios_trio.core.close_codes import check_close_code, check_reason
from nexios_trio.core.message import Message
from nexios_trio.core.names import check_group_name
from nexios_trio.core.payloads import PayloadTypeEnum as Kind
from nexios_trio.core.payloads import encode
from nexios_trio.testing import ConnectionOver, Unmet, World, run, strategies
from nexios_trio.websockets import ChannelBox, WebSocket, open_channel

FEW = settings(max_examples=15)


@given(strategies.payloads(), st.sampled_from(list(Kind)))
def test_payloads_can_be_sent(payload, kind):
    assert encode(payload, kind).payload is not None
    assert Message(payload, 0.0).payload == (payload if isinstance(payload, bytes) else _through_json(payload))


def _through_json(payload):
    return json.loads(json.dumps(payload))


@given(strategies.bad_payloads())
def test_bad_payloads_are_refused(payload):
    with pytest.raises(ValueError):
        Message(payload, 0.0)


@given(strategies.group_names())
def test_group_names_are_accepted(name):
    check_group_name(name)


@given(strategies.bad_group_names())
def test_bad_group_names_are_refused(name):
    with pytest.raises(ValueError):
        check_group_name(name)


@given(strategies.close_codes(), strategies.reasons())
def test_closes_can_be_sent(code, reason):
    check_close_code(code)
    check_reason(reason)


@given(strategies.frames())
def test_frames_are_what_an_outbox_takes(frame):
    assert frame.size == len(frame.payload)
    assert frame.wire.endswith(frame.payload)
    if frame.text:
        frame.payload.decode()


async def echoed(behaviour, seed):
    app = NexiosApp()

    @app.ws_route("/")
    async def echo(ws: WebSocket):
        async with open_channel(ws, payload_type="text") as channel, channel.member("all"):
            async for message in ws.iter_text():
                await ChannelBox.group_send("all", message)

    async with World(app, seed=seed, buffer=1000, timeout=5) as w, w.connect("/") as other:
        async with w.connect("/", name="one") as one:
            try:
                await strategies.perform(one, behaviour)
            except (ConnectionOver, Unmet):
                assert any(action.what in ("half_open", "stall") for action in behaviour)
            one.resume()
            one.heal()
        await trio.sleep(1)
        sent = [action.data for action in behaviour if action.what == "send"]
        assert [message for message in other.unread() if message not in sent] == []


@pytest.mark.slow
@FEW
@given(strategies.behaviours(st.text("abc", min_size=1, max_size=300)), strategies.seeds())
def test_clients_behave_and_nothing_is_left(behaviour, seed):
    run(echoed, behaviour, seed, seed=seed)
