"""`dictConfig` and `fileConfig`, which disable every logger they do not name, do not silence failures."""

import logging
import logging.config
from collections.abc import Iterator
from typing import Any

import pytest

from nexios_trio import NexiosApp
from nexios_trio.logs import LOGGERS, guard_loggers
from tests.wire import house

NOTED: list[str] = []


class Noting(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        NOTED.append(f"{record.name} {record.getMessage()}")


CONFIG: dict[str, Any] = {
    "version": 1,
    "handlers": {"noting": {"()": Noting}},
    "root": {"level": "INFO", "handlers": ["noting"]},
}
INI = """
[loggers]
keys=root
[handlers]
keys=null
[formatters]
keys=
[logger_root]
level=INFO
handlers=null
[handler_null]
class=NullHandler
args=()
"""


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    others = [each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    disabled = [each for each in others if each.disabled]
    NOTED.clear()
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for each in others:
        each.disabled = each in disabled


async def failing(ws: Any) -> None:
    await ws.accept()
    raise ZeroDivisionError


async def test_a_dict_config_with_its_defaults() -> None:
    logging.config.dictConfig(CONFIG)
    async with house() as inside:
        await inside.connect(failing)
    assert NOTED == ["nexios_trio.connection the handler of '/' failed"]


async def test_one_that_comes_while_the_application_runs() -> None:
    NexiosApp()
    async with house() as inside:
        logging.config.dictConfig(CONFIG)
        await inside.connect(failing)
    assert len(NOTED) == 1


@pytest.mark.parametrize("name", LOGGERS)
def test_all_loggers_stay(name: str, tmp_path: Any) -> None:
    (tmp_path / "logging.ini").write_text(INI)
    for configure in (
        lambda: logging.config.dictConfig(CONFIG),
        lambda: logging.config.fileConfig(tmp_path / "logging.ini"),
    ):
        configure()
        assert logging.getLogger(name).isEnabledFor(logging.ERROR)


def test_levels_silence_whoever_wants_that() -> None:
    silent = {"loggers": {"nexios_trio.connection": {"level": "CRITICAL"}}}
    logging.config.dictConfig(CONFIG | silent)
    logger = logging.getLogger("nexios_trio.connection")
    assert not logger.isEnabledFor(logging.ERROR)
    logging.config.dictConfig(CONFIG | {"loggers": {"nexios_trio.connection": {"level": "NOTSET"}}})


def test_other_loggers_are_not_ours() -> None:
    other = logging.getLogger("somebody.else")
    logging.config.dictConfig(CONFIG)
    assert other.disabled


def test_the_programs_own_class_of_loggers_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(logging.Logger):
        pass

    logger = Own("nexios_trio.own")
    monkeypatch.setitem(logging.Logger.manager.loggerDict, "nexios_trio.own", logger)
    monkeypatch.setattr("nexios_trio.logs.guard.LOGGERS", {"nexios_trio.own": ""})
    guard_loggers()
    guard_loggers()
    logger.disabled = True
    assert isinstance(logger, Own)
    assert logger.isEnabledFor(logging.ERROR)
    assert len(logger.filters) == 1
