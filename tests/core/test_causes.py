"""Every cause has its words, and the page for users has all of them."""

from pathlib import Path

import pytest

from nexios_trio.core.causes import ENDS, ServerRefusal, explain_end
from nexios_trio.core.lifecycle import Cause, End

PAGE = (Path(__file__).parents[2] / "docs/guides/close-codes.md").read_text(encoding="utf-8")


def test_every_cause_has_words():
    assert set(ENDS) == set(Cause)
    assert all(words.what and not words.what.endswith(".") for words in ENDS.values())


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (End.of(Cause.OVERFLOW, "too slow"), "the peer was too slow: its send queue is full; raise outbox_messages"),
        (
            End.of(Cause.MESSAGE_TOO_BIG, "a message may have 9 bytes"),
            "the peer sent too much in one message: a message may have 9 bytes; raise max_message_size",
        ),
        (End.of(Cause.PEER_CLOSED, "bye"), "the peer closed it: bye"),
        (End.of(Cause.DENIED, "log in first"), "log in first"),
        (End.of(Cause.DENIED), "the application refused it"),
    ],
)
def test_an_end_in_words(end, text):
    assert explain_end(end).startswith(text)


def cells(text: str) -> str:
    return text.replace("|", "\\|")


@pytest.mark.parametrize("cause", Cause)
def test_the_page_has_every_cause_with_its_code_and_remedy(cause):
    code = "" if cause is Cause.DENIED else str(cause.close_code)
    what, remedy = ENDS[cause].what, ENDS[cause].remedy
    assert f"| {code} | `{cause.value}` | {cells(what)} | {cells(remedy)} |".replace("|  |", "| |") in PAGE


@pytest.mark.parametrize("refusal", ServerRefusal)
def test_the_page_has_every_refusal(refusal):
    row = f"| {refusal.status} | {cells(refusal.words.what)} | {cells(refusal.words.remedy)} |"
    assert row.replace("|  |", "| |") in PAGE
