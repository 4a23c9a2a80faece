"""The states of a socket of ours, as a table: what was said, what still waits, and what the peer's bytes mean.

                    begun               drained
    CONNECTING ──────────────▶ BACKLOG ◀───────▶ CLEAR
        │                         │     blocked    │
        │ goodbye                 ├────────────────┴───────────────┐
        │                 goodbye │          peer_close │          │ violation
        ▼                         ▼                     ▼          ▼
    REFUSING                   CLOSING ─peer_close─▶ ANSWERING   FAILING      what is queued goes out, our goodbye last
        │ drained                 │ drained             │ drained  │ drained
        ▼                         ▼                     ▼          ▼
    HALF_CLOSED               CLOSE_SENT ─peer_close─▶ GONE     HALF_CLOSED   the kernel has all of it
                              (any) ──────let_go─────▶ GONE

The connection's `Phase` (core.lifecycle) is what everybody else knows of it; `State.phases` says which ones belong to a
state. A pair that is not in the table is a mistake in the program and raises; one that leads to its own state changes
nothing.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from ...core.lifecycle import Phase
from ...exceptions import LifecycleError

__all__ = ["TRANSITIONS", "State", "Step", "next_state"]


class State(Enum):
    """Where a socket is. Attributes, since asking for membership in a set of enum members calls Python code:

    phases: of the connection's lifecycle.
    is_http: frames are not spoken, or never were.
    hears_messages: what comes from the peer is parsed and queued.
    hears_close: of what comes from the peer only its close frame counts; else nothing does.
    is_flushed: our goodbye is in the kernel, or nobody is left to get it.
    """

    __hash__ = object.__hash__  # Enum's own is Python code

    CONNECTING = "connecting", {Phase.CONNECTING}, True
    CLEAR = "clear", {Phase.OPEN}  # nothing is queued: the only state in which a message may be written at once
    BACKLOG = "backlog", {Phase.OPEN}  # the kernel is full, or may be
    REFUSING = "refusing", {Phase.CLOSED}, True  # an HTTP error is on its way
    CLOSING = "closing", {Phase.CLOSING}  # our close frame is on its way
    ANSWERING = "answering", {Phase.CLOSED}  # the same, and the peer's has come
    FAILING = "failing", {Phase.CLOSING}  # the same, and the peer has broken the protocol
    CLOSE_SENT = "close_sent", {Phase.CLOSING}  # the kernel has our close frame
    HALF_CLOSED = "half_closed", {Phase.CLOSING, Phase.CLOSED}  # we say no more, until the peer hangs up
    GONE = "gone", set(Phase)  # the socket is closed; whoever closed it tells the lifecycle

    def __init__(self, label: str, phases: set[Phase], is_http: bool = False) -> None:
        self.label = label
        self.phases = frozenset(phases)
        self.is_http = is_http
        self.hears_messages = label in ("clear", "backlog")
        self.hears_close = label in ("closing", "close_sent")
        self.is_flushed = label in ("close_sent", "half_closed", "gone")


class Step(Enum):
    """What can happen to it."""

    __hash__ = object.__hash__

    BEGUN = "begun"  # the handshake is answered: frames from here on
    BLOCKED = "blocked"  # the kernel did not take everything
    DRAINED = "drained"  # the kernel has everything
    GOODBYE = "goodbye"  # ours is queued behind everything else
    PEER_CLOSE = "peer_close"  # the peer's close frame has come; ours is its answer, or was there before
    VIOLATION = "violation"  # the peer has broken the protocol; our close frame says so
    LET_GO = "let_go"  # the socket is closed


_ALL: Final = tuple(State)
_SAME: Final = {state: state for state in (State.REFUSING, State.CLOSING, State.ANSWERING, State.FAILING)}

# (step) -> {state before: state after}
TRANSITIONS: Final[Mapping[Step, Mapping[State, State]]] = MappingProxyType(
    {
        Step.BEGUN: {State.CONNECTING: State.BACKLOG},
        Step.BLOCKED: {
            State.CONNECTING: State.CONNECTING,  # the answer to the handshake itself
            State.CLEAR: State.BACKLOG,
            State.BACKLOG: State.BACKLOG,
            **_SAME,
        },
        Step.DRAINED: {
            State.CLEAR: State.CLEAR,
            State.BACKLOG: State.CLEAR,
            State.REFUSING: State.HALF_CLOSED,
            State.CLOSING: State.CLOSE_SENT,
            State.ANSWERING: State.GONE,
            State.FAILING: State.HALF_CLOSED,
        },
        Step.GOODBYE: {
            State.CONNECTING: State.REFUSING,
            State.CLEAR: State.CLOSING,
            State.BACKLOG: State.CLOSING,
        },
        Step.PEER_CLOSE: {
            State.CLEAR: State.ANSWERING,
            State.BACKLOG: State.ANSWERING,
            State.CLOSING: State.ANSWERING,
            State.CLOSE_SENT: State.GONE,
        },
        Step.VIOLATION: {
            State.CLEAR: State.FAILING,
            State.BACKLOG: State.FAILING,
            State.CLOSING: State.FAILING,
            State.CLOSE_SENT: State.HALF_CLOSED,
        },
        Step.LET_GO: dict.fromkeys(_ALL, State.GONE),
    }
)


def next_state(state: State, step: Step) -> State:
    """The state that `step` leads to. Raises: LifecycleError, naming what is possible."""
    after = TRANSITIONS[step].get(state)
    if after is None:
        steps = ", ".join(other.value for other, table in TRANSITIONS.items() if state in table)
        raise LifecycleError(f"{step.value} cannot happen to a socket that is {state.label}; possible: {steps}")
    return after
