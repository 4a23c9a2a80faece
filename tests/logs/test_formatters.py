"""One record, one line, whatever is in it."""

import json
import logging
import logging.config
import sys
from typing import Any

import pytest

from nexios_trio.logs import JsonFormatter, TextFormatter

NASTY = "a\r\nFORGED \x1b[31m\x9b\u202e\u2028"


def record(message: str = "it happened", *args: object, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("shop.cart", logging.WARNING, __file__, 1, message, args, None)
    made.created, made.process = 1_790_000_000.25, 42
    made.__dict__.update(extra)
    return made


def failed(error: Exception, **extra: Any) -> logging.LogRecord:
    made = record("it failed", **extra)
    try:
        raise error
    except Exception:
        made.exc_info = sys.exc_info()
    return made


def text(one: logging.LogRecord) -> str:
    return TextFormatter().format(one).partition(" [42] ")[2]


def parsed(one: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(one)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_fields_follow_the_message():
    one = record("%s items", 3, basket=[1], connection="6f2a", client="127.0.0.1", path="/a b", reason=None)
    assert text(one) == 'WARNING shop.cart: 3 items  path="/a b" client=127.0.0.1 basket=[1] connection=6f2a'


@pytest.mark.parametrize(
    ("message", "is_repeated"),
    [
        ("the handler of '/ws' failed", False),
        ("connect /ws 127.0.0.1", False),
        ("in /ws: late", False),
        ("connect /ws/tea 127.0.0.1", True),
        ("something else", True),
    ],
)
def test_what_the_message_says_is_not_said_again(message, is_repeated):
    assert text(record(message, path="/ws")).endswith("  path=/ws") is is_repeated
    assert parsed(record(message, path="/ws"))["path"] == "/ws"


def test_the_port_of_a_host_tells_another_address_from_a_client_s():
    one = record("another site than Host 127.0.0.1:8000 (ws)", client="127.0.0.1")
    assert text(one).endswith("  client=127.0.0.1")
    assert text(record("bad header from 127.0.0.1: no colon", client="127.0.0.1")).endswith("no colon")


def test_nothing_in_a_record_is_more_than_its_line():
    one = record("got %s", NASTY, path=NASTY, **{"na\nme": 1})
    line = TextFormatter(colors=False).format(one)
    assert line.isprintable()
    assert "got a\\r\\nFORGED \\x1b[31m" in line
    found = JsonFormatter().format(one)
    assert found.isprintable()
    assert json.loads(found)["path"] == NASTY


def test_a_traceback_is_indented_lines_or_one_string():
    one = failed(ValueError(f"x\n{NASTY}"))
    first, *rest = TextFormatter().format(one).split("\n")
    assert first.endswith("shop.cart: it failed")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert parsed(one)["exception"].startswith("Traceback (most recent call last):\n  File ")


def test_a_json_object_has_the_parts_of_a_record():
    one = record("%s items", 3, path="/ws", code=1013, level="mine", time="now", nested={"a": [1.5, None]})
    assert parsed(one) | {"time": ""} == {
        "time": "", "level": "WARNING", "logger": "shop.cart", "process": 42, "message": "3 items",
        "path": "/ws", "code": 1013, "level_": "mine", "time_": "now", "nested": {"a": [1.5, None]},
    }  # fmt: skip
    assert parsed(one)["time"].startswith("2026-09-2")
    assert parsed(one)["time"][-6] in "+-"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "one",
    [
        record("%d items", "three"),
        record("%s %s", "one"),
        record(field=Unprintable()),
        record(field="\ud800", other=2**200),
        record("\ud800"),
        failed(UnprintableError()),
        failed(ExceptionGroup("several", [ValueError("\ud800")])),
    ],
)
def test_no_record_fails(one):
    assert parsed(one)["level"] == "WARNING"
    assert text(one).startswith("WARNING")


def test_colors_are_for_the_level_alone():
    line = TextFormatter(colors=True).format(record())
    assert line.partition(" [42] ")[2] == "\x1b[33mWARNING\x1b[0m shop.cart: it happened"


@pytest.mark.parametrize("name", ["TextFormatter", "JsonFormatter"])
def test_a_logging_configuration_may_name_them(name):
    configurator: Any = logging.config.DictConfigurator({"version": 1})
    made = configurator.configure_formatter({"()": f"nexios_trio.logs.{name}"})
    assert "it happened" in made.format(record())
