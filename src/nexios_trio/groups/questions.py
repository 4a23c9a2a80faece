"""What the boxes of several nodes ask each other, as bytes, which an engine carries.

question    a JSON object of one line, whose `ask` says what; behind the line break, perhaps, an encoded message
answer      JSON; nothing from a node that does not know the question
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["Answerer", "Question", "answer", "encode_question", "read_answers"]

T = TypeVar("T")

Question = dict[str, Any]
# Answers one kind of question on behalf of somebody: with what JSON can carry. Synchronous.
Answerer = Callable[[T, Question, bytes], Any]


def encode_question(ask: str, body: bytes = b"", **details: Any) -> bytes:
    """Return a question as bytes."""
    return json.dumps({"ask": ask, **details}).encode() + b"\n" + body


def answer(question: bytes, who: T, answerers: Mapping[str, Answerer[T]]) -> bytes:
    """Return somebody's answer."""
    line, _, body = question.partition(b"\n")
    asked: Question = json.loads(line)
    answerer = answerers.get(asked["ask"])
    return b"" if answerer is None else json.dumps(answerer(who, asked, body)).encode()


def read_answers(answers: list[bytes]) -> list[Any]:
    """Return what those say that know the question."""
    return [json.loads(answer) for answer in answers if answer]
