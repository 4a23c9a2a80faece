"""What is done to every record of this package before a handler sees it: escaped, cut, and counted.

Peers choose much of what a log would say: paths, reasons, names, the texts of errors. So on each logger of `LOGGERS`

- a string argument or field that holds control characters is escaped, and cut at `MAX_TEXT` characters: one record is
  one line, and a terminal stays as it was; the lines of a traceback are indented, so that none looks like a record;
- records of one kind (message template, cause, status, type and place of the error) pass `BURST` at a time and `RATE`
  a second. The next one that passes says how many did not, in its text and in the field `suppressed`. DEBUG and
  CRITICAL all pass.

They stay enabled when `logging.config.dictConfig` or `fileConfig` disables every logger that it does not name, as both
do unless told otherwise: failures must be seen. Whoever wants silence sets a level.
"""

import logging
import traceback
from collections import OrderedDict
from typing import Any, Final

from .escaping import MAX_TEXT, escaped_lines, printable
from .tracebacks import traceback_of

__all__ = ["FIELDS", "LOGGERS", "Guard", "guard_logger", "guard_loggers"]

LOGGERS: Final = {
    "nexios_trio.access": "the access log, where it was given no other place",
    "nexios_trio.app": "start and stop, tasks of the application",
    "nexios_trio.box": "groups: refused joins and sends, unknown channels",
    "nexios_trio.channel": "event handlers and overrides of channels that fail",
    "nexios_trio.command": "the command nexios-trio",
    "nexios_trio.connection": "handlers that fail, connections that end",
    "nexios_trio.consumer": "consumers",
    "nexios_trio.fanout": "members that cannot be written to",
    "nexios_trio.http": "HTTP handlers that fail",
    "nexios_trio.poller": "sockets of the direct lane",
    "nexios_trio.realtime": "clients of the realtime protocol: commands that fail",
    "nexios_trio.server": "the runner: refused requests, connections that fail",
    "nexios_trio.timers": "deadlines",
    "nexios_trio.takeover": "sockets of hypercorn that we did not take over",
    "nexios_trio.transport": "servers whose receive or send fails",
    "nexios_trio.workers": "processes of the command",
}
FIELDS: Final = frozenset(
    {"action", "cause", "channel", "client", "code", "connection", "group", "method", "path", "reason", "status"}
    | {"suppressed", "user"}
)

_WITHOUT_BOUNDS: Final = ("hypercorn.access", "nexios_trio.access")

BURST: Final = 20
RATE: Final = 2.0
MAX_KINDS: Final = 512


class Guard(logging.Filter):
    """Escapes and counts records. One for each logger.

    Args:
        is_bounding: records of one kind pass so many at a time.
    """

    def __init__(self, *, is_bounding: bool = True) -> None:
        super().__init__()
        self._is_bounding = is_bounding
        self._buckets: OrderedDict[Any, list[float]] = OrderedDict()  # kind -> [tokens, when, suppressed]

    def filter(self, record: logging.LogRecord) -> bool:
        if self._is_bounding and logging.DEBUG < record.levelno < logging.CRITICAL and not self._admit(record):
            return False
        if isinstance(record.args, tuple):
            record.args = tuple(map(_safe, record.args))
        for name in FIELDS & record.__dict__.keys():
            setattr(record, name, _safe(getattr(record, name)))
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = escaped_lines(traceback_of(record))
        return True

    def reset(self) -> None:
        """Forget what has been counted."""
        self._buckets.clear()

    def _admit(self, record: logging.LogRecord) -> bool:
        kind = _kind(record)
        bucket = self._buckets.setdefault(kind, [float(BURST), record.created, 0])
        self._buckets.move_to_end(kind)
        if len(self._buckets) > MAX_KINDS:
            self._buckets.popitem(last=False)
        tokens, when, suppressed = bucket
        tokens = min(float(BURST), tokens + max(0.0, record.created - when) * RATE)
        if tokens < 1:
            bucket[:] = tokens, record.created, suppressed + 1
            return False
        bucket[:] = tokens - 1, record.created, 0
        if suppressed:
            record.suppressed = int(suppressed)
            record.msg = f"{record.msg} (and {int(suppressed)} more of this kind, not logged)"
        return True


def _kind(record: logging.LogRecord) -> Any:
    error = record.exc_info[1] if record.exc_info else None
    place = None
    if error is not None and error.__traceback__ is not None:
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        place = frame.f_code.co_filename, line
    fields = record.__dict__  # a flood of one cause hides no other
    return record.levelno, record.msg, fields.get("cause"), fields.get("status"), type(error), place


def _safe(value: Any) -> Any:
    """Return what formats without surprises. Numbers stay numbers; an error becomes its text."""
    if isinstance(value, str):
        return printable(value, MAX_TEXT)
    return printable(str(value), MAX_TEXT) if isinstance(value, BaseException) else value


class _StaysEnabled:
    """Has no use for `disabled`, which `dictConfig` sets on every logger that it does not name."""

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        pass


def guard_loggers() -> None:
    """Put a guard on each of the loggers, once, and keep it enabled."""
    for name in LOGGERS:
        guard_logger(name)


def guard_logger(name: str) -> None:
    """Put a guard on one logger, once, and keep it enabled."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, Guard) for one in logger.filters):
        logger.addFilter(Guard(is_bounding=name not in _WITHOUT_BOUNDS))
    kind = type(logger)  # the program's own, where it has called logging.setLoggerClass
    if not issubclass(kind, _StaysEnabled):
        logger.__class__ = type(kind.__name__, (_StaysEnabled, kind), {})
