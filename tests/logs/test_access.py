"""The access log's lines, and where they go."""

import io
import json
import logging
import logging.config
import sys
from collections.abc import Iterator

import pytest

from nexios_trio.logs import JsonFormatter, TextFormatter
from nexios_trio.logs.access import AccessLog, open_access_log, process_access_log, use_for_process

WS = {"path": "/ws/tea", "client": "127.0.0.1", "user": "ann"}
LINES = [
    (lambda log: log.connected(**WS, connection="6f2a"), "connect /ws/tea 127.0.0.1 ann  connection=6f2a"),
    (
        lambda log: log.ended(**WS, code=1000, seconds=12.34, received=5, sent=9, cause="peer_closed"),
        "end /ws/tea 127.0.0.1 ann 1000 12 s ↑5 ↓9  cause=peer_closed",
    ),
    (lambda log: log.refused(**{**WS, "user": None}, status=403), "refuse /ws/tea 127.0.0.1 - 403"),
    (lambda log: log.refused(**WS, status=None), "refuse /ws/tea 127.0.0.1 ann -"),
    (
        lambda log: log.requested(**WS, method="GET", version="1.1", status=200, size=532, seconds=0.0034),
        "GET /ws/tea HTTP/1.1 127.0.0.1 ann 200 532 B 3 ms",
    ),
    (
        lambda log: log.requested(**WS, method="GET", version="2", status=404, size=None, seconds=2.34),
        "GET /ws/tea HTTP/2 127.0.0.1 ann 404 - 2.3 s",
    ),
]


@pytest.mark.parametrize(("write", "line"), LINES)
def test_lines_for_people(capsys, write, line):
    write(open_access_log("-", TextFormatter()))
    assert capsys.readouterr().out.partition(" INFO    nexios_trio.access: ")[2] == line + "\n"


def test_objects_for_programs(capsys):
    LINES[1][0](open_access_log("-", JsonFormatter()))
    found = json.loads(capsys.readouterr().out)
    expected = {**WS, "event": "end", "code": 1000, "seconds": 12.34, "received": 5, "sent": 9, "cause": "peer_closed"}
    assert found.items() >= expected.items()
    assert found.keys() - expected.keys() == {"time", "level", "logger", "process", "message"}


def test_what_peers_choose_is_escaped(capsys):
    open_access_log("-", TextFormatter()).connected(path="/\r\nx\x1b[31m", client="127.0.0.1", user="a\nb")
    assert capsys.readouterr().out.endswith("connect /\\r\\nx\\x1b[31m 127.0.0.1 a\\nb\n")


def test_a_file_survives_a_logging_configuration(tmp_path):
    log = open_access_log(str(tmp_path / "access.log"), TextFormatter())
    LINES[0][0](log)
    others = {
        name: each.disabled for name, each in logging.Logger.manager.loggerDict.items() if hasattr(each, "disabled")
    }
    logging.config.dictConfig({"version": 1, "loggers": {"nexios_trio": {"level": "ERROR"}}})
    LINES[3][0](log)
    for name, was in others.items():
        logging.getLogger(name).disabled = was
    logging.getLogger("nexios_trio").setLevel(logging.NOTSET)
    assert len((tmp_path / "access.log").read_text("utf-8").splitlines()) == 2
    for handler in log.logger.handlers:
        handler.close()


def test_a_stream_without_arrows_gets_their_names(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    LINES[1][0](open_access_log("-", TextFormatter()))
    assert raw.getvalue().endswith(b" 12 s \\u21915 \\u21939  cause=peer_closed\n")


def test_a_logger_of_the_applications():
    logger = logging.getLogger("test.access.own")
    assert open_access_log(logger, TextFormatter()).logger is logger
    logger.setLevel(logging.WARNING)
    LINES[0][0](AccessLog(logger))  # and it says whether it wants to know


@pytest.fixture
def named() -> Iterator[logging.Logger]:
    logger = logging.getLogger("nexios_trio.access")
    yield logger
    logger.setLevel(logging.NOTSET)


def test_the_logger_is_off_until_somebody_sets_its_level(named, monkeypatch):
    assert process_access_log() is None
    logging.getLogger("nexios_trio").setLevel(logging.DEBUG)
    assert process_access_log() is None
    named.setLevel(logging.INFO)
    log = process_access_log()
    assert log is not None
    assert log.logger is named
    monkeypatch.setattr("nexios_trio.logs.access._of_process", None)
    own = AccessLog(logging.getLogger("test.access.hypercorns"))
    use_for_process(own)
    assert process_access_log() is own


def test_no_line_is_left_out_however_many_there_are(named, caplog):
    named.setLevel(logging.INFO)
    for _ in range(100):
        LINES[0][0](AccessLog(named))
    assert len(caplog.records) == 100
