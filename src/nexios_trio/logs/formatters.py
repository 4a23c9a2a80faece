"""One record, one line: with its fields behind the message, or as a JSON object.

Records of every logger may be given to them: what the guard of this package's own loggers does, they do for the others.
"""

import logging
import re
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from .escaping import escaped_lines, printable
from .tracebacks import traceback_of

__all__ = ["JsonFormatter", "TextFormatter"]

# Of a LogRecord; whatever else a record has is a field (`extra=`).
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"asctime", "message", "taskName"}
_FIRST: Final[tuple[str, ...]] = ("path", "client", "user", "code", "cause", "reason")
_LAST: Final[tuple[str, ...]] = ("connection", "suppressed")
_KEYS: Final = frozenset({"time", "level", "logger", "process", "message", "exception", "stack"})  # of a JSON object
_COLORS: Final = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}  # of ANSI
# Not escaped in JSON, and obeyed by terminals: C1 controls, line separators, changes of direction.
_UNSEEN: Final = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


class TextFormatter(logging.Formatter):
    """Lines for people: time, process, level, logger, message, and the fields that the message does not name.

    Line breaks and control characters are escaped, in the message too; tracebacks follow on indented lines.

    Args:
        colors: of the level, for a terminal.
    """

    def __init__(self, *, colors: bool = False) -> None:
        super().__init__()
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of a traceback. Raises nothing, whatever the record holds."""
        when = _local(record).replace(tzinfo=None).isoformat(" ", "milliseconds")
        level = f"{record.levelname:<7}"
        if self._colors and record.levelno in _COLORS:
            level = f"\x1b[{_COLORS[record.levelno]}m{level}\x1b[0m"
        message = printable(_message(record), None)
        in_text: frozenset[str] = getattr(record, "_in_text", frozenset())
        fields = "".join(
            f" {printable(name, None)}={_quoted(text)}"
            for name, text in _texts(record).items()
            if name not in in_text and not _stands_in(message, text)
        )
        lines = [f"{when} [{record.process}] {level} {record.name}: {message}{' ' * bool(fields)}{fields}"]
        for block in (_exception(record), record.stack_info):
            if block:
                lines.append(escaped_lines(block))
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """Lines for programs: a JSON object with `time`, `level`, `logger`, `process`, `message` and every field.

    `exception` and `stack` are there where the record has one, each as one string. A field of one of these names has an
    underscore behind it.
    """

    def __init__(self) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Raises nothing, whatever the record holds."""
        found: dict[str, Any] = {
            "time": _local(record).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": _message(record),
        }
        for name, value in _fields(record).items():
            found[f"{name}_" if name in _KEYS else name] = value
        for name, block in (("exception", _exception(record)), ("stack", record.stack_info)):
            if block:
                found[name] = block.rstrip("\n")
        return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", _json(found))


def _local(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC).astimezone()


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # a template whose arguments do not fit
        return f"{record.msg!r} with {_text(record.args)}, which do not fit: {type(error).__name__}"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the record carries besides: path and client first, the name of the connection last."""
    given = {name: value for name, value in record.__dict__.items() if name not in _STANDARD and value is not None}
    given.pop("_in_text", None)  # what the access log's text shows
    names = [name for name in _FIRST if name in given]
    names += [name for name in given if name not in _FIRST and name not in _LAST]
    return {name: given[name] for name in (*names, *_LAST) if name in given}


def _texts(record: logging.LogRecord) -> dict[str, str]:
    return {name: text for name, value in _fields(record).items() if (text := printable(_text(value), None))}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode() if re.search(r"[\s\"=]", text) else text


def _stands_in(message: str, text: str) -> bool:
    """Tell whether the message says it already, between blanks, quotes or punctuation."""
    # a colon and a digit: the address has a port, and is another one's
    pattern = rf"(?:^|[\s'\"(=]){re.escape(text)}(?:$|[\s'\"),;]|:(?!\d))"
    return text in message and re.search(pattern, message) is not None


def _exception(record: logging.LogRecord) -> str | None:
    """Return the traceback, without what a guard did to it: it is done here, to all of them."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return record.exc_text
    try:
        return traceback_of(record)
    except Exception as failure:  # an exception whose text cannot be had
        return f"{type(error).__name__} (its traceback cannot be shown: {type(failure).__name__})"


def _json(found: dict[str, Any]) -> str:
    try:
        return orjson.dumps(found, default=_text, option=orjson.OPT_NON_STR_KEYS).decode()
    except Exception:  # half a surrogate, a number without bounds, lists without end
        texts = {name: _text(value).encode("utf-8", "backslashreplace").decode() for name, value in found.items()}
        return orjson.dumps(texts).decode()
