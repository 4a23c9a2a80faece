"""The command: what it serves, what it says, how it exits."""

import os
import re
import signal
import socket
import sys

import pytest
import trio
from click.testing import CliRunner

from nexios_trio import Settings
from nexios_trio.cli.main import main
from tests.server.processes import PROJECT, QUICK, command, failed
from tests.server.support import CERTIFICATES, ask, frame, websocket

APP = "tests.server.apps:app"
STARLETTE_THAT_FAILS = """
from contextlib import asynccontextmanager
from starlette.applications import Starlette

@asynccontextmanager
async def lifespan(app):
    raise RuntimeError("no database")
    yield

app = Starlette(lifespan=lifespan)
"""


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def invoke(monkeypatch):
    """Run the command in this process, as far as it gets without serving."""

    def run(*arguments: str):
        for name in [name for name in os.environ if name.startswith("NEXIOS_")]:
            monkeypatch.delenv(name)
        for row in Settings().describe():
            monkeypatch.setenv(row.variable, "")  # so that what --set leaves behind is undone
            monkeypatch.delenv(row.variable)
        return CliRunner().invoke(main, ["run", *arguments])

    return run


# Serving


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal_and_says_goodbye(log, number):
    async with command(log, APP, *QUICK) as server:
        assert server.line == f"Serving {APP} on http://127.0.0.1:{server.port} (Ctrl-C stops it)\n"
        assert (await server.get()).endswith(b"hello")
        async with await server.connect() as client, websocket(server.port) as innocent:
            assert await ask(innocent) == "are you there?"
            await client.handshake()
            server.signal(number)
            assert await client.closed() == 1012
        assert await server.status() == 0


async def test_a_client_that_does_not_read_does_not_hold_up_sigterm(log):
    async with command(log, APP, *QUICK) as server:
        async with await server.connect() as client, await server.connect() as other:
            await client.handshake("/echo")
            with trio.move_on_after(0.2):  # until everything on the way is full
                while True:
                    await client.send(frame(2, b"x" * 60_000))
            await other.handshake("/stubborn")
            server.signal()
            begun = trio.current_time()
            assert await other.closed() == 1012
            assert await server.status() == 0
            assert trio.current_time() - begun < 2 + 3  # drain_timeout, and a busy machine
        assert "Traceback" not in server.log


async def test_tls_from_the_command_line(log):
    files = ("--certfile", str(CERTIFICATES / "certificate.pem"), "--keyfile", str(CERTIFICATES / "key.pem"))
    async with command(log, APP, *QUICK, *files) as server:
        assert server.addresses[0].startswith("https://")
        async with websocket(server.port, tls=True) as client:
            assert await ask(client) == "are you there?"
        server.signal()
        assert await server.status() == 0


async def test_a_configuration_file_of_hypercorns(log, tmp_path):
    (tmp_path / "server.toml").write_text(f'accesslog = "-"\nroot_path = "/chat"\npid_path = "{tmp_path}/pid"\n')
    async with command(log, APP, *QUICK, "-c", str(tmp_path / "server.toml")) as server:
        await server.get()
        assert int((tmp_path / "pid").read_text()) == server.process.pid


async def test_settings_reach_the_lane_and_the_application(log):
    async with command(log, "tests.server.apps:fresh", "--set", "max_message_size=200") as server:
        assert (await server.get()).endswith(b"200")
        async with await server.connect() as client:
            await client.handshake()
            await client.send(frame(1, b"x" * 201))
            assert await client.closed() == 1009


# Exit status


async def test_a_failed_startup_exits_with_3(log):
    assert await failed(log, "tests.server.apps:broken") == 3
    assert (
        log.read_text().count(
            "CRITICAL nexios_trio.command: the application failed to start: RuntimeError: no database"
        )
        == 1
    )
    assert log.read_text().count("no database") == 3  # the sentence, the line of the code, the error
    assert re.findall(r'File "(.*?)"', log.read_text()) == [str(PROJECT / "tests/server/apps.py")]


async def test_a_failed_startup_of_starlettes_is_told_once(log, tmp_path):
    (tmp_path / "main.py").write_text(STARLETTE_THAT_FAILS)
    assert await failed(log, "main:app", folder=tmp_path) == 3
    assert (
        log.read_text().count(
            "CRITICAL nexios_trio.command: the application failed to start: RuntimeError: no database\n"
        )
        == 1
    )
    assert re.findall(r'File "(.*?)"', log.read_text()) == [str(tmp_path / "main.py")]


async def test_a_module_that_fails_exits_with_3_and_shows_the_users_frames(log, tmp_path):
    (tmp_path / "main.py").write_text("import faulty")
    (tmp_path / "faulty.py").write_text("raise LookupError('no key')")
    assert await failed(log, "main:app", folder=tmp_path) == 3
    assert "CRITICAL nexios_trio.command: importing main:app failed" in log.read_text()
    assert re.findall(r'File "(.*?)"', log.read_text()) == [str(tmp_path / "main.py"), str(tmp_path / "faulty.py")]
    assert log.read_text().endswith("LookupError: no key\n")


async def test_a_handler_is_no_application(log):
    assert await failed(log, "tests.server.apps:echo") == 2
    assert (
        "'tests.server.apps:echo' is a handler, of the WebSocket route '/echo' of fresh; accepted is" in log.read_text()
    )


async def test_a_crashed_task_exits_with_1(log):
    async with command(log, APP, *QUICK) as server:
        async with await server.connect() as client:
            await client.handshake()
            await server.get("/crash")
            assert await client.closed() in (1011, 1012)
        assert await server.status() == 1
        assert "the feed broke" in server.log


async def test_a_shutdown_that_does_not_end_exits_with_1(log):
    async with command(log, "tests.server.apps:sleepy", "--set", "drain_timeout=0.1") as server:
        server.signal()
        assert await server.status() == 1
        assert "drain_timeout" in server.log


async def test_a_port_in_use_exits_with_2(log):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        assert await failed(log, APP, bind=bind) == 2
        assert await failed(log, APP, "-w", "2", bind=bind) == 2
    assert log.read_text().count(f"cannot listen on {bind}: another program listens there") == 2


# What is wrong, and what to do


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "MODULE:APP"),
        (["tests.server.apps:ap"], "did you mean app?"),
        ([APP, "-b", "127.0.0.1:http"], "a bind is HOST:PORT, unix:PATH or fd://NUMBER"),
        ([APP, "-b", "192.0.2.1:0"], "this machine has no such address"),
        ([APP, "-b", "unix:/no/such/folder/sock"], "there is no directory /no/such/folder; make it first"),
        ([APP, "-b", "fd://9999"], "there is no such descriptor"),
        ([APP, "--certfile", "here.pem"], "certfile and keyfile go together"),
        ([APP, "--certfile", "nowhere.pem", "--keyfile", "nowhere.key"], "nowhere.pem, nowhere.key"),
        ([APP, "--certfile", __file__, "--keyfile", __file__], "cannot use the certificate and key"),
        ([APP, "-c", "nowhere.toml"], "--config nowhere.toml: No such file"),
        ([APP, "-c", __file__], "accepted are a TOML file"),
        ([APP, "-c", "python:nowhere.at_all"], "--config python:nowhere.at_all: No module named"),
        ([APP, "-s", "max_conections=3"], "did you mean max_connections?"),
        ([APP, "-s", "zzz=3"], "there is no such setting; nexios-trio settings lists them"),
        ([APP, "-s", "drain_timeout"], "accepted is NAME=VALUE"),
        ([APP, "-s", "drain_timeout=soon"], "--set drain_timeout='soon': must be seconds from 0"),
        (["tests.server.apps:obstinate", "-s", "max_message_size=2000"], "the application sets it in its own code"),
        ([APP, "-w", "0"], "--workers"),
    ],
)
def test_mistakes_say_what_is_accepted(invoke, arguments, text):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [[APP], ["--show-settings"]], ids=["run", "show"])
@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("NEXIOS_WRITE_TIMEOUT", "10s", "must be seconds above 0"),
        ("NEXIOS_PING_INTERVAL", "nan", "must be seconds above 0, inf for never"),
        ("NEXIOS_MAX_CONNECTIONS", "-1", "must be a whole number from 1, or None"),
        ("NEXIOS_MAX_MESSAGE_SIZE", "", "must be a whole number of bytes from 1"),
        ("NEXIOS_DEBUG", "maybe", "must be True or False"),
        ("NEXIOS_OVERFLOW", "x", "accepted: 'disconnect', "),
        ("NEXIOS_TRUSTED_PROXIES", "x", "takes addresses and networks such as 10.0.0.0/8"),
        ("NEXIOS_ALLOWED_ORIGINS", "not an origin", "takes scheme://host[:port]"),
    ],
)
def test_nonsense_in_the_environment_is_refused(monkeypatch, arguments, variable, value, accepted):
    monkeypatch.setenv(variable, value)
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exit_code == 2
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert line.startswith(f"Error: {variable}={value!r}: ")
    assert accepted in line
    assert result.output.endswith(f"{line}\n")


def test_an_application_in_place_of_a_command():
    result = CliRunner().invoke(main, ["chat:app", "--reload"])
    assert result.exit_code == 2
    assert "'chat:app' is an application, not a command: nexios-trio run chat:app serves it" in result.stderr
    assert "No such command 'serve'" in CliRunner().invoke(main, ["serve", "chat:app"]).stderr


def test_settings_are_shown(invoke):
    result = invoke("--show-settings", "-s", "max_message_size=2KiB")
    assert result.exit_code == 0
    assert re.search(r"^max_message_size +2 KiB +64 KiB +command line$", result.output, re.MULTILINE)


def test_help_says_where_settings_are(invoke):
    assert "--show-settings" in invoke("--help").output


async def test_the_package_is_the_command(log):
    async with command(log, APP, *QUICK, program=(sys.executable, "-m", "nexios_trio")) as server:
        assert (await server.get()).endswith(b"hello")
        server.signal()
        assert await server.status() == 0


async def test_a_unix_socket_for_a_proxy_of_another_user(log, tmp_path):
    async with command(log, APP, *QUICK, "--umask", "007", bind=f"unix:{tmp_path}/sock"):
        assert (tmp_path / "sock").stat().st_mode & 0o777 == 0o770


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('graceful_timeout = "5"', "graceful_timeout must be a number of seconds from 0, not '5'"),
        ('verify_mode = "CERT_MAYBE"', "verify_mode must be one of CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED"),
        ('backlog = "many"', "backlog must be a whole number from 1, not 'many'"),
        ("accesslog = 5", "accesslog must be a path"),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-w", "2")])
def test_a_mistake_in_a_configuration_file_is_said_at_the_start(invoke, tmp_path, line, text, workers):
    (tmp_path / "server.toml").write_text(line)
    result = invoke(APP, "-b", "127.0.0.1:0", "-c", str(tmp_path / "server.toml"), *workers)
    assert result.exit_code == 2
    assert text in result.output


def test_an_unknown_option_in_a_configuration_file_is_said(invoke, tmp_path):
    (tmp_path / "server.toml").write_text("graceful_timout = 5\nbacklog = 0")
    assert "did you mean graceful_timeout?" in invoke(APP, "-c", str(tmp_path / "server.toml")).output


@pytest.mark.parametrize("umask", ["8", "rwx", "77777"])
def test_a_umask_is_octal(invoke, umask):
    assert "accepted are octal digits, as in 007" in invoke(APP, "--umask", umask).output
