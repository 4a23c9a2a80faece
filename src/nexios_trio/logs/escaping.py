"""Text that peers may have chosen, made safe for a log and for a terminal."""

from typing import Final

__all__ = ["MAX_TEXT", "escaped_lines", "printable"]

MAX_TEXT: Final = 500  # characters of one argument or field


def printable(text: str, limit: int | None = MAX_TEXT) -> str:
    """Return `text` on one line, safe for a terminal, of at most `limit` characters and three dots; None: all of it."""
    if limit is not None and len(text) > limit:
        text = text[:limit] + "..."
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def escaped_lines(text: str) -> str:
    """Return the lines of `text`, each indented and safe for a terminal."""
    lines = text.rstrip("\n").split("\n")
    return "\n".join("    " + (line if line.isprintable() else _escaped(line)) for line in lines)


def _escaped(line: str) -> str:
    return "".join(one if one.isprintable() or one == "\t" else ascii(one)[1:-1] for one in line)
