"""The command's log: one format for all loggers, one line for each record, whatever the application sets up."""

import json
import logging
import re

import pytest
import trio
from click.testing import CliRunner

from nexios_trio.cli.log_setup import LogSetup
from nexios_trio.cli.main import main
from tests.server.processes import QUICK, command
from tests.server.support import Raw, frame, upgrade

APP = "tests.cli.logging_app:app"
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \[\d+\] (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) +[\w.]+: .+")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


async def use(server) -> None:
    """A message, a failure, and a handshake from elsewhere."""
    async with await server.connect() as client:
        await client.handshake("/ws/tea")
        await client.send(frame(1, b"fail"))
        assert await client.closed() == 1011
    await server.request(upgrade("/ws/tea", "Origin: https://a.example"))
    server.signal()
    assert await server.status() == 0


async def test_lines_for_people(log):
    async with command(log, APP, *QUICK) as server:
        await use(server)
    records = [line for line in log.read_text().splitlines() if not line.startswith("    ")]
    assert all(LINE.fullmatch(line) for line in records), records
    [own] = [line for line in records if " shop.cart: " in line]
    assert own.endswith('INFO    shop.cart: got fail  basket="[1, 2]"')
    [failure] = [line for line in records if " ERROR " in line]
    assert "'/ws/tea'" in failure
    assert " client=127.0.0.1 connection=" in failure


async def test_objects_for_programs(log):
    async with command(log, APP, *QUICK, "--log-format", "json", "--log-level", "debug") as server:
        await use(server)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    [own] = [each for each in found if each["logger"] == "shop.cart"]
    assert (own["level"], own["message"], own["basket"]) == ("INFO", "got fail", [1, 2])
    [failure] = [each for each in found if each["level"] == "ERROR"]
    assert (failure["path"], failure["client"]) == ("/ws/tea", "127.0.0.1")
    assert failure["exception"].endswith("LookupError: no such basket\nat all")
    assert any(each["level"] == "DEBUG" for each in found)


async def test_an_application_that_hypercorn_serves(log):
    async with command(log, "tests.cli.logging_app:broken", *QUICK, "--log-format", "json") as server:
        assert b" 500 " in await server.get("/cart?token=secret")
    [found] = [each for line in log.read_text().splitlines() if (each := json.loads(line))["level"] == "ERROR"]
    assert found["logger"] == "hypercorn.error"
    assert found["exception"].endswith("ZeroDivisionError: the foreign one\nfailed")


@pytest.mark.parametrize(
    ("options", "begins"), [((), "own INFO shop.cart got fail"), (("--log-format", "json"), '{"time":')]
)
async def test_an_application_that_sets_up_logging_for_itself(log, options, begins):
    async with command(log, "tests.cli.configured_app:app", *QUICK, *options) as server:
        await use(server)
    [own] = [line for line in log.read_text().splitlines() if "shop.cart" in line]
    assert own.startswith(begins)
    [failure] = [line for line in log.read_text().splitlines() if "'/ws/tea' failed" in line]
    assert failure.startswith(begins.partition(" ")[0])


async def test_the_access_log_of_a_unix_socket(log, tmp_path):
    """In a file, beside an application that disables every logger that it does not name."""
    file, path = tmp_path / "access.log", tmp_path / "sock"
    options = ("--access-log", str(file), "--log-format", "json")
    async with command(log, "tests.cli.configured_app:app", *QUICK, *options, bind=f"unix:{path}") as server:
        async with Raw(await trio.open_unix_socket(path)) as client:
            await client.handshake("/ws/tea")
            await client.send(frame(1, b"hi") + frame(8, b"\x03\xe8"))
            assert await client.closed() == 1000
        async with Raw(await trio.open_unix_socket(path)) as client:
            await client.send(b"GET /?token=secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b" 404 " in await client.rest()
        server.signal()
        assert await server.status() == 0
    found = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [line["message"].partition(" -")[0] for line in found] == [
        "connect /ws/tea unix",
        "end /ws/tea unix",
        "GET / HTTP/1.1 unix",
    ]
    assert (found[1]["code"], found[1]["received"], found[1]["cause"]) == (1000, 1, "peer_closed")


def test_a_level_that_is_given_wins(monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(logging, "lastResort", None)
    LogSetup(None, None).begin()
    assert (root.level, logging.getLogger("nexios_trio").level) == (logging.INFO, logging.INFO)
    for given, expected in (None, logging.ERROR), ("debug", logging.DEBUG):
        root.setLevel(logging.ERROR)  # the application's
        LogSetup(None, given).settle()
        assert root.level == expected


@pytest.mark.parametrize("arguments", [("--log-format", "xml"), ("--log-level", "loud")])
def test_mistakes_say_what_is_accepted(arguments):
    result = CliRunner().invoke(main, ["run", APP, *arguments])
    assert result.exit_code == 2
    assert "is not one of" in result.output
