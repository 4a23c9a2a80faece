"""The table of a socket's states: what leads where, and that a transport is nowhere else."""

from contextlib import suppress
from itertools import product

import pytest
import trio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from trio.testing import MockClock

from nexios_trio.core.lifecycle import Cause, End, Phase
from nexios_trio.core.message import text_frame
from nexios_trio.exceptions import LifecycleError
from nexios_trio.transports.direct.states import TRANSITIONS, State, Step, next_state
from tests.rawframes import client_frame, close, text
from tests.transports.support import direct, settle

pytestmark = pytest.mark.usefixtures("plain_and_tls")

PAIRS = list(product(State, Step))


@pytest.mark.parametrize(("state", "step"), PAIRS)
def test_every_pair_leads_somewhere_or_raises(state, step):
    after = TRANSITIONS[step].get(state)
    if after is not None:
        assert next_state(state, step) is after
        return
    with pytest.raises(LifecycleError) as caught:
        next_state(state, step)
    message = str(caught.value)
    assert step.value in message
    assert state.label in message
    for other, table in TRANSITIONS.items():
        assert (state in table) is (other.value in message.partition("possible: ")[2].split(", "))


def test_nothing_leads_out_of_gone():
    assert {table.get(State.GONE) for table in TRANSITIONS.values()} == {None, State.GONE}


def test_every_state_is_reached_and_left():
    reached, border = set(), {State.CONNECTING}
    while border:
        reached |= border
        border = {after for table in TRANSITIONS.values() for before, after in table.items() if before in border}
        border -= reached
    assert reached == set(State)
    for state in set(State) - {State.GONE}:
        assert any(table.get(state, state) is not state for table in TRANSITIONS.values())


@pytest.mark.parametrize("state", State)
def test_only_who_may_still_say_something_has_something_to_say(state):
    """A goodbye that has been said is said: nothing is queued behind it."""
    assert (state in TRANSITIONS[Step.BLOCKED]) is not state.is_flushed
    assert not (state.is_flushed and state in TRANSITIONS[Step.GOODBYE])
    assert not (state.hears_messages and state.hears_close)


def test_frames_and_http_do_not_mix():
    for table in TRANSITIONS.values():
        for before, after in table.items():
            if after.is_http:
                assert before.is_http


steps = st.lists(
    st.sampled_from(
        [
            *("offer", "offer big", "close", "evict", "kill", "read", "settle"),
            *("peer text", "peer close", "peer violates", "peer leaves", "peer resets"),
        ]
    ),
    max_size=12,
)


@given(steps, st.booleans(), st.booleans())
@hypothesis_settings(max_examples=60)
def test_a_transport_is_in_no_other_state_than_its_phase_allows(given_steps, is_accepted, deflate):
    seen = []

    def note(transport):
        assert transport.lifecycle.phase in transport.state.phases
        seen.append(transport.state)

    async def main():
        async with direct(accepted=is_accepted, small=True, deflate=deflate) as (transport, peer):
            for number, step in enumerate(given_steps):
                await play(step, number, transport, peer)
                note(transport)
                await settle()
                note(transport)
        assert transport.state is State.GONE
        assert transport.lifecycle.phase in (Phase.CLOSED, Phase.CLOSING) or transport.end is None

    trio.run(main, clock=MockClock(autojump_threshold=0.01))


async def play(step, number, transport, peer):
    """One step of the script. A peer that is gone does nothing any more."""
    match step:
        case "offer":
            transport.offer(text_frame(str(number)))
        case "offer big":
            transport.offer(text_frame("x" * 50_000))
        case "close":
            with trio.CancelScope() as scope:
                scope.cancel()
                await transport.close(End.of(Cause.LOCAL_CLOSE))
        case "evict":
            transport.evict(End.of(Cause.OVERFLOW))
        case "kill":
            transport.kill(End.of(Cause.ABORTED))
        case "settle":
            await settle()
        case _ if peer.raw.fileno() >= 0:
            with suppress(OSError):
                act(step, peer)


def act(step, peer):
    match step:
        case "read":
            peer.take()
        case "peer leaves":
            peer.hang_up()
        case "peer resets":
            peer.reset()
        case _:
            peer.send_nowait(
                {"peer text": text("hi"), "peer close": close(4000), "peer violates": client_frame(3)}[step]
            )
