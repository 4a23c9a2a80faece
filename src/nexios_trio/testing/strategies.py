"""Hypothesis strategies for what users, peers and networks do."""

from collections.abc import Sequence
from typing import Any

import attrs
import trio
from hypothesis import strategies as st

from ..core.message import Frame, binary_frame, text_frame
from .client.client import Client

__all__ = [
    "Action",
    "bad_group_names",
    "bad_payloads",
    "behaviours",
    "close_codes",
    "frames",
    "group_names",
    "messages",
    "payloads",
    "perform",
    "reasons",
    "seeds",
]

_NAME = "ABCXYZabcxyz0129_.:@-"
_CHARACTERS = st.characters(exclude_categories=["Cs"])


def seeds() -> st.SearchStrategy[int]:
    """Seeds of trio's order of tasks: draw one per example, and interleavings are explored, and shrunk towards 0."""
    return st.integers(0, 2**16 - 1)


def texts(max_size: int = 40) -> st.SearchStrategy[str]:
    """Text that UTF-8 can carry."""
    return st.text(_CHARACTERS, max_size=max_size)


def payloads(*, binary: bool = True) -> st.SearchStrategy[Any]:
    """Generate what a channel and a group can send: anything that JSON can carry and, with `binary`, bytes."""
    numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | texts()
    json = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | _objects(inner), max_leaves=8)
    return json | st.binary(max_size=40) if binary else json


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(texts(10), inner, max_size=4)


def bad_payloads() -> st.SearchStrategy[Any]:
    """Generate what must not be sent, wherever it hides: NaN, infinities, lone surrogates, odd types."""
    bad = st.sampled_from([float("nan"), float("inf"), float("-inf"), "\ud800", object(), {1, 2}, 1j])
    return st.recursive(bad, lambda inner: st.lists(inner, min_size=1, max_size=3) | _with_key(inner), max_leaves=4)


def _with_key(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(texts(10), inner, min_size=1, max_size=3)


def group_names() -> st.SearchStrategy[str]:
    """Names of groups that are accepted."""
    return st.text(_NAME, min_size=1, max_size=100)


def bad_group_names() -> st.SearchStrategy[str]:
    """Names of groups that are not accepted: empty, too long, or with a character that is not allowed."""
    odd = st.sampled_from(" \n\t\0/#äé☃\u202e")
    return (
        st.just("")
        | st.text(_NAME, min_size=101, max_size=120)
        | st.builds(lambda left, char, right: left + char + right, st.text(_NAME), odd, st.text(_NAME))
    )


def close_codes() -> st.SearchStrategy[int]:
    """Close codes that an application may send."""
    return st.sampled_from([1000, 1001, 1003, *range(1007, 1014)]) | st.integers(3000, 4999)


def reasons() -> st.SearchStrategy[str]:
    """Close reasons that fit into a close frame."""
    return texts().filter(lambda text: len(text.encode()) <= 123)


def messages(max_size: int = 200) -> st.SearchStrategy[str | bytes]:
    """Generate what a peer may send: a text or a binary message, with JSON or without."""
    json = st.sampled_from(["{}", "[]", '{"type":"message"}', "null", "nul", '{"a":', "NaN", '"\\ud800"', "[" * 50])
    return json | st.text(_CHARACTERS, max_size=max_size) | st.binary(max_size=max_size)


def frames(max_size: int = 200) -> st.SearchStrategy[Frame]:
    """Generate what an outbox and a transport take: a text or a binary message, ready for the wire."""
    text = st.text(_CHARACTERS, max_size=max_size).map(text_frame)
    return text | st.binary(max_size=max_size).map(binary_frame)


@attrs.frozen
class Action:
    """One thing that a client does, and how long it waits before.

    Args:
        what: "send", "stall", "resume", "half_open", "heal", "lose" or "close".
        data: the message, or (code, reason).
    """

    what: str
    data: Any = None
    after: float = 0.0


def behaviours(
    sends: st.SearchStrategy[str | bytes] | None = None, *, max_size: int = 8
) -> st.SearchStrategy[list[Action]]:
    """Generate what one client does, for `perform`. It may end with a close or a loss, or leave that to its block.

    Args:
        sends: the messages; by default any.
    """
    after = st.floats(0, 10)
    send = st.builds(Action, st.just("send"), sends if sends is not None else messages(), after)
    fault = st.builds(Action, st.sampled_from(["stall", "resume", "half_open", "heal"]), st.none(), after)
    close = st.builds(Action, st.just("close"), st.tuples(close_codes(), reasons()), after)
    lose = st.builds(Action, st.just("lose"), st.none(), after)
    middle = st.lists(send | send | fault, max_size=max_size)
    return st.builds(lambda actions, end: actions + end, middle, st.lists(close | lose, max_size=1))


async def perform(client: Client, actions: Sequence[Action]) -> None:
    """Do what a behaviour says.

    Raises: Unmet, ConnectionOver, as the client's methods do.
    """
    for action in actions:
        await trio.sleep(action.after)
        match action.what:
            case "send" if isinstance(action.data, str):
                await client.send_text(action.data)
            case "send":
                await client.send_bytes(action.data)
            case "close":
                client.resume()
                client.heal()
                await client.close(*action.data)
            case _:
                getattr(client, action.what)()
