"""What a log is told, and what it is spared."""

import logging
import re
from pathlib import Path

import pytest

import nexios_trio
from nexios_trio.logs import LOGGERS, Guard, guard_loggers, printable
from nexios_trio.logs.escaping import MAX_TEXT
from nexios_trio.logs.guard import BURST, MAX_KINDS

SOURCE = Path(next(iter(nexios_trio.__path__)))


def record(message: str = "%s happened", *args: object, level: int = logging.ERROR, at: float = 0.0, **extra: object):
    made = logging.LogRecord("nexios_trio.test", level, __file__, 1, message, args, None)
    made.created = at
    made.__dict__.update(extra)
    return made


def test_every_logger_of_the_package_is_guarded():
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    names = set(re.findall(r'getLogger\("(nexios_trio\.[a-z.]+)"\)', text))
    assert names == set(LOGGERS)
    guard_loggers()  # again
    for name in names:
        assert len([one for one in logging.getLogger(name).filters if isinstance(one, Guard)]) == 1


def test_arguments_and_fields_are_escaped_and_cut():
    one = record("%s and %s and %d", "a\r\nFORGED \x1b[31m", OSError("x\ny"), 7, path="/\x1b", reason="é", code=1008)
    assert Guard().filter(one)
    assert one.getMessage() == "a\\r\\nFORGED \\x1b[31m and x\\ny and 7"
    assert (one.path, one.reason, one.code) == ("/\\x1b", "é", 1008)
    assert printable("\u202egnp.exe") == "\\u202egnp.exe"
    assert printable("x" * 1000) == "x" * MAX_TEXT + "..."


def test_no_line_of_a_traceback_looks_like_a_record():
    try:
        raise ValueError("a\n2026-01-01 INFO forged \x1b[31m\r")
    except ValueError as error:
        one = record()
        one.args = ("it",)
        one.exc_info = (ValueError, error, error.__traceback__)
    assert Guard().filter(one)
    head, *lines = logging.Formatter().format(one).split("\n")
    assert head == "it happened"
    assert all(line.startswith("    ") and "\x1b" not in line and "\r" not in line for line in lines)
    assert any("forged \\x1b[31m\\r" in line for line in lines)


def test_a_flood_of_one_kind_is_counted_and_others_pass():
    guard = Guard()
    passed = [guard.filter(record("%s happened", number)) for number in range(BURST + 30)]
    assert passed == [True] * BURST + [False] * 30
    assert guard.filter(record("something else"))
    assert guard.filter(record("%s happened", 1, cause="overflow"))
    assert guard.filter(record("%s happened", 1, status=503))
    assert all(guard.filter(record("%s happened", 1, level=level)) for level in (logging.DEBUG, logging.CRITICAL))
    later = record("%s happened", 1, at=1.0)
    assert guard.filter(later)
    assert later.getMessage() == "1 happened (and 30 more of this kind, not logged)"
    assert later.suppressed == 30
    after = record("%s happened", 2, at=100.0)
    assert guard.filter(after)
    assert not hasattr(after, "suppressed")


def test_kinds_are_bounded_and_errors_of_another_place_are_another_kind():
    guard = Guard()
    for number in range(MAX_KINDS + 50):
        guard.filter(record(f"kind {number}"))
    assert len(guard._buckets) == MAX_KINDS
    guard.reset()

    def failing(error: Exception):
        try:
            raise error
        except Exception as caught:
            one = record("failed")
            one.exc_info = (type(caught), caught, caught.__traceback__)
            return one

    assert [guard.filter(failing(ValueError())) for _ in range(BURST + 1)][-1] is False
    assert guard.filter(failing(KeyError()))


@pytest.mark.parametrize("level", ["info", "error"])
def test_real_loggers(caplog, level):
    logger = logging.getLogger("nexios_trio.box")
    with caplog.at_level(logging.INFO, "nexios_trio.box"):
        getattr(logger, level)("a %s", "b\n")
    assert caplog.messages == ["a b\\n"]
