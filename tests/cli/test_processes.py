"""Each command, started as a user starts it."""

import socket
import subprocess
import sys
from importlib.metadata import version

import pytest

from nexios_trio.cli.main import main
from tests.server.processes import COMMAND, PROJECT

APP = "tests.server.apps:app"
PACKAGE = (sys.executable, "-m", "nexios_trio")
SCRIPT = (str(COMMAND),)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", [SCRIPT, PACKAGE], ids=["script", "package"])
def test_its_version_and_its_commands(program):
    assert run(*program, "--version").stdout == f"nexios-trio, version {version('nexios-trio')}\n"
    done = run(*program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name in main.commands:
        assert f"\n  {name} " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]  # no sentence is cut


@pytest.mark.parametrize("name", sorted(main.commands))
def test_each_command_has_its_help_and_knows_its_options(name):
    done = run(*SCRIPT, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: nexios-trio {name} ")
    done = run(*SCRIPT, name, "--nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("Error: No such option '--nonsense'")


def test_a_command_that_is_none():
    done = run(*SCRIPT, "serve", APP)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'serve'" in done.stderr


def test_settings_in_place_of_serving():
    done = run(*SCRIPT, "run", APP, "--show-settings", "-s", "ping_interval=7")
    assert (done.returncode, done.stderr) == (0, "")
    assert "command line" in next(line for line in done.stdout.splitlines() if line.startswith("ping_interval "))


def test_a_handshake_without_a_proxy():
    with socket.socket() as probe:  # for a port that is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    done = run(*SCRIPT, "check", APP, "-b", address, "--through", f"ws://{address}/ws")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok     through      WebSockets come through, at /ws\n" in done.stdout
