"""What a check says."""

from typing import Final

import attrs

__all__ = ["NOTE", "OK", "WRONG", "Finding", "note", "ok", "wrong"]

OK: Final = "ok"
NOTE: Final = "note"  # perhaps as it should be
WRONG: Final = "wrong"


@attrs.frozen
class Finding:
    """One line. `level`: OK, NOTE or WRONG."""

    level: str
    subject: str
    text: str


def ok(subject: str, text: str) -> Finding:
    return Finding(OK, subject, text)


def note(subject: str, text: str) -> Finding:
    return Finding(NOTE, subject, text)


def wrong(subject: str, text: str) -> Finding:
    return Finding(WRONG, subject, text)
